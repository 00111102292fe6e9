"""Ensembles of boosted trees (LightGBM) that tell two classes of events apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import lightgbm
import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.protocol import Progress, Stop, check_stop
from bumpscout_tools.errors import DetectorError

__all__ = ["BoostedEnsemble", "BoostingSettings", "train_ensemble"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class BoostingSettings(Protocol):
    """What the settings of a detector say about its trees."""

    @property
    def members(self) -> int:
        """Trainings that are averaged."""
        ...

    @property
    def trees(self) -> int:
        """Trees of each; a fixed number, as early stopping halts at few for rare signals."""
        ...

    @property
    def leaves(self) -> int:
        """Leaves of a tree."""
        ...

    @property
    def learning_rate(self) -> float:
        """Shrinkage of each tree."""
        ...

    @property
    def min_child_events(self) -> int:
        """Fewest events in a leaf."""
        ...


@dataclass(frozen=True)
class BoostedEnsemble:
    """The members of one training."""

    boosters: tuple[lightgbm.Booster, ...]

    def score(self, features: FloatArray) -> FloatArray:
        """Return the mean raw score (n,) of the members for (n, k) features."""
        score = np.zeros(len(features))
        for booster in self.boosters:
            score += booster.predict(features, raw_score=True, num_threads=1)
        return score / len(self.boosters)


def train_ensemble(
    features: FloatArray,
    positive: BoolArray,
    weight: FloatArray,
    settings: BoostingSettings,
    seed: int,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> BoostedEnsemble:
    """Train the members, each with its own bagging seed, in one thread.

    Args:
        features: (n, k) inputs.
        positive: (n,) True for the class that is to score high.
        weight: (n,) event weights.
        settings: of the trees.
        seed: the same seed gives the same scores.
        stop: asked before each member.
        progress: told about members.

    Raises:
        DetectorError: if LightGBM cannot train on these events.
        TrainingStopped: if `stop` said so.
    """
    data = lightgbm.Dataset(
        features,
        label=positive.astype(np.float64),
        weight=weight,
        params={"max_bin": 127, "verbosity": -1, "num_threads": 1},
        free_raw_data=False,
    )
    boosters = []
    for member in range(settings.members):
        check_stop(stop)
        parameters = _parameters(settings, seed + member)
        try:
            boosters.append(lightgbm.train(parameters, data, num_boost_round=settings.trees))
        except lightgbm.basic.LightGBMError as error:
            raise DetectorError(f"The trees cannot be trained: {error}") from error
        if progress is not None:
            progress(member + 1, settings.members)
    return BoostedEnsemble(tuple(boosters))


def _parameters(settings: BoostingSettings, seed: int) -> dict[str, object]:
    return {
        "objective": "binary",
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.min_child_events,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 1.0,
        "num_threads": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
