"""The classifier behind weak supervision: boosted trees, perceptrons, or what the data prefer.

Trees need a few hundred signal events to cut out their corner of the features, perceptrons
generalise from fewer (arXiv:2309.13111). Which is better for a signal that nobody knows cannot be
told beforehand, and `auto` asks the data alone: see `choose`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.boosting import BoostedEnsemble, BoostingSettings, train_ensemble
from bumpscout_tools.detectors.protocol import Progress, Stop

if TYPE_CHECKING:
    from bumpscout_tools.detectors.perceptron import PerceptronEnsemble

__all__ = [
    "ClassifierSettings",
    "TrainedClassifier",
    "choose",
    "enrichment",
    "train_classifier",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal["trees", "mlp"]

KINDS: tuple[Kind, ...] = ("trees", "mlp")
CUTS = (0.03, 0.01, 0.003, 0.001)
"""Efficiencies of the second class at which the enrichment in the first is measured."""
MIN_PASSING = 10
"""Fewest events of the second class that a cut must leave to be used."""
DECISIVE = 2.0
"""Difference of the mean significances from which one kind is taken alone; chance alone makes about
one, as each of the two has nearly the error of a single significance."""


class ClassifierSettings(BoostingSettings, Protocol):
    """What the settings of a detector say about its classifier."""

    @property
    def classifier(self) -> Literal["trees", "mlp", "auto"]:
        """Which kind."""
        ...

    @property
    def networks(self) -> int:
        """Perceptrons that are averaged."""
        ...

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of their hidden layers."""
        ...

    @property
    def epochs(self) -> int:
        """Epochs of their training."""
        ...


@dataclass(frozen=True)
class TrainedClassifier:
    """One classifier, or the two of which the data preferred neither.

    Attributes:
        chosen: the kinds that score.
        ensembles: one for each of them.
        references: sorted scores of the second class, for each of two; empty for one.
        significance: held-out enrichment of each kind, where the data chose; see `choose`.
    """

    chosen: tuple[Kind, ...]
    ensembles: tuple[BoostedEnsemble | PerceptronEnsemble, ...]
    references: tuple[FloatArray, ...] = ()
    significance: tuple[tuple[Kind, float], ...] = ()

    def score(self, features: FloatArray) -> FloatArray:
        """Return the score (n,) of (n, k) features.

        One kind: the mean raw score of its members. Two: the mean of the ranks of their scores
        among the events of the second class.
        """
        scores = [ensemble.score(features) for ensemble in self.ensembles]
        if not self.references:
            return scores[0]
        ranks = [
            np.searchsorted(reference, score) + np.searchsorted(reference, score, side="right")
            for score, reference in zip(scores, self.references, strict=True)
        ]
        return np.asarray(np.mean(ranks, axis=0) / (2 * len(self.references[0])), dtype=np.float64)


def train_classifier(
    features: FloatArray,
    positive: BoolArray,
    weight: FloatArray,
    settings: ClassifierSettings,
    seed: int,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> TrainedClassifier:
    """Train a classifier of two classes, in one thread.

    Args:
        features: (n, k) inputs.
        positive: (n,) True for the class that is to score high.
        weight: (n,) event weights.
        settings: which kind, and what each is made of.
        seed: the same seed gives the same scores.
        stop: asked between steps.
        progress: told about steps.

    Raises:
        DetectorError: if the training failed.
        TrainingStopped: if `stop` said so.
    """
    arrays = (features, positive, weight)
    if settings.classifier != "auto":
        ensemble = _train(settings.classifier, *arrays, settings, seed, stop, progress)
        return TrainedClassifier((settings.classifier,), (ensemble,))
    significance = _held_out(*arrays, settings, seed, stop)
    chosen = choose(significance)
    ensembles = tuple(_train(kind, *arrays, settings, seed, stop, progress) for kind in chosen)
    references: tuple[FloatArray, ...] = ()
    if len(chosen) > 1:
        references = tuple(np.sort(one.score(features[~positive])) for one in ensembles)
    return TrainedClassifier(chosen, ensembles, references, tuple(significance.items()))


def choose(significance: dict[Kind, float]) -> tuple[Kind, ...]:
    """Return which kind the data prefer, or both.

    Args:
        significance: of the enrichment in held-out events, for each kind.
    """
    difference = significance["trees"] - significance["mlp"]
    if abs(difference) < DECISIVE:
        return ("trees", "mlp")
    return ("trees",) if difference > 0 else ("mlp",)


def enrichment(score: FloatArray, positive: BoolArray, weight: FloatArray) -> float:
    """Return by how many standard errors tight cuts select more of the first class.

    At each efficiency of `CUTS` for the second class, ``(eps_1 - eps_0) / sqrt(eps_0 (1 - eps_0)
    (1 / n_1 + 1 / n_0))`` with effective numbers of events n; the mean over the cuts that leave
    enough events. A rare signal shows there long before it moves a mean loss.

    Args:
        score: (n,) of events that the classifier has not seen.
        positive: (n,) True for the first class.
        weight: (n,) event weights.
    """
    order = np.argsort(-score[~positive], kind="stable")
    falling, weights = score[~positive][order], weight[~positive][order]
    shares = np.cumsum(weights) / weights.sum()
    n_0 = weights.sum() ** 2 / (weights**2).sum()
    first = weight[positive]
    n_1 = first.sum() ** 2 / (first**2).sum()
    found: list[float] = []
    for cut in CUTS:
        last = int(np.searchsorted(shares, cut))
        if last + 1 < MIN_PASSING and found:
            break
        # Trees give many events the same score: a cut takes all of them or none.
        tied = int(np.searchsorted(-falling, -falling[last], side="right")) - 1
        if tied == len(falling) - 1:
            found.append(0.0)
            continue
        eps_0 = shares[tied]
        eps_1 = first[score[positive] >= falling[last]].sum() / first.sum()
        error = np.sqrt(eps_0 * (1 - eps_0) * (1 / n_1 + 1 / n_0))
        found.append(float((eps_1 - eps_0) / error))
    return float(np.mean(found))


def _held_out(
    features: FloatArray,
    positive: BoolArray,
    weight: FloatArray,
    settings: ClassifierSettings,
    seed: int,
    stop: Stop | None,
) -> dict[Kind, float]:
    """Return the enrichment of each kind, trained on either half and measured on the other."""
    half = np.random.default_rng((seed, 2)).permutation(len(features)) % 2 == 0
    found: dict[Kind, float] = {}
    for kind in KINDS:
        parts = []
        for train in (half, ~half):
            ensemble = _train(
                kind, features[train], positive[train], weight[train], settings, seed, stop, None
            )
            score = ensemble.score(features[~train])
            parts.append(enrichment(score, positive[~train], weight[~train]))
        found[kind] = float(np.sum(parts) / np.sqrt(len(parts)))
    return found


def _train(
    kind: Kind,
    features: FloatArray,
    positive: BoolArray,
    weight: FloatArray,
    settings: ClassifierSettings,
    seed: int,
    stop: Stop | None,
    progress: Progress | None,
) -> BoostedEnsemble | PerceptronEnsemble:
    arrays = (features, positive, weight)
    if kind == "trees":
        return train_ensemble(*arrays, settings, seed, stop=stop, progress=progress)
    # torch takes a second and 200 MB to import: only where something is trained.
    from bumpscout_tools.detectors.perceptron import train_perceptrons

    return train_perceptrons(*arrays, settings, seed, stop=stop, progress=progress)
