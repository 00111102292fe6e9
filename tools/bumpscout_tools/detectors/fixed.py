"""Fixed scores: one score an event, from a detector that learned from a set-aside share alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from bumpscout_tools.detectors.copies import refuse_copies
from bumpscout_tools.detectors.folds import set_aside
from bumpscout_tools.detectors.inputs import inputs_of
from bumpscout_tools.detectors.make import make_detector
from bumpscout_tools.detectors.protocol import Detector, NeedsNames, Progress, Stop, check_stop
from bumpscout_tools.detectors.settings import FIXED_DETECTORS
from bumpscout_tools.detectors.vae import VaeDetector
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.events.view import View

__all__ = ["DetectorChoice", "FixedScores", "fixed_scores", "score_by_share"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
BLOCK = 16_384


class DetectorChoice(Protocol):
    """What a plan says about a detector (``bumpscout_tools.scan.plan.DetectorPlan``)."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def settings(self) -> BaseModel:
        """Its settings."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Its inputs."""
        ...


@dataclass(frozen=True)
class FixedScores:
    """Scores that no scanned event helped to make.

    Attributes:
        score: (n,) finite, higher is more anomalous, on the detector's own scale (an isolation
            forest's anomaly score, an autoencoder's ln(loss), the column itself).
        trained_on: (n,) True for the events set aside for the training: leave them out of a scan.
        thinned: (n,) those of them that a hash of the id chose: a thinning of the luminosity. A
            control sample is none, but a cut.
    """

    score: FloatArray
    trained_on: BoolArray
    thinned: BoolArray


def fixed_scores(
    detector: DetectorChoice,
    view: View,
    seed: int,
    n_jobs: int = 1,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> FixedScores:
    """Score all events with one detector, trained once on a share chosen by a hash of the event id.

    The scores of the other events are independent of the training given the trained detector, so
    their spectra can be scanned with the scores held fixed: toys and replays need no retraining.
    The settings' `train_share` says how large the share is; where they define a control
    sample, that sample is what is set aside.

    Args:
        detector: name, settings and features.
        view: n events.
        seed: fixes share and training; the result depends neither on the order of the events nor
            on `n_jobs`.
        n_jobs: threads for scoring.
        stop: asked between steps of the training.
        progress: called with (steps done, steps at most) of the training.

    Raises:
        ConfigurationError: if the detector's score depends on the scanned events.
        DetectorError: if a feature is unknown, the training fails, or events of the share occur
            again outside it.
        TrainingStopped: if `stop` said so.
    """
    if detector.name not in FIXED_DETECTORS:
        raise ConfigurationError(
            f"The scores of {detector.name!r} depend on the scanned events and their masses; fixed "
            f"scores come from {', '.join(FIXED_DETECTORS)}."
        )
    made = make_detector(detector.name, detector.settings.model_dump())
    if isinstance(made, NeedsNames):
        made = made.named(detector.features)
    inputs = inputs_of(view, detector.features)
    share: float | None = getattr(detector.settings, "train_share", None)
    aside = _set_aside(made, inputs, view.event_id, share, seed)
    if aside.any():
        refuse_copies(view, aside.astype(np.int64))
    return score_by_share(
        made, inputs, view.event_id, share, seed, n_jobs, stop=stop, progress=progress
    )


def score_by_share(
    detector: Detector,
    inputs: npt.NDArray[np.float64] | npt.NDArray[np.float32],
    event_id: npt.NDArray[np.uint64],
    share: float | None,
    seed: int,
    n_jobs: int = 1,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> FixedScores:
    """Train a detector on a share of the events and score all; for inputs that no view holds.

    The rapidity-mass matrix, for instance: ``score_by_share(make_detector("autoencoder",
    {"preset": "rmm"}), rmm(table), event_id, 0.01, seed)``. Only blocks of the inputs are copied.

    Args:
        detector: one that knows nothing of windows.
        inputs: (n, k), float32 or float64.
        event_id: (n,) identifier of the original event; copies share one.
        share: of the events to train on, in (0, 1); None for what is not trained. A control sample
            of the detector's settings takes its place.
        seed: fixes share and training.
        n_jobs: threads for scoring.
        stop: asked between steps of the training.
        progress: called with (steps done, steps at most) of the training.

    Raises:
        ConfigurationError: if the detector needs a window.
        DetectorError: if the training fails.
        TrainingStopped: if `stop` said so.
    """
    if detector.uses_window:
        raise ConfigurationError("A detector that needs a signal window has no fixed scores.")
    n = len(event_id)
    order = np.argsort(event_id, kind="stable")
    trained_on = _set_aside(detector, inputs, event_id, share, seed)
    rows = order[trained_on[order]]
    no_mass = np.zeros(0)
    fitted = detector.fit(
        _as_float(inputs[rows]), no_mass, None, seed % 2**31, stop=stop, progress=progress
    )

    def score_block(start: int) -> FloatArray:
        check_stop(stop)
        return fitted.score(_as_float(inputs[order[start : start + BLOCK]]), no_mass)

    # Blocks do not depend on the number of threads, so neither do the last bits of the scores.
    score = np.empty(n)
    with ThreadPoolExecutor(max(1, n_jobs)) as pool:
        for start, part in zip(
            range(0, n, BLOCK), pool.map(score_block, range(0, n, BLOCK)), strict=True
        ):
            score[order[start : start + BLOCK]] = part
    control = _control(detector, inputs)
    return FixedScores(score, trained_on, trained_on & (control is None))


def _set_aside(
    detector: Detector,
    inputs: npt.NDArray[np.float64] | npt.NDArray[np.float32],
    event_id: npt.NDArray[np.uint64],
    share: float | None,
    seed: int,
) -> BoolArray:
    """Return which events (n,) are trained on: a share of all, or the control sample."""
    control = _control(detector, inputs)
    if control is not None:
        return np.isin(event_id, event_id[control])
    if share is None:
        return np.zeros(len(event_id), dtype=bool)
    return set_aside(event_id, share, seed)


def _control(
    detector: Detector, inputs: npt.NDArray[np.float64] | npt.NDArray[np.float32]
) -> BoolArray | None:
    """Return which events (n,) are the control sample, or None where there is none."""
    return detector.control_rows(inputs) if isinstance(detector, VaeDetector) else None


def _as_float(values: npt.NDArray[np.float64] | npt.NDArray[np.float32]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
