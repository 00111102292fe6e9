"""Tag N' Train: each jet tags the events from which a classifier of the other jet learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.classifier import TrainedClassifier, train_classifier
from bumpscout_tools.detectors.protocol import Progress, Stop, check_stop
from bumpscout_tools.detectors.settings import AutoencoderSettings, TagNTrainSettings
from bumpscout_tools.detectors.sidebands import fit_outside
from bumpscout_tools.errors import DetectorError

__all__ = ["JetInputs", "TagNTrain", "jet_inputs"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SIDES = ("light", "heavy")
MIN_CLASS_EVENTS = 50
"""Fewest events of a signal-rich or background-rich sample."""
TAGGER_LAYERS = (32, 16, 1)


@dataclass(frozen=True)
class JetInputs:
    """Matrices (k, k_jet) that turn the inputs of an event into those of either jet."""

    light: FloatArray
    heavy: FloatArray


def jet_inputs(features: Sequence[str]) -> JetInputs:
    """Find the two jets in names of features.

    Features come in pairs ``x_light`` and ``x_heavy``; ``mj_delta`` stands for the mass of the
    heavier jet, which is ``mj_light + mj_delta``, where ``mj_heavy`` is not given.

    Raises:
        DetectorError: if a feature has no partner, or a jet has less than two features.

    >>> jet_inputs(["mj_light", "mj_delta", "tau21_light", "tau21_heavy"]).heavy.T
    array([[1., 1., 0., 0.],
           [0., 0., 0., 1.]])
    """
    names = list(features)
    rows: dict[str, dict[str, FloatArray]] = {side: {} for side in SIDES}
    alone = []
    for column, name in enumerate(names):
        stem, _, side = name.rpartition("_")
        unit = np.eye(len(names))[column]
        if side in rows and stem:
            rows[side][stem] = unit
        elif name == "mj_delta" and "mj_light" in names:
            if "mj_heavy" not in names:
                rows["heavy"]["mj"] = unit + np.eye(len(names))[names.index("mj_light")]
        else:
            alone.append(name)
    for side, other in (SIDES, SIDES[::-1]):
        alone += [f"{stem}_{side}" for stem in rows[side] if stem not in rows[other]]
    if alone or len(rows["light"]) < 2:
        raise DetectorError(
            "Tag N' Train needs the same two or more features of both jets, in pairs x_light and "
            "x_heavy (mj_delta with mj_light stands for mj_heavy); "
            + (f"without a partner: {', '.join(alone)}." if alone else f"got {', '.join(names)}.")
        )
    stems = list(rows["light"])
    light, heavy = (np.stack([rows[side][stem] for stem in stems], axis=1) for side in SIDES)
    return JetInputs(light, heavy)


@dataclass(frozen=True)
class TagNTrain:
    """A classifier of jets, trained on samples that the other jet of the event has tagged.

    If the features of the two jets of a background event are independent, the sample that an
    anomalous jet tags and the sample that a typical one tags differ, for the other jet, in their
    signal fraction only, as the two samples of CWoLa do (arXiv:2002.12376). The signal-rich sample
    is the `rich` most anomalous share within the signal window, the background-rich one the `poor`
    least anomalous share of window and side bands (each as wide as the window, of equal weight
    below and above).

    Jets ordered by mass are not independent: a heavy jet leaves room for a heavier lighter one. So
    the two are taken as alike: one tagger learns from both, each tags the other, and one classifier
    learns from all that is tagged. The score of an event is the sum of the scores of its jets, the
    logarithm of the product of their likelihood ratios.
    """

    settings: TagNTrainSettings = field(default_factory=TagNTrainSettings)
    inputs: JetInputs | None = None
    uses_window: ClassVar[bool] = True

    @property
    def folds(self) -> int:
        """Folds of cross-fitting."""
        return self.settings.folds

    def named(self, features: Sequence[str]) -> TagNTrain:
        """Return the detector for inputs of these names; see `jet_inputs`.

        Raises:
            DetectorError: if the features do not come in pairs.
        """
        return replace(self, inputs=jet_inputs(features))

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: tuple[float, float] | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> TrainedTagNTrain:
        """Train the tagger, and the classifier on what it tags; see `Detector.fit`.

        Raises:
            DetectorError: if there are too few events, the names of the features are not known,
                or a training failed.
            TrainingStopped: if `stop` said so.
        """
        if window_gev is None or self.inputs is None:
            raise DetectorError(
                "Tag N' Train needs a signal window and the names of its features (`named`)."
            )
        low, high = window_gev
        inside = (mass >= low) & (mass < high)
        near = (mass >= low * low / high) & (mass < high * high / low)
        shares = (inside.sum() * self.settings.rich, near.sum() * self.settings.poor)
        counts = [int(share) for share in shares]
        if min(counts) < MIN_CLASS_EVENTS:
            raise DetectorError(
                f"Tag N' Train cannot be trained for the window {low:.0f}-{high:.0f} GeV: the "
                f"signal-rich and background-rich samples would hold {counts} events, and each "
                f"needs at least {MIN_CLASS_EVENTS}. Use wider windows, fewer folds or larger "
                "shares."
            )
        check_stop(stop)
        n = len(mass)
        jets = np.concatenate([features @ self.inputs.light, features @ self.inputs.heavy])
        tag = self._tag(jets, np.tile(mass, 2), np.tile(inside, 2), seed, stop)
        other = np.concatenate([tag[n:], tag[:n]])
        inside, near = np.tile(inside, 2), np.tile(near, 2)
        rich = inside & (other > np.quantile(tag[inside], 1 - self.settings.rich))
        poor = near & (other <= np.quantile(tag[near], self.settings.poor))
        if progress is not None:
            progress(1, 2)
        rows = np.flatnonzero(rich | poor)
        weight = np.tile(_balanced(mass, near[:n], inside[:n]), 2)[rows]
        weight[rich[rows]] = 1.0
        weight[~rich[rows]] *= rich.sum() / weight[~rich[rows]].sum()
        classifier = train_classifier(
            *(jets[rows], rich[rows], weight, self.settings, seed), stop=stop
        )
        if progress is not None:
            progress(2, 2)
        return TrainedTagNTrain(self.inputs, classifier)

    def _tag(
        self, jet: FloatArray, mass: FloatArray, inside: BoolArray, seed: int, stop: Stop | None
    ) -> FloatArray:
        """Return how improbable (n,) each jet is, from its features (n, k_jet) alone."""
        if self.settings.tagger == "autoencoder":
            from bumpscout_tools.detectors.autoencoder_training import train

            settings = AutoencoderSettings(hidden=TAGGER_LAYERS)
            return train(jet, settings, seed, stop=stop).score(jet, mass)
        density = fit_outside(
            *(jet, mass, inside), degree=2, steps=self.settings.steps, seed=seed, stop=stop
        )
        return -density.log_density(jet, mass)


def _balanced(mass: FloatArray, near: BoolArray, inside: BoolArray) -> FloatArray:
    """Return weights (n,) that give the side bands below and above the window the same sum."""
    below = near & ~inside & (mass < mass[inside].min(initial=np.inf))
    above = near & ~inside & ~below
    weight = np.ones(len(mass))
    for band in (below, above):
        if band.any():
            weight[band] = 0.5 * (below.sum() + above.sum()) / band.sum()
    return weight


@dataclass(frozen=True)
class TrainedTagNTrain:
    """The classifier of jets.

    Attributes:
        inputs: which inputs belong to which jet.
        classifier: of either jet.
    """

    inputs: JetInputs
    classifier: TrainedClassifier

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return the sum (n,) of the scores of the two jets; the mass is not looked at."""
        del mass
        light, heavy = features @ self.inputs.light, features @ self.inputs.heavy
        return self.classifier.score(light) + self.classifier.score(heavy)
