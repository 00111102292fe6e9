"""CWoLa hunting: a classifier of signal window against side bands (arXiv:1902.02634)."""

from __future__ import annotations

from dataclasses import dataclass, field

import lightgbm
import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.errors import DetectorError

__all__ = ["CwolaHunting"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
MIN_CLASS_EVENTS = 20


@dataclass(frozen=True)
class CwolaHunting:
    """Boosted trees that tell the events of a signal window from those of its side bands.

    Two classes with equal background but different signal fractions are enough: the optimal
    classifier between them is also optimal between signal and background (Metodiev et al.,
    arXiv:1708.02949), as long as the features of the background do not depend on the mass. Lower
    and upper side band carry equal weight, and together the weight of the window, so that a linear
    drift of a feature with the mass cancels.
    """

    settings: CwolaSettings = field(default_factory=CwolaSettings)

    def fit_score(
        self,
        features: FloatArray,
        mass: FloatArray,
        train: BoolArray,
        test: BoolArray,
        window_gev: tuple[float, float],
        seed: int,
    ) -> FloatArray:
        """Train on the rows of `train` and score those of `test`.

        Args:
            features: (n, k) inputs; the mass is none of them.
            mass: (n,) GeV.
            train: (n,) rows that may be trained on.
            test: (n,) rows to score, disjoint from `train`.
            window_gev: lower and upper edge of the signal window.
            seed: the same seed gives the same scores.

        Returns:
            (number of test rows,) mean score of the members, higher is more anomalous.

        Raises:
            DetectorError: if window or a side band holds too few events to train on.
        """
        low, high = window_gev
        width = np.log(high / low) * self.settings.sideband_windows
        inside = train & (mass >= low) & (mass < high)
        below = train & (mass >= low * np.exp(-width)) & (mass < low)
        above = train & (mass >= high) & (mass < high * np.exp(width))
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
        data = lightgbm.Dataset(
            features[rows],
            label=inside[rows].astype(np.float64),
            weight=weight,
            params={"max_bin": 127, "verbosity": -1, "num_threads": 1},
            free_raw_data=False,
        )
        score = np.zeros(int(test.sum()))
        for member in range(self.settings.members):
            try:
                booster = lightgbm.train(
                    self._parameters(seed + member), data, num_boost_round=self.settings.trees
                )
            except lightgbm.basic.LightGBMError as error:
                raise DetectorError(f"CWoLa cannot be trained: {error}") from error
            score += booster.predict(features[test], raw_score=True, num_threads=1)
        return score / self.settings.members

    def _parameters(self, seed: int) -> dict[str, object]:
        return {
            "objective": "binary",
            "num_leaves": self.settings.leaves,
            "learning_rate": self.settings.learning_rate,
            "min_data_in_leaf": self.settings.min_child_events,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "feature_fraction": 1.0,
            "num_threads": 1,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
