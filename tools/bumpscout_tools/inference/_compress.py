"""Compression of events into cells: equal events become one, with their number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["compress"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CountArray = NDArray[np.int32]

_ODD = np.uint64(0x9E3779B97F4A7C15)


def compress(
    bins: NDArray[np.integer[Any]],
    levels: NDArray[np.integer[Any]],
    n_bins: IntArray,
    n_levels: int,
) -> tuple[IntArray, CountArray, FloatArray]:
    """Return the start (c + 1,) and columns (e,) of the entries of each cell, and its events (c,).

    Args:
        bins: (n, K) bin of each event in each spectrum, -1 for none.
        levels: (n, K) tightest working point that it passes, -1 for none.
        n_bins: (K,) bins of each spectrum.
        n_levels: number of working points.

    Cells are sorted by the first spectrum that they count in. One spectrum is held in memory at a
    time, beside a few numbers for each event.
    """
    first = np.cumsum(n_bins * n_levels) - n_bins * n_levels

    def column(s: int, rows: IntArray | slice) -> CountArray:
        at, level = bins[rows, s], levels[rows, s]
        inside = (at >= 0) & (level >= 0)
        flat = first[s] + level.astype(np.int64) * n_bins[s] + at
        out: CountArray = np.where(inside, flat, -1).astype(np.int32)
        return out

    key = np.zeros(bins.shape[0], dtype=np.uint64)
    lowest = np.full(bins.shape[0], -1, dtype=np.int32)
    for s in range(n_bins.size):
        here = column(s, slice(None))
        key = (key ^ (here + 2).astype(np.uint64)) * _ODD
        key ^= key >> np.uint64(29)
        lowest = np.where(lowest < 0, here, lowest)
    _, chosen, inverse = np.unique(key, return_index=True, return_inverse=True)
    # Unequal events with equal keys, should there be any, become cells of their own.
    alone = np.zeros(bins.shape[0], dtype=np.bool_)
    for s in range(n_bins.size):
        here = column(s, slice(None))
        alone |= here != here[chosen[inverse]]
    counts = np.bincount(inverse[~alone], minlength=chosen.size)
    extra = np.flatnonzero(alone)
    rows = np.concatenate([chosen, extra])
    events = np.concatenate([counts, np.ones(extra.size)])
    order = np.argsort(lowest[rows], kind="stable")
    order = order[lowest[rows[order]] >= 0]
    rows, events = rows[order], events[order]
    length = np.zeros(rows.size, dtype=np.int64)
    for s in range(n_bins.size):
        length += column(s, rows) >= 0
    start = np.concatenate([[0], np.cumsum(length)])
    columns = np.empty(int(start[-1]), dtype=np.int32)
    position = start[:-1].copy()
    for s in range(n_bins.size):
        here = column(s, rows)
        inside = here >= 0
        columns[position[inside]] = here[inside]
        position += inside
    return start, columns, events.astype(np.float64)
