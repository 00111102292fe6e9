"""Isolation forest: events that a few random cuts separate from the rest are anomalous."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.protocol import Progress, Stop, check_stop
from bumpscout_tools.detectors.settings import IsolationForestSettings
from bumpscout_tools.errors import DetectorError

__all__ = ["IsolationForestDetector"]

FloatArray = npt.NDArray[np.float64]
MIN_EVENTS = 100


@dataclass(frozen=True)
class IsolationForestDetector:
    """Random trees (Liu, Ting, Zhou, ICDM 2008; scikit-learn's); no window, no labels, no mass.

    Good for a first look in a few features of any scale: cuts do not care about units. It finds
    events in the tails of single features rather than a dense clump in the bulk.
    """

    settings: IsolationForestSettings = field(default_factory=IsolationForestSettings)
    uses_window: ClassVar[bool] = False

    @property
    def folds(self) -> int:
        """Folds of cross-fitting."""
        return self.settings.folds

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: tuple[float, float] | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> _Forest:
        """Grow the trees on random subsamples of the rows; see `Detector.fit`.

        Raises:
            DetectorError: if there are too few events or no feature varies.
        """
        del mass, window_gev
        from sklearn.ensemble import IsolationForest

        if len(features) < MIN_EVENTS:
            raise DetectorError(
                f"An isolation forest needs at least {MIN_EVENTS} events to learn from, not "
                f"{len(features)}. Use fewer folds or a larger training share."
            )
        if not (features.max(axis=0) > features.min(axis=0)).any():
            raise DetectorError("No feature varies, so no cut isolates an event; use others.")
        check_stop(stop)
        forest = IsolationForest(
            n_estimators=self.settings.trees,
            max_samples=min(self.settings.subsample, len(features)),
            random_state=seed,
            n_jobs=None,
        )
        forest.fit(features)
        check_stop(stop)
        if progress is not None:
            progress(1, 1)
        return _Forest(forest)


@dataclass(frozen=True)
class _Forest:
    forest: Any

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return 2^(-E[path length]/c), in (0, 1), near 1 for events that few cuts isolate."""
        del mass
        return np.asarray(-self.forest.score_samples(features), dtype=np.float64)
