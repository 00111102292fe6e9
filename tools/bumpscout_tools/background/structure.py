"""Two statistics of residuals that see structure which the deviance dilutes over all bins.

Their distributions under the null are those of toys that are fitted as the data were.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Structure", "structure_of"]

FloatArray = NDArray[np.float64]

_STEP_WIDTHS = (2, 3, 4, 6, 8, 12)
_SMOOTH_WIDTHS = (3, 5)
_LEAST_EVENTS = 0.5


class Structure(NamedTuple):
    """`step` (t,): the largest break in sigma; `smooth` (t,): size of local mean residuals."""

    step: FloatArray
    smooth: FloatArray


def structure_of(counts: FloatArray, expected: FloatArray) -> Structure:
    """Return both statistics of residuals.

    `step` compares, at each edge, the ratio of observed to expected events in the 2 to 12 bins
    below to that in as many above; `smooth` sums the squares of pulls that are averaged over 3 and
    over 5 neighbours. Expectations below half an event count as that.

    Args:
        counts: (t, b) events.
        expected: (t, b) fitted means.
    """
    n_rows, n_bins = counts.shape
    start = np.zeros((n_rows, 1))
    sum_n = np.concatenate([start, np.cumsum(counts, axis=1)], axis=1)
    sum_mu = np.concatenate([start, np.cumsum(expected, axis=1)], axis=1)
    step = np.zeros(n_rows)
    for width in _STEP_WIDTHS:
        if 3 * width > n_bins:
            continue
        low, at, high = (
            slice(0, n_bins - 2 * width + 1),
            slice(width, n_bins - width + 1),
            slice(2 * width, n_bins + 1),
        )
        mu_low = np.maximum(sum_mu[:, at] - sum_mu[:, low], _LEAST_EVENTS)
        mu_high = np.maximum(sum_mu[:, high] - sum_mu[:, at], _LEAST_EVENTS)
        ratio_low = (sum_n[:, at] - sum_n[:, low]) / mu_low
        ratio_high = (sum_n[:, high] - sum_n[:, at]) / mu_high
        size = np.abs(ratio_high - ratio_low) / np.sqrt(1.0 / mu_low + 1.0 / mu_high)
        step = np.maximum(step, size.max(axis=1))
    pulls = (counts - expected) / np.sqrt(np.maximum(expected, _LEAST_EVENTS))
    sum_pull = np.concatenate([start, np.cumsum(pulls, axis=1)], axis=1)
    smooth = np.zeros(n_rows)
    for width in _SMOOTH_WIDTHS:
        if width <= n_bins:
            part = sum_pull[:, width:] - sum_pull[:, :-width]
            smooth += np.sum(part**2, axis=1) / width
    return Structure(step, smooth)
