"""Does a bump survive other choices: the neighbouring order, windows, and binnings.

Each variant fits and searches the same selected events again with one choice changed. Its excess is
measured with the null median and width of the original cell, so that it can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bumpscout_tools.background import deviance_p, fit
from bumpscout_tools.errors import BumpscoutError
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.cells import fit_background
from bumpscout_tools.scan.layout import Layout
from bumpscout_tools.scan.outcome import Cell, Variant
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.statistics import best_interval

__all__ = ["variants_of"]

FloatArray = npt.NDArray[np.float64]
BinRange = tuple[int, int]

MIN_FIT_P = 0.01
"""A neighbouring order that describes the side bands worse is not believed, as in the scan."""


def variants_of(
    plan: SearchPlan,
    layout: Layout,
    selected_mass: FloatArray,
    cell: Cell,
    calibration: NullCells,
) -> tuple[Variant, ...]:
    """Return what becomes of one cell under other choices.

    Args:
        plan: the search plan.
        layout: bins and windows of the scan.
        selected_mass: (n_selected,) GeV, the events that pass the cell's working point.
        cell: as scanned.
        calibration: null mean and width of the excess at each working point.
    """
    found = []
    for name, local_z, believable in _variants(plan, layout, selected_mass, cell):
        excess = (local_z - cell.null_mean) / cell.null_width
        calibrated = calibration.standardise(cell.detector_index, cell.efficiency, excess)
        found.append(
            Variant(name=name, local_z=local_z, excess=float(calibrated), believable=believable)
        )
    return tuple(found)


def _variants(
    plan: SearchPlan, layout: Layout, mass: FloatArray, cell: Cell
) -> Iterator[tuple[str, float, bool]]:
    window = layout.windows[layout.windows_gev.index(cell.window_gev)]
    counts, mask = layout.histogram(mass), layout.window_mask(window)
    for order in (cell.order - 1, cell.order + 1):
        if 2 <= order <= layout.max_order:
            try:
                fitted = fit(counts, layout.basis, order, mask)
            except BumpscoutError:
                continue
            z = _z(counts, fitted.expected, window, plan.bump_bins)
            fit_p = deviance_p(fitted.deviance, fitted.expected[~mask], order)
            yield f"p{order}", z, fitted.converged and fit_p >= MIN_FIT_P
    for name, shift in (("window a bin lower", -1), ("window a bin higher", 1)):
        moved = (window[0] + shift, window[1] + shift)
        yield from _refitted(plan, layout, counts, moved, name, plan.bump_bins)
    yield from _refitted(
        plan, layout, counts, (window[0] - 1, window[1] + 1), "window 2 bins wider", plan.bump_bins
    )
    finer = Layout(_halved(layout.edges), (), layout.described, layout.sqrt_s_gev, layout.max_order)
    twice = (2 * window[0], 2 * window[1])
    shortest, longest = plan.bump_bins
    yield from _refitted(
        plan, finer, finer.histogram(mass), twice, "bins half as wide", (2 * shortest, 2 * longest)
    )
    first = window[0] % 2
    coarse = layout.edges[first::2]
    coarser = Layout(coarse, (), layout.described, layout.sqrt_s_gev, layout.max_order)
    merged = ((window[0] - first) // 2, -(-(window[1] - first) // 2))
    yield from _refitted(
        plan,
        coarser,
        coarser.histogram(mass),
        merged,
        "bins twice as wide",
        (max(1, shortest // 2), max(1, longest // 2)),
    )


def _refitted(
    plan: SearchPlan,
    layout: Layout,
    counts: FloatArray,
    window: BinRange,
    name: str,
    bump_bins: BinRange,
) -> Iterator[tuple[str, float, bool]]:
    """Yield the variant of one window on one binning, nothing where it does not fit there."""
    if window[0] < 1 or window[1] >= len(counts):
        return
    moved = Layout(layout.edges, (window,), layout.described, layout.sqrt_s_gev, layout.max_order)
    try:
        selection, reason = fit_background(plan, moved, counts, 0)
    except BumpscoutError:
        return
    yield name, _z(counts, selection.fit.expected, window, bump_bins), reason is None


def _z(counts: FloatArray, expected: FloatArray, window: BinRange, bump_bins: BinRange) -> float:
    shortest = min(bump_bins[0], window[1] - window[0])
    found = best_interval(counts, expected, *window, shortest, max(bump_bins[1], shortest))
    return found.local_z


def _halved(edges: FloatArray) -> FloatArray:
    """Return the edges with the geometric middle of each bin between them."""
    finer = np.empty(2 * len(edges) - 1)
    finer[::2] = edges
    finer[1::2] = np.sqrt(edges[1:] * edges[:-1])
    return finer
