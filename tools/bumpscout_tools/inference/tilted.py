"""Importance-sampled toys: rare maxima from toys that fluctuate on purpose, weighted back.

A toy fluctuates towards one of many directions j, drawn at random, and is worth

    P(toy | null) / (sum_j P(toy | direction j) / J)

(the mixture as a whole, so that no toy has a weight far above the others; A. Owen, Y. Zhou, JASA 95
(2000) 135). The estimate is without bias whatever the directions and whatever the statistic; good
directions make it precise: for the score vectors v of the peaks or windows that are searched, means
mu exp(c v), with c such that the toy is worth about the z of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference.event_toys import TOYS_AT_ONCE, EventToys
from bumpscout_tools.statistics import toy_p_value

__all__ = ["JointStatistic", "importance_sampled_p", "tilts", "weighted_p"]

FloatArray = NDArray[np.float64]
JointStatistic = Callable[[tuple[FloatArray, ...]], FloatArray]
"""Counts (t, W, b) of each spectrum -> (t,) the largest z of all, fitted as in the data."""

_MAX_TILT = 20.0


def tilts(vectors: FloatArray, expected: FloatArray, z: float) -> FloatArray:
    """Return ln(mean under each direction / mean under the null), (h, b).

    It is c v, at most 20, with 2 sum(c v mu exp(c v) - mu (exp(c v) - 1)) = z^2, the deviance of
    such a fluctuation; by bisection.

    Args:
        vectors: (h, b) score vectors v.
        expected: (b,) means mu of the null.
        z: largest local z of the data.
    """
    low: FloatArray = np.zeros(vectors.shape[0])
    high: FloatArray = np.full(vectors.shape[0], 2.0 * z)
    for _ in range(60):
        middle = 0.5 * (low + high)
        change = np.minimum(middle[:, None] * vectors, _MAX_TILT)
        worth = 2.0 * (expected * (change * np.exp(change) - np.expm1(change))).sum(axis=1)
        below = worth < z * z
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    log_ratio: FloatArray = np.minimum(high[:, None] * vectors, _MAX_TILT)
    return log_ratio


def weighted_p(weights: FloatArray) -> tuple[float, float, float]:
    """Return the mean of weights (n,), 0 for toys below the data, and one error each way.

    Where no toy reached the data the directions did not lead there and the weights say nothing:
    the value is then 1 / (n + 1), as of plain toys, and never 0.
    """
    if not np.any(weights > 0):
        return toy_p_value(0, weights.size)
    value = float(weights.mean())
    error = float(weights.std(ddof=1)) / math.sqrt(weights.size)
    return value, max(value - error, 0.0), value + error


def importance_sampled_p(
    rng: np.random.Generator,
    null: EventToys,
    vectors: Sequence[Sequence[FloatArray]],
    statistic: JointStatistic,
    z: float,
    n_toys: int = 2000,
) -> tuple[float, float, float]:
    """Return P(largest z of all >= z) of many spectra and working points, and one error each way.

    Args:
        rng: random numbers.
        null: cells on the null, from `EventToys.on_null`.
        vectors: for each spectrum and working point the directions (h, b), score vectors of what is
            searched there (`score_vectors`); h may differ, and may be 0.
        statistic: gives the largest z of toys, each fitted as the data were.
        z: that of the data.
        n_toys: number of toys, at least 2.

    Raises:
        ConfigurationError: no direction at all, or fewer than two toys.
    """
    expected = null.expected()
    ratios = [
        [tilts(v, expected[s][w], z) for w, v in enumerate(one)] for s, one in enumerate(vectors)
    ]
    where = [
        (s, w, h)
        for s, one in enumerate(ratios)
        for w, ratio in enumerate(one)
        for h in range(ratio.shape[0])
    ]
    if not where or n_toys < 2:
        raise ConfigurationError(
            f"Importance-sampled toys need at least one direction and two toys, not {len(where)} "
            f"and {n_toys}."
        )
    weights = np.empty(n_toys)
    for first in range(0, n_toys, TOYS_AT_ONCE):
        size = min(TOYS_AT_ONCE, n_toys - first)
        slices = np.empty((null.slices.size, size), dtype=np.int32)
        for t, j in enumerate(rng.integers(0, len(where), size)):
            s, w, h = where[j]
            slices[:, t] = null.draw_tilted(rng, ratios[s][w][h], s, w)
        counts = tuple(null.nested(slices, s) for s in range(len(null.n_bins)))
        reached = statistic(counts) >= z
        parts = [
            counts[s][:, w] @ ratio.T - np.expm1(ratio) @ expected[s][w]
            for s, one in enumerate(ratios)
            for w, ratio in enumerate(one)
            if ratio.size
        ]
        mixture = special.logsumexp(np.concatenate(parts, axis=1), axis=1)
        weights[first : first + size] = reached * np.exp(math.log(len(where)) - mixture)
    return weighted_p(weights)
