"""Compiled kernels of the event-level toys.

Cell c stands for `size[c]` events of the data and expects `mean[c]`. Its entries, `start[c]` to
`start[c + 1]`, are the slices (a spectrum between two consecutive working points) that it counts
in. An event of the cell has one u in 0..size[c]; in the slice of entry e it lies at `rank[e]` + u,
which is bin `at`, the first from `column[e]` on with `reach[at]` above it. It counts there with
probability `keep[at]`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.statistics._jit import jit

__all__ = ["bounds", "draw", "draw_tilted", "isotonic", "shared"]

FloatArray = NDArray[np.float64]
CountArray = NDArray[np.int32]
IndexArray = NDArray[np.int64]

_BY_INVERSION = 10.0


@jit
def _poisson(rng: np.random.Generator, mean: float, none: float) -> int:
    """Draw one number; `none` is exp(-mean)."""
    if mean >= _BY_INVERSION:
        return int(rng.poisson(mean))
    u = rng.random()
    p = none
    k = 0
    while u >= p and k < 200:
        u -= p
        k += 1
        p *= mean / k
    return k


@jit
def draw(
    rng: np.random.Generator,
    mean: FloatArray,
    none: FloatArray,
    size: FloatArray,
    start: IndexArray,
    column: CountArray,
    rank: CountArray,
    reach: FloatArray,
    keep: FloatArray,
    out: CountArray,
) -> None:
    """Add one draw of all cells to each column of `out` (columns, t); `none` is exp(-mean).

    Toys are innermost, so that a cell touches few stretches of memory for all of them.
    """
    for c in range(mean.size):
        for t in range(out.shape[1]):
            for _ in range(_poisson(rng, mean[c], none[c])):
                u = rng.random() * size[c]
                for e in range(start[c], start[c + 1]):
                    at = column[e]
                    while reach[at] <= rank[e] + u:
                        at += 1
                    if keep[at] >= 1.0 or rng.random() < keep[at]:
                        out[at, t] += 1


@jit
def bounds(
    factor: FloatArray,
    first: int,
    size: FloatArray,
    start: IndexArray,
    column: CountArray,
    rank: CountArray,
    reach: FloatArray,
    out: FloatArray,
) -> None:
    """Fill `out` (c,) with the largest factor that an event of each cell can have.

    `factor` (f,) belongs to the columns from `first` on; elsewhere it is 1.
    """
    for c in range(size.size):
        out[c] = 1.0
        for e in range(start[c], start[c + 1]):
            at = column[e]
            if first <= at < first + factor.size:
                out[c] = max(out[c], factor[at - first])
                while reach[at] < rank[e] + size[c]:
                    at += 1
                    out[c] = max(out[c], factor[at - first])


@jit
def draw_tilted(
    rng: np.random.Generator,
    factor: FloatArray,
    first: int,
    bound: FloatArray,
    mean: FloatArray,
    size: FloatArray,
    start: IndexArray,
    column: CountArray,
    rank: CountArray,
    reach: FloatArray,
    keep: FloatArray,
    out: CountArray,
) -> None:
    """Add one draw to `out` (columns,) in which events of some columns are `factor` as frequent."""
    place = np.empty(np.max(start[1:] - start[:-1]), dtype=np.int64)
    for c in range(mean.size):
        often = mean[c] * bound[c]
        for _ in range(_poisson(rng, often, math.exp(-often))):
            u = rng.random() * size[c]
            share = 1.0 / bound[c]
            for e in range(start[c], start[c + 1]):
                at = column[e]
                while reach[at] <= rank[e] + u:
                    at += 1
                there = keep[at] >= 1.0 or rng.random() < keep[at]
                place[e - start[c]] = at if there else -1
                if there and first <= at < first + factor.size:
                    share *= factor[at - first]
            if share >= 1.0 or rng.random() < share:
                for e in range(start[c + 1] - start[c]):
                    if place[e] >= 0:
                        out[place[e]] += 1


@jit
def shared(
    ranges: tuple[int, int, int, int],
    mean: FloatArray,
    size: FloatArray,
    start: IndexArray,
    column: CountArray,
    rank: CountArray,
    reach: FloatArray,
    keep: FloatArray,
    out: FloatArray,
) -> None:
    """Add to `out` the mean events that lie in a column of each of two ranges, exactly.

    `ranges` are the ends (first, last, first, last) of the columns of two different spectra.
    """
    for c in range(mean.size):
        a, b = -1, -1
        for e in range(start[c], start[c + 1]):
            if ranges[0] <= column[e] < ranges[1]:
                a = e
            if ranges[2] <= column[e] < ranges[3]:
                b = e
        if a < 0 or b < 0:
            continue
        i, j, u = column[a], column[b], 0.0
        while u < size[c]:
            end_a, end_b = reach[i] - rank[a], reach[j] - rank[b]
            end = min(end_a, end_b, size[c])
            if end > u:
                part = mean[c] * (end - u) / size[c] * keep[i] * keep[j]
                out[i - ranges[0], j - ranges[2]] += part
                u = end
            if end_a <= u:
                i += 1
            if end_b <= u:
                j += 1


@jit
def isotonic(mu: FloatArray) -> None:
    """Replace each column of `mu` (w, b) by its least-squares fit that nowhere rises with w.

    Pooling of adjacent violators (R. Barlow and others, Statistical Inference under Order
    Restrictions, 1972).
    """
    total = np.empty(mu.shape[0])
    length = np.empty(mu.shape[0], dtype=np.int64)
    for i in range(mu.shape[1]):
        blocks = 0
        for w in range(mu.shape[0]):
            total[blocks], length[blocks] = mu[w, i], 1
            blocks += 1
            while (
                blocks > 1
                and total[blocks - 1] * length[blocks - 2] > total[blocks - 2] * length[blocks - 1]
            ):
                total[blocks - 2] += total[blocks - 1]
                length[blocks - 2] += length[blocks - 1]
                blocks -= 1
        w = 0
        for block in range(blocks):
            value = total[block] / length[block]
            for _ in range(length[block]):
                mu[w, i] = value
                w += 1
