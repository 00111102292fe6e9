"""CWoLa hunting: a classifier of signal window against side bands (arXiv:1902.02634)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.classifier import TrainedClassifier, train_classifier
from bumpscout_tools.detectors.protocol import Progress, Stop
from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.errors import DetectorError

__all__ = ["CwolaHunting"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
MIN_CLASS_EVENTS = 20


@dataclass(frozen=True)
class CwolaHunting:
    """A classifier that tells the events of a signal window from those of its side bands.

    Two classes with equal background but different signal fractions are enough: the optimal
    classifier between them is also optimal between signal and background (Metodiev et al.,
    arXiv:1708.02949), as long as the features of the background do not depend on the mass. Lower
    and upper side band carry equal weight, and together the weight of the window, so that a linear
    drift of a feature with the mass cancels.
    """

    settings: CwolaSettings = field(default_factory=CwolaSettings)
    uses_window: ClassVar[bool] = True

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
    ) -> TrainedCwola:
        """Train on window and side bands among the rows; see `Detector.fit`.

        Raises:
            DetectorError: if window or a side band holds too few events to train on.
            TrainingStopped: if `stop` said so.
        """
        if window_gev is None:
            raise DetectorError("CWoLa hunting needs a signal window.")
        low, high = window_gev
        width = np.log(high / low) * self.settings.sideband_windows
        inside = (mass >= low) & (mass < high)
        below = (mass >= low * np.exp(-width)) & (mass < low)
        above = (mass >= high) & (mass < high * np.exp(width))
        counts = [int(part.sum()) for part in (below, inside, above)]
        if min(counts) < MIN_CLASS_EVENTS:
            raise DetectorError(
                f"CWoLa cannot be trained for the window {low:.0f}-{high:.0f} GeV: lower side "
                f"band, window and upper side band hold {counts} events, and each needs at least "
                f"{MIN_CLASS_EVENTS}. Use wider windows or fewer folds."
            )
        rows = np.flatnonzero(inside | below | above)
        weight = np.ones(len(rows))
        weight[below[rows]] = 0.5 * inside.sum() / below.sum()
        weight[above[rows]] = 0.5 * inside.sum() / above.sum()
        classifier = train_classifier(
            features[rows],
            inside[rows],
            weight,
            self.settings,
            seed,
            stop=stop,
            progress=progress,
        )
        return TrainedCwola(classifier)


@dataclass(frozen=True)
class TrainedCwola:
    """The classifier of one window."""

    classifier: TrainedClassifier

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return the score (n,) of the classifier; the mass is not looked at."""
        del mass
        return self.classifier.score(features)
