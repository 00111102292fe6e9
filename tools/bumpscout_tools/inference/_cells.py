"""Compiled kernel of the event-level toys: a Poisson number of events for each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.statistics._jit import jit

__all__ = ["draw"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]

_BY_INVERSION = 10.0


@jit
def draw(
    rng: np.random.Generator,
    mean: FloatArray,
    none: FloatArray,
    column: IntArray,
    out: FloatArray,
) -> None:
    """Add to each column of `out` (columns, t) one draw of all cells.

    `mean` (c,) and `none` (c,) = exp(-mean); `column` (c, K) are where a cell counts, -1 for
    nowhere. Toys are innermost, so that a cell touches few stretches of memory for all of them.
    """
    n_toys = out.shape[1]
    events = np.empty(n_toys)
    for c in range(mean.size):
        any_event = False
        for t in range(n_toys):
            k = 0
            if mean[c] < _BY_INVERSION:
                u = rng.random()
                p = none[c]
                while u >= p and k < 200:
                    u -= p
                    k += 1
                    p *= mean[c] / k
            else:
                k = rng.poisson(mean[c])
            events[t] = k
            any_event = any_event or k > 0
        if any_event:
            for s in range(column.shape[1]):
                at = column[c, s]
                if at >= 0:
                    for t in range(n_toys):
                        out[at, t] += events[t]
