"""The test of one cell of the scan: fit the side bands, hunt in the window; many toys at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background.dijet import DijetBasis
from bumpscout_tools.background.selection import select_order_batch
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.statistics import EXPECTED_FLOOR, best_interval_batch

__all__ = ["cell_z_batch", "window_mask"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def window_mask(n_bins: int, window: tuple[int, int]) -> BoolArray:
    """Return the mask (b,) that leaves the bins first to last (exclusive) out of a fit.

    Raises:
        ConfigurationError: a window that does not lie within the bins.
    """
    first, last = window
    if not 0 <= first < last <= n_bins:
        raise ConfigurationError(
            f"The window, bins {first} to {last}, does not lie within the {n_bins} bins."
        )
    mask = np.zeros(n_bins, dtype=np.bool_)
    mask[first:last] = True
    return mask


def cell_z_batch(
    counts: ArrayLike,
    basis: DijetBasis,
    orders: Sequence[int],
    alpha: float,
    window: tuple[int, int],
    widths: tuple[int, int],
    floor: float = EXPECTED_FLOOR,
) -> FloatArray:
    """Return the largest local z of each spectrum inside a window that the fit leaves out.

    The same as `select_order_batch` with the window masked, then `best_interval_batch` inside it.

    Args:
        counts: (t, b) events, whole numbers.
        basis: the family on the bins of the spectra.
        orders: strictly rising orders to choose from.
        alpha: level of the likelihood-ratio test.
        window: first bin and end (exclusive).
        widths: bins of the shortest and of the longest interval.
        floor: events that an interval expects at least.

    Returns:
        z (t,), every row, negative where no interval holds an excess.
    """
    n = np.require(counts, np.float64, ["C", "W"])
    chosen = select_order_batch(n, basis, orders, alpha, window_mask(basis.n_bins, window))
    return best_interval_batch(n, chosen.expected, *window, *widths, floor).z
