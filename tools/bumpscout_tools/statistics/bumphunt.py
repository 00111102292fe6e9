"""BumpHunter: the most significant excess among intervals of consecutive bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.statistics import _kernels
from bumpscout_tools.statistics.poisson import log_poisson_p

__all__ = ["EXPECTED_FLOOR", "BatchIntervals", "Interval", "best_interval", "best_interval_batch"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

EXPECTED_FLOOR = 1e-6
"""Events: an interval never expects fewer. It makes p larger, never smaller."""

_SMALLEST_P = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class Interval:
    """The most significant interval: bins `start` to `stop` (exclusive).

    `local_p` is P(N >= n_observed | n_expected), at least the smallest normal double (2.2e-308);
    `local_z` is right beyond that. Without an excess anywhere it is the largest signed z.
    """

    start: int
    stop: int
    n_observed: int
    n_expected: float
    local_p: float
    local_z: float


@dataclass(frozen=True, slots=True)
class BatchIntervals:
    """The best interval of each spectrum: `z`, `start`, `stop` (exclusive), each (t,)."""

    z: FloatArray
    start: IntArray
    stop: IntArray


def best_interval(
    observed: ArrayLike,
    expected: ArrayLike,
    first: int = 0,
    last: int | None = None,
    min_width: int = 2,
    max_width: int | None = None,
    floor: float = EXPECTED_FLOOR,
) -> Interval:
    """Find the most significant excess of one spectrum.

    Intervals start at bin `first` or later, stop at bin `last` (exclusive) or earlier, and hold
    `min_width` to `max_width` bins (G. Choudalakis, arXiv:1101.0390, without side bands). Among
    equally significant intervals the shortest, then the leftmost, is taken.

    Args:
        observed: (b,) events, whole numbers.
        expected: (b,) events expected from background.
        first: first bin of the search.
        last: end of the search, exclusive; None for all bins.
        min_width: bins of the shortest interval.
        max_width: bins of the longest interval; None for half of the searched bins.
        floor: events; an interval that expects fewer is taken to expect this many.

    Raises:
        ConfigurationError: a range or widths that hold no interval.
        InputDataError: counts or expectations that are negative, infinite or not numbers.
    """
    n = np.atleast_2d(np.asarray(observed, dtype=np.float64))
    b = np.atleast_2d(np.asarray(expected, dtype=np.float64))
    found = best_interval_batch(n, b, first, last, min_width, max_width, floor)
    start, stop = int(found.start[0]), int(found.stop[0])
    n_observed = round(float(n[0, start:stop].sum()))
    n_expected = max(float(b[0, start:stop].sum()), floor)
    log_p = float(log_poisson_p(n_observed, n_expected))
    return Interval(
        start=start,
        stop=stop,
        n_observed=n_observed,
        n_expected=n_expected,
        local_p=max(math.exp(log_p), _SMALLEST_P),
        local_z=float(found.z[0]),
    )


def best_interval_batch(
    observed: ArrayLike,
    expected: ArrayLike,
    first: int = 0,
    last: int | None = None,
    min_width: int = 2,
    max_width: int | None = None,
    floor: float = EXPECTED_FLOOR,
) -> BatchIntervals:
    """Find the most significant excess in each of many spectra; arguments as `best_interval`.

    Args:
        observed: (t, b) events, whole numbers.
        expected: (t, b) events expected in each spectrum, or (b,) or (1, b) for all alike.
        first: first bin of the search.
        last: end of the search, exclusive; None for all bins.
        min_width: bins of the shortest interval.
        max_width: bins of the longest interval; None for half of the searched bins.
        floor: events; an interval that expects fewer is taken to expect this many.
    """
    n = np.require(observed, np.float64, ["C", "W"])
    b = np.atleast_2d(np.require(expected, np.float64, ["C", "W"]))
    if n.ndim != 2 or b.shape not in {n.shape, (1, n.shape[1])}:
        raise InputDataError(
            f"Observed counts of shape {n.shape} and expected counts of shape {b.shape} do not "
            "belong together: pass (t, b) and (t, b), or (t, b) and (b,)."
        )
    if not np.all((n >= 0) & (n == np.floor(n)) & np.isfinite(n)):
        raise InputDataError("Observed counts must be whole numbers >= 0 to be hunted for bumps.")
    if not np.all((b >= 0) & np.isfinite(b)):
        raise InputDataError("Expected counts must be finite and >= 0 to be hunted for bumps.")
    if not floor > 0:
        raise ConfigurationError(f"The floor of expected events must be above 0, not {floor}.")
    end = n.shape[1] if last is None else last
    if not 0 <= first < end <= n.shape[1]:
        raise ConfigurationError(
            f"The search range, bins {first} to {end}, does not lie within the {n.shape[1]} bins "
            "of the spectrum."
        )
    widest = max((end - first) // 2, min_width) if max_width is None else max_width
    widest = min(widest, end - first)
    if not 1 <= min_width <= widest:
        raise ConfigurationError(
            f"No interval of {min_width} to {max_width} bins fits into bins {first} to {end}: "
            "lower the smallest width or widen the range."
        )
    z = np.empty(n.shape[0])
    start = np.empty(n.shape[0], dtype=np.int64)
    stop = np.empty(n.shape[0], dtype=np.int64)
    _kernels.hunt_batch(n, b, first, end, min_width, widest, floor, z, start, stop)
    return BatchIntervals(z, start, stop)
