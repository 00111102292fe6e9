"""Several detectors as one: the mean or the maximum of their rank-transformed scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from bumpscout_tools.detectors.protocol import Detector, Fitted, NeedsNames, Progress, Stop
from bumpscout_tools.detectors.settings_combination import CombinationSettings

__all__ = ["Combination", "combined"]

FloatArray = npt.NDArray[np.float64]


def combined(ranks: Sequence[FloatArray], rule: str) -> FloatArray:
    """Combine ranks in (0, 1), each array of the same shape, higher is more anomalous.

    ``mean``: the mean of the normal scores Phi^-1(rank), as in Stouffer's method, without
    weights: high for events that all members call anomalous. ``maximum``: the largest rank: high
    for events that any member calls anomalous.
    """
    if rule == "maximum":
        return np.asarray(np.max(ranks, axis=0), dtype=np.float64)
    return np.asarray(np.mean([ndtri(rank) for rank in ranks], axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Combination:
    """Detectors of the same features, trained beside each other.

    `cross_fit` cross-fits each member by itself, so that one that knows nothing of windows is
    trained once a fold for all of them, and combines the ranks within folds. Trained by `fit`, each
    score is ranked among those of the training events.
    """

    settings: CombinationSettings = field(default_factory=CombinationSettings)
    names: tuple[str, ...] | None = None
    uses_window: ClassVar[bool] = True

    @property
    def folds(self) -> int:
        """The most folds of its members."""
        return max(member.folds for member in self.members())

    def members(self) -> tuple[Detector, ...]:
        """Return the detectors, in the order of the settings."""
        from bumpscout_tools.detectors.make import make_detector

        made = tuple(
            make_detector(member.name, dict(member.settings)) for member in self.settings.members
        )
        if self.names is None:
            return made
        return tuple(one.named(self.names) if isinstance(one, NeedsNames) else one for one in made)

    def named(self, features: Sequence[str]) -> Combination:
        """Return the combination for inputs of these names, in this order."""
        return Combination(self.settings, tuple(features))

    def fit(
        self,
        features: FloatArray,
        mass: FloatArray,
        window_gev: tuple[float, float] | None,
        seed: int,
        *,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> TrainedCombination:
        """Train all members on the same rows; see `Detector.fit`.

        Raises:
            DetectorError: if one of them cannot be trained.
            TrainingStopped: if `stop` said so.
        """
        fitted, references = [], []
        members = self.members()
        seeds = np.random.SeedSequence(seed).generate_state(len(members), np.uint32) // 4
        for number, member in enumerate(members):
            window = window_gev if member.uses_window else None
            one = member.fit(features, mass, window, int(seeds[number]), stop=stop)
            fitted.append(one)
            references.append(np.sort(one.score(features, mass)))
            if progress is not None:
                progress(number + 1, len(members))
        return TrainedCombination(tuple(fitted), tuple(references), self.settings.rule)


@dataclass(frozen=True)
class TrainedCombination:
    """Trained members, and the sorted scores (n,) of the training events by each."""

    members: tuple[Fitted, ...]
    references: tuple[FloatArray, ...]
    rule: str

    def score(self, features: FloatArray, mass: FloatArray) -> FloatArray:
        """Return the combined ranks (n,)."""
        ranks = [
            _rank(member.score(features, mass), reference)
            for member, reference in zip(self.members, self.references, strict=True)
        ]
        return combined(ranks, self.rule)


def _rank(score: FloatArray, reference: FloatArray) -> FloatArray:
    """Return the place of scores (n,) among sorted ones, in (0, 1); the middle of ties."""
    below = np.searchsorted(reference, score, side="left")
    below = below + np.searchsorted(reference, score, side="right")
    return np.asarray((0.5 * below + 0.5) / (len(reference) + 1.0), dtype=np.float64)
