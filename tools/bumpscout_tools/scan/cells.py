"""One cell of the scan: the spectrum of one window and working point, fitted and searched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.background import Selection, cell_z_batch, select_order
from bumpscout_tools.scan.layout import Layout
from bumpscout_tools.scan.outcome import Cell, Stage
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.statistics import best_interval

__all__ = ["FittedCell", "fit_background", "fit_cell", "standardise", "window_toys"]

FloatArray = npt.NDArray[np.float64]

MIN_NULL_WIDTH = 0.25
"""Floor of a cell's null width: where a window expects almost nothing, local z hardly varies."""


@dataclass(frozen=True)
class FittedCell:
    """A tested cell with its spectrum, (b,) observed and (b,) expected counts."""

    cell: Cell
    observed: FloatArray
    expected: FloatArray


def fit_cell(
    plan: SearchPlan,
    layout: Layout,
    *,
    counts: FloatArray,
    window: int,
    efficiency: float,
    detector: int,
    stage: Stage,
    test_id: str,
    rng: np.random.Generator,
) -> FittedCell:
    """Fit the side bands, look for the most significant excess inside the window.

    The order of the background family is chosen on the side bands; local p is the Poisson tail of
    the best interval given the fitted expectation; null mean and width of local z come from
    `plan.cell_toys` toys drawn from the fit and treated like the data, order selection included.

    Args:
        plan: the search plan.
        layout: bins and windows.
        counts: (b,) events that pass the working point.
        window: number of the window in the layout.
        efficiency: the working point.
        detector: its number in the plan.
        stage: coarse or refined.
        test_id: identifier of the test in the ledger.
        rng: generator of the toys.
    """
    first, last = layout.windows[window]
    orders, alpha = plan.background.orders, plan.background.alpha
    selection, reason = fit_background(plan, layout, counts, window)
    expected = selection.fit.expected
    interval = best_interval(counts, expected, first, last, *plan.bump_bins)
    toys = rng.poisson(expected, (plan.cell_toys, len(expected))).astype(np.float64)
    null_z = cell_z_batch(toys, layout.basis, orders, alpha, (first, last), plan.bump_bins)
    null_mean, null_width = float(null_z.mean()), max(float(null_z.std()), MIN_NULL_WIDTH)
    cell = Cell(
        test_id=test_id,
        detector=plan.detectors[detector].name,
        detector_index=detector,
        window_gev=layout.windows_gev[window],
        efficiency=efficiency,
        stage=stage,
        n_selected=int(counts.sum()),
        order=selection.order,
        deviance=selection.fit.deviance,
        ndf=selection.fit.ndf,
        fit_p=selection.fit_p,
        believable=reason is None,
        interval_gev=(float(layout.edges[interval.start]), float(layout.edges[interval.stop])),
        n_observed=int(interval.n_observed),
        n_expected=interval.n_expected,
        local_p=interval.local_p,
        local_z=interval.local_z,
        null_mean=null_mean,
        null_width=null_width,
        excess=(interval.local_z - null_mean) / null_width,
        reason=reason,
    )
    return FittedCell(cell, counts, expected)


def fit_background(
    plan: SearchPlan, layout: Layout, counts: FloatArray, window: int
) -> tuple[Selection, str | None]:
    """Fit the side bands of one window and say why the fit cannot be believed, or None.

    Besides a bad fit, the reason may be that window or side bands expect too few events: there the
    fit extrapolates more than it measures, and local z has tails that no width describes.

    Args:
        plan: the search plan.
        layout: bins and windows.
        counts: (b,) events that pass a working point.
        window: number of the window.
    """
    first, last = layout.windows[window]
    selection = select_order(
        counts,
        layout.basis,
        plan.background.orders,
        plan.background.alpha,
        layout.window_mask((first, last)),
    )
    width = last - first
    expected = selection.fit.expected
    fewest = min(
        float(expected[max(0, start) : start + width].sum())
        for start in (first - width, first, last)
    )
    if fewest < plan.windows.min_expected:
        return selection, f"only {fewest:.2g} events are expected in the window or a side band"
    return selection, None if selection.believable else "; ".join(selection.reasons)


def window_toys(
    plan: SearchPlan,
    layout: Layout,
    *,
    window: int,
    expected: FloatArray,
    n_toys: int,
    seed: tuple[int, ...],
) -> FloatArray:
    """Draw toys of all nested working points of one window and return their local z.

    Working points are nested, so the toys are drawn in disjoint slices between consecutive
    thresholds and summed: neighbouring working points share their events, as in the data.

    Args:
        plan: the search plan.
        layout: bins and windows.
        window: number of the window.
        expected: (n_efficiencies, b) fitted counts by falling efficiency.
        n_toys: number of toys.
        seed: entropy of the generator.

    Returns:
        (n_toys, n_efficiencies) local z, scores held fixed, every toy refitted.
    """
    rng = np.random.default_rng(seed)
    slices = np.maximum(expected - np.vstack([expected[1:], np.zeros_like(expected[:1])]), 0.0)
    counts = np.zeros((n_toys, expected.shape[1]))
    z = np.empty((n_toys, len(expected)))
    for index in range(len(expected) - 1, -1, -1):
        counts += rng.poisson(slices[index], counts.shape)
        z[:, index] = cell_z_batch(
            counts,
            layout.basis,
            plan.background.orders,
            plan.background.alpha,
            layout.windows[window],
            plan.bump_bins,
        )
    return z


def standardise(z: FloatArray, mean: FloatArray, width: FloatArray) -> FloatArray:
    """Return (z - mean) / width with the floor of the null width, by column."""
    return (z - mean) / np.maximum(width, MIN_NULL_WIDTH)
