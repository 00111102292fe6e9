"""Bins, fit range and signal windows of a scan: rules of the plan, redone in every replay.

Bins and windows lie on one logarithmic grid that is fixed for all data (edges at 1 TeV times
exp(j w)), so no edge depends on the events; a rule only decides which of them are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bumpscout_tools.background import DijetBasis, select_order
from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.errors import InputDataError
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["Layout", "make_layout"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

GRID_ORIGIN_GEV = 1000.0
MIN_FIT_P = 0.05
START_STEP_BINS = 2
MAX_START_STEPS = 12
MIN_BINS = 20
MIN_EVENTS = 500


@dataclass(frozen=True)
class Layout:
    """The grid of one scan.

    Attributes:
        edges: (b+1,) GeV, bins of the fit.
        windows: signal windows as half-open ranges of bins.
        described: whether some order of the background family describes the inclusive spectrum.
        sqrt_s_gev: collision energy.
        max_order: largest order of the background family.
    """

    edges: FloatArray
    windows: tuple[tuple[int, int], ...]
    described: bool
    sqrt_s_gev: float
    max_order: int

    @cached_property
    def basis(self) -> DijetBasis:
        """The background family on these bins."""
        return DijetBasis(self.edges, self.sqrt_s_gev, self.max_order)

    def __getstate__(self) -> dict[str, object]:
        """Leave the basis out of pickles: it is made again where it is used."""
        return {name: value for name, value in self.__dict__.items() if name != "basis"}

    @property
    def windows_gev(self) -> tuple[tuple[float, float], ...]:
        """Edges of the signal windows in GeV."""
        return tuple((float(self.edges[i]), float(self.edges[j])) for i, j in self.windows)

    def window_mask(self, window: tuple[int, int]) -> BoolArray:
        """Return (b,) True for the bins that a fit of this window leaves out."""
        mask = np.zeros(len(self.edges) - 1, dtype=np.bool_)
        mask[window[0] : window[1]] = True
        return mask

    def histogram(self, mass: FloatArray) -> FloatArray:
        """Return (b,) counts of the masses."""
        return np.histogram(mass, self.edges)[0].astype(np.float64)


def make_layout(plan: SearchPlan, mass: FloatArray) -> Layout:
    """Choose fit range and windows by the rules of the plan.

    The fit starts at the first candidate edge, from the mode of the spectrum (or the requested
    minimum) upwards in steps of two bins, from which the background family with its order
    selection describes the inclusive spectrum with p > 0.05, as a whole or with one signal window
    left out (so that a signal does not drive the choice); where none does, the spectrum is
    reported as not described. It ends above the largest mass. A window is scanned if both side
    bands of its own width lie in the fit range and window and side bands hold `min_events`.

    Args:
        plan: the search plan.
        mass: (n,) GeV.

    Raises:
        InputDataError: if too few events or bins are left to search.
    """
    width = plan.spectrum.bin_log_width
    low, high = plan.spectrum.min_gev or 0.0, plan.spectrum.max_gev or np.inf
    mass = mass[(mass > 0) & (mass >= low) & (mass < min(high, 0.98 * plan.background.sqrt_s_gev))]
    if len(mass) < MIN_EVENTS:
        raise InputDataError(
            f"Only {len(mass)} events lie in the requested mass range; a search needs {MIN_EVENTS}."
        )
    position = np.log(mass / GRID_ORIGIN_GEV) / width
    first = int(np.ceil(np.log(low / GRID_ORIGIN_GEV) / width - 1e-9)) if low else -(10**6)
    sqrt_s = plan.background.sqrt_s_gev
    last = min(
        int(np.ceil(position.max())), int(np.ceil(np.log(sqrt_s / GRID_ORIGIN_GEV) / width)) - 1
    )
    if np.isfinite(high):
        last = min(last, int(np.floor(np.log(high / GRID_ORIGIN_GEV) / width + 1e-9)))
    indices, counts = np.unique(np.floor(position).astype(np.int64), return_counts=True)
    mode = int(indices[np.argmax(counts)])
    first = max(first, mode)
    layout = _first_described(plan, mass, first, last)
    windows = _windows(plan, layout, layout.histogram(mass))
    if not windows:
        raise InputDataError(
            f"No signal window fits between {layout.edges[0]:.0f} and {layout.edges[-1]:.0f} GeV "
            f"with {plan.windows.min_events} events in it and in each side band; "
            "the sample is too small or its mass range too narrow for this search."
        )
    return Layout(layout.edges, windows, layout.described, layout.sqrt_s_gev, layout.max_order)


def _first_described(plan: SearchPlan, mass: FloatArray, first: int, last: int) -> Layout:
    layout: Layout | None = None
    for step in range(MAX_START_STEPS):
        start = first + START_STEP_BINS * step
        if last - start < MIN_BINS:
            break
        grid = np.arange(start, last + 1)
        edges = GRID_ORIGIN_GEV * np.exp(plan.spectrum.bin_log_width * grid)
        candidate = Layout(edges, (), False, plan.background.sqrt_s_gev, plan.background.orders[-1])
        counts = candidate.histogram(mass)
        if counts.sum() < MIN_EVENTS:
            break
        described = _described(plan, candidate, counts)
        described = described and bool(_windows(plan, candidate, counts))
        if layout is None or described:
            layout = Layout(
                edges, (), described, plan.background.sqrt_s_gev, plan.background.orders[-1]
            )
        if described:
            break
    if layout is None:
        raise InputDataError(
            f"The spectrum spans fewer than {MIN_BINS} bins of {plan.spectrum.bin_log_width:.1%} "
            "above its maximum; there is no falling spectrum to fit."
        )
    return layout


def _described(plan: SearchPlan, layout: Layout, counts: FloatArray) -> bool:
    masks = [None, *(layout.window_mask(window) for window in _windows(plan, layout, counts))]
    selections = (
        select_order(counts, layout.basis, plan.background.orders, plan.background.alpha, mask)
        for mask in masks
    )
    return any(s.believable and s.fit_p > MIN_FIT_P for s in selections)


def _windows(plan: SearchPlan, layout: Layout, counts: FloatArray) -> tuple[tuple[int, int], ...]:
    width, step = plan.windows.width_bins, plan.windows.step_bins
    sideband = max(
        int(np.ceil(d.settings.sideband_windows * width))
        if isinstance(d.settings, CwolaSettings)
        else width
        for d in plan.detectors
    )
    start = round(np.log(layout.edges[0] / GRID_ORIGIN_GEV) / plan.spectrum.bin_log_width)
    windows = []
    for first in range(sideband, len(counts) - width - sideband + 1):
        if (start + first) % step:
            continue
        parts = (
            counts[first - sideband : first],
            counts[first : first + width],
            counts[first + width : first + width + sideband],
        )
        if min(part.sum() for part in parts) >= plan.windows.min_events:
            windows.append((first, first + width))
    return tuple(windows)
