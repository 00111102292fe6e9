"""The end of a grid scan: null mean and width of each cell, guards, and robustness of the leaders.

Whether a conclusion survives another order stands beside every cell. For the leading cells the
range of the fit, the binning, and the fit without the interval itself are varied as well; each
variant is measured from the null mean of the original cell in its null widths.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from bumpscout_tools.background import DijetBasis, select_order
from bumpscout_tools.detectors.guards import GuardReport, mass_dependence
from bumpscout_tools.errors import BumpscoutError
from bumpscout_tools.inference import GridSpectrum, levels_by_rank
from bumpscout_tools.scan.cells import MIN_NULL_WIDTH
from bumpscout_tools.scan.grid_fit import BELIEVED_FIT_P, HYPOTHESES, ColumnFit, spectrum_doubt
from bumpscout_tools.scan.grid_layout import GridColumn, GridEvents, spectrum_mass
from bumpscout_tools.scan.grid_plan import MIN_BINS
from bumpscout_tools.scan.grid_scan import GridScan
from bumpscout_tools.scan.grid_significance import GridNull
from bumpscout_tools.scan.outcome import Cell, ScanOutcome, Variant
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.statistics import best_interval

__all__ = ["conclude_grid", "selected_mass"]

FloatArray = npt.NDArray[np.float64]

MIN_GUARDED_EVENTS = 100
MAX_GUARDED_WIDTHS = 5
SHIFT_BINS = 2


def conclude_grid(
    plan: SearchPlan, events: GridEvents, scan: GridScan, null: GridNull
) -> ScanOutcome:
    """Return the outcome with excesses in null widths, guards of the first, and variants.

    Args:
        plan: the search plan.
        events: scored.
        scan: what the scan found.
        null: what its toys say of each cell.
    """
    cells = tuple(
        _standardised(cell, float(null.mean[place]), float(null.width[place]))
        for cell, place in zip(scan.outcome.cells, scan.place, strict=True)
    )
    outcome = scan.outcome.model_copy(update={"cells": cells})
    guards: dict[str, tuple[GuardReport, ...]] = {}
    variants: dict[str, tuple[Variant, ...]] = {}
    by_id = {cell.test_id: place for cell, place in zip(cells, scan.place, strict=True)}
    for rank, cell in enumerate(outcome.leading()):
        k, _ = by_id[cell.test_id]
        column, fit = scan.grid.columns[k], scan.fits[k]
        if rank == 0:
            guards[cell.test_id] = _guards(events, column, cell)
        mass = selected_mass(scan, events, k, cell)
        variants[cell.test_id] = tuple(_variants(plan, column, fit, cell, mass))
    return outcome.model_copy(update={"guards": guards, "variants": variants})


def selected_mass(scan: GridScan, events: GridEvents, k: int, cell: Cell) -> FloatArray:
    """Return the masses (n,) GeV of the events of a column that pass the cut of a cell."""
    column = scan.grid.columns[k]
    n_selected = scan.grid.n_selected[scan.grid.efficiencies.index(cell.efficiency)]
    passed = levels_by_rank(events.scores[column.detector], [n_selected]) == 0
    mass: FloatArray = spectrum_mass(events.view, column.spectrum)[passed]
    selected: FloatArray = mass[np.isfinite(mass)]
    return selected


def _standardised(cell: Cell, mean: float, width: float) -> Cell:
    width = max(width, MIN_NULL_WIDTH)
    excess = (cell.local_z - mean) / width
    return cell.model_copy(update={"null_mean": mean, "null_width": width, "excess": excess})


def _guards(events: GridEvents, column: GridColumn, cell: Cell) -> tuple[GuardReport, ...]:
    """Guard the score of one cell against the mass of its spectrum, near its interval.

    A fixed score is a function of each event's features alone, made without the scanned events, so
    that only its dependence on the mass can sculpt a bump. Events of the interval itself say
    nothing of that, as a signal lifts the score there; the range around it is widened until it
    holds `MIN_GUARDED_EVENTS` others.
    """
    mass = spectrum_mass(events.view, column.spectrum)
    low, high = cell.interval_gev
    outside = (mass < low) | (mass >= high)
    for widths in range(1, MAX_GUARDED_WIDTHS + 1):
        margin = (high / low) ** widths
        near = outside & (mass >= low / margin) & (mass < high * margin)
        if np.count_nonzero(near) >= MIN_GUARDED_EVENTS:
            score = events.scores[column.detector][near]
            return (mass_dependence(rankdata(score) / len(score), mass[near]),)
    return (
        GuardReport(
            name="mass dependence",
            fired=False,
            value=None,
            threshold=None,
            message=f"fewer than {MIN_GUARDED_EVENTS} events are near the bump, too few to tell "
            "whether the score depends on the mass",
        ),
    )


def _variants(
    plan: SearchPlan, column: GridColumn, fit: ColumnFit, cell: Cell, mass: FloatArray
) -> Iterator[Variant]:
    for found in cell.hypotheses:
        if found.order in (cell.order - 1, cell.order + 1) and found.order in HYPOTHESES:
            yield _variant(cell, f"p{found.order}", found.local_z, found.fit_p >= BELIEVED_FIT_P)
    edges = column.edges
    ranges = [
        (f"fit starts {SHIFT_BINS} bins lower", edges[max(0, fit.start - SHIFT_BINS) :]),
        (f"fit starts {SHIFT_BINS} bins higher", edges[fit.start + SHIFT_BINS :]),
        ("fit ends 2 bins lower", edges[fit.start : -2]),
    ]
    for name, part in ranges:
        if len(part) > MIN_BINS and not np.array_equal(part, edges[fit.start :]):
            yield from _refitted(plan, part, mass, cell, name, plan.bump_bins)
    shortest, longest = plan.bump_bins
    own = edges[fit.start :]
    halves = np.sort(np.concatenate([own, np.sqrt(own[1:] * own[:-1])]))
    yield from _refitted(plan, halves, mass, cell, "bins half as wide", (2 * shortest, 2 * longest))
    if len(own[::2]) > plan.background.orders[-1] + 2:
        twice = (max(1, shortest // 2), max(1, longest // 2))
        yield from _refitted(plan, own[::2], mass, cell, "bins twice as wide", twice)
    yield from _refitted(
        plan, own, mass, cell, "its interval left out of the fit", plan.bump_bins, masked=True
    )


def _refitted(
    plan: SearchPlan,
    edges: FloatArray,
    mass: FloatArray,
    cell: Cell,
    name: str,
    bump_bins: tuple[int, int],
    *,
    masked: bool = False,
) -> Iterator[Variant]:
    """Yield the variant of one choice, nothing where it cannot be fitted.

    The most significant interval is looked for near the original one: within its own width.
    """
    counts = np.histogram(mass, edges)[0].astype(np.float64)
    low, high = cell.interval_gev
    mask = (edges[1:] > low * (1 + 1e-9)) & (edges[:-1] < high * (1 - 1e-9)) if masked else None
    first = int(np.searchsorted(edges, low * low / high * (1 + 1e-9), side="right")) - 1
    last = int(np.searchsorted(edges, high * high / low * (1 - 1e-9)))
    first, last = max(first, 0), min(last, len(counts))
    try:
        basis = DijetBasis(edges, plan.background.sqrt_s_gev, plan.background.orders[-1])
        orders, alpha = plan.background.orders, plan.background.alpha
        fitted = select_order(counts, basis, orders, alpha, mask)
        model = GridSpectrum(basis, orders, bump_bins, alpha, edge=bump_bins[1])
        doubt = None if fitted.believable else spectrum_doubt(model, counts, BELIEVED_FIT_P)
        found = best_interval(
            counts, fitted.fit.expected, first, last, bump_bins[0], max(*bump_bins)
        )
    except BumpscoutError:
        return
    yield _variant(cell, name, found.local_z, doubt is None)


def _variant(cell: Cell, name: str, local_z: float, believable: bool) -> Variant:
    excess = (local_z - cell.null_mean) / cell.null_width
    return Variant(name=name, local_z=local_z, excess=excess, believable=believable)
