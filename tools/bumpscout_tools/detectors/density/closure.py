"""Closure of a generator: can a classifier tell its events from real ones?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

__all__ = ["Closure", "area_under_curve", "real_against_generated"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_FOLDS = 5
_ROUNDS = 150


@dataclass(frozen=True)
class Closure:
    """How well real and generated events are told apart; 0.5 everywhere is perfect.

    Attributes:
        auc: area under the curve of the classifier, over all events.
        auc_error: its standard deviation for identical samples.
        auc_top: the same among the rarest 1% of events.
        auc_top_error: its standard deviation for identical samples.
        top_share: share of real events among the rarest 1%: 0.5 if tails have the right size.
        top_share_error: its standard deviation for identical samples.
        score_share: share of real events among the 1% that the classifier finds most real.
        events: number of real events, as many as generated ones.
    """

    auc: float
    auc_error: float
    auc_top: float
    auc_top_error: float
    top_share: float
    top_share_error: float
    score_share: float
    events: int


def area_under_curve(score: FloatArray, positive: BoolArray) -> float:
    """Return P(score of a positive > score of a negative), ties counted half."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return 0.5
    rank_sum = float(rankdata(score)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def _auc_error(n_positive: int, n_negative: int) -> float:
    """Return the standard deviation of the area for identical distributions (Mann-Whitney)."""
    if not n_positive or not n_negative:
        return 0.5
    return float(np.sqrt((n_positive + n_negative + 1) / (12 * n_positive * n_negative)))


def real_against_generated(
    real: FloatArray,
    generated: FloatArray,
    mass: FloatArray,
    rng: np.random.Generator,
    *,
    rarity: FloatArray,
    top: float = 0.01,
    n_jobs: int = 1,
) -> Closure:
    """Train LightGBM to tell real from generated events of the same masses, in 5 folds.

    A real event and the generated one of its mass stay in one fold: else the trees would learn from
    a mass seen as `real` in training that it is `generated` in the test, and push the area below
    0.5.

    Args:
        real: (n, k) features.
        generated: (n, k) features drawn at the same masses, row by row.
        mass: (n,) GeV, a feature of the classifier too.
        rng: makes the folds and the classifier's seed.
        rarity: (2, n) how anomalous the real and the generated events are; defines the tail.
        top: share of the events (real and generated together) in the tail.
        n_jobs: threads of LightGBM.
    """
    import lightgbm

    n = len(mass)
    inputs = np.column_stack([np.concatenate([real, generated]), np.tile(mass, 2)])
    is_real = np.repeat([True, False], n)
    fold = np.tile(rng.permutation(n) % _FOLDS, 2)
    settings = {
        "objective": "binary",
        "num_leaves": 31,
        "learning_rate": 0.05,
        "min_child_samples": 100,
        "lambda_l2": 1.0,
        "num_threads": n_jobs,
        "deterministic": True,
        "force_row_wise": True,
        "seed": int(rng.integers(2**31)),
        "verbosity": -1,
    }
    score = np.empty(2 * n)
    for k in range(_FOLDS):
        inside = fold == k
        train = lightgbm.Dataset(inputs[~inside], is_real[~inside].astype(float))
        booster = lightgbm.train(settings, train, num_boost_round=_ROUNDS)
        # Folds have different score scales.
        predicted = booster.predict(inputs[inside], num_threads=n_jobs)
        score[inside] = rankdata(predicted) / inside.sum()
    rare = rarity.ravel() >= np.quantile(rarity, 1 - top)
    first = score >= np.quantile(score, 1 - top)
    rare_real = int(is_real[rare].sum())
    return Closure(
        auc=area_under_curve(score, is_real),
        auc_error=_auc_error(n, n),
        auc_top=area_under_curve(score[rare], is_real[rare]),
        auc_top_error=_auc_error(rare_real, int(rare.sum()) - rare_real),
        top_share=rare_real / float(rare.sum()),
        top_share_error=0.5 / float(np.sqrt(rare.sum())),
        score_share=float(is_real[first].mean()),
        events=n,
    )
