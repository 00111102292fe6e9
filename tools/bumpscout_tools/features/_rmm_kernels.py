"""Compiled loops of the rapidity-mass matrix: the cells of one event, dense and sparse."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from bumpscout_tools.statistics._jit import jit

__all__ = ["count_cells", "fill_dense", "fill_sparse"]

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]


@jit
def _prepare(
    event: int,
    kept: IntArray,
    offsets: IntArray,
    first: IntArray,
    momentum: FloatArray,
    invariant: bool,
    places: IntArray,
    leading: IntArray,
    derived: FloatArray,
) -> int:
    """Fill row, rank, energy, E_T and exp(y / 2) of an event's objects; return their number."""
    n = 0
    for kind in range(kept.shape[1]):
        for rank in range(kept[event, kind]):
            places[n] = first[kind] + rank
            leading[n] = rank == 0
            n += 1
    for i in range(n):
        row = offsets[event] + i
        pt, pz, mass = momentum[row, 0], momentum[row, 3], momentum[row, 4]
        energy = sqrt(pt**2 + pz**2 + mass**2)
        transverse = sqrt(pt**2 + mass**2)
        derived[i, 0] = energy
        derived[i, 1] = transverse if invariant else energy * pt / sqrt(pt**2 + pz**2)
        # (E + |pz|) / mT has no cancellation; y changes its sign with pz.
        half = sqrt((energy + abs(pz)) / transverse)
        derived[i, 2] = half if pz >= 0 else 1 / half
    return n


@jit
def _cell(
    i: int,
    j: int,
    leading: IntArray,
    p: FloatArray,
    met: FloatArray,
    derived: FloatArray,
    sqrt_s: float,
    scale: float,
) -> float:
    """Return the cell of the objects i and j of an event, -1 standing for missing energy."""
    if i < 0 and j < 0:
        return float(met[0] / sqrt_s)
    if i < 0:
        if met[0] <= 0:
            return 0.0
        sum_x, sum_y = p[j, 1] + met[1], p[j, 2] + met[2]
        square = (derived[j, 1] + met[0]) ** 2 - sum_x**2 - sum_y**2
        return sqrt(max(square, 0.0)) / sqrt_s
    if j < 0:
        a = derived[i, 2]
        return float(scale * 0.5 * (a - 1 / a) ** 2)
    if i == j:
        if leading[i]:
            return float(derived[i, 1] / sqrt_s)
        before, mine = derived[i - 1, 1], derived[i, 1]
        return float((before - mine) / (before + mine))
    if i < j:
        product = p[i, 1] * p[j, 1] + p[i, 2] * p[j, 2] + p[i, 3] * p[j, 3]
        square = p[i, 4] ** 2 + p[j, 4] ** 2 + 2 * (derived[i, 0] * derived[j, 0] - product)
        return sqrt(max(square, 0.0)) / sqrt_s
    a, b = derived[i, 2], derived[j, 2]
    return float(scale * 0.5 * (a - b) ** 2 / (a * b))


@jit
def fill_dense(
    values: Float32Array,
    cells: IntArray,
    kept: IntArray,
    offsets: IntArray,
    first: IntArray,
    momentum: FloatArray,
    met: FloatArray,
    sqrt_s: float,
    scale: float,
    invariant: bool,
) -> None:
    """Fill the columns `cells` (size, size) of (n, k) zeros."""
    most = cells.shape[0] - 1
    places, leading = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    derived = np.empty((most, 3))
    for event in range(len(kept)):
        n = _prepare(event, kept, offsets, first, momentum, invariant, places, leading, derived)
        p = momentum[offsets[event] : offsets[event + 1]]
        for i in range(-1, n):
            row = 0 if i < 0 else places[i]
            for j in range(-1, n):
                column = cells[row, 0 if j < 0 else places[j]]
                if column >= 0:
                    values[event, column] = _cell(
                        i, j, leading, p, met[event], derived, sqrt_s, scale
                    )


@jit
def count_cells(
    counts: IntArray, cells: IntArray, kept: IntArray, first: IntArray, met: FloatArray
) -> None:
    """Count into ``counts[i + 1]`` the cells of event i that `fill_sparse` writes."""
    places = np.empty(cells.shape[0], dtype=np.int64)
    for event in range(len(kept)):
        n = 0
        if met[event, 0] > 0:
            places[0] = 0
            n = 1
        start = n
        for kind in range(kept.shape[1]):
            for rank in range(kept[event, kind]):
                places[n] = first[kind] + rank
                n += 1
        found = 0 if start else n
        for i in range(n):
            for j in range(n):
                if cells[places[i], places[j]] >= 0:
                    found += 1
        counts[event + 1] = found


@jit
def fill_sparse(
    values: Float32Array,
    columns: Int32Array,
    pointers: IntArray,
    cells: IntArray,
    kept: IntArray,
    offsets: IntArray,
    first: IntArray,
    momentum: FloatArray,
    met: FloatArray,
    sqrt_s: float,
    scale: float,
    invariant: bool,
) -> None:
    """Fill values and columns of a compressed matrix whose rows start at `pointers`."""
    most = cells.shape[0] - 1
    places, leading = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    derived = np.empty((most, 3))
    for event in range(len(kept)):
        n = _prepare(event, kept, offsets, first, momentum, invariant, places, leading, derived)
        p = momentum[offsets[event] : offsets[event + 1]]
        at = pointers[event]
        for i in range(-1 if met[event, 0] > 0 else 0, n):
            row = 0 if i < 0 else places[i]
            for j in range(-1, n):
                column = cells[row, 0 if j < 0 else places[j]]
                if column >= 0:
                    columns[at] = column
                    values[at] = _cell(i, j, leading, p, met[event], derived, sqrt_s, scale)
                    at += 1
