"""The null generator: background-only pseudo-experiments from a smooth density of the data.

A pseudo-experiment draws its masses from the fitted spectrum and the features of each event from
their density conditional on the mass. Spectrum and density are fitted with the hottest window and
half of it on either side masked, so that a signal there is not learned into the null. No event of
the data occurs in a pseudo-experiment, so nothing is repeated.

The spectrum has one order more than the data ask for, where that order can be fitted: the order
chosen is the lowest that few events allow, not the truth, and a null that obeys it makes the fits
of the replays better than those of the data. (On 36 simulated boxes the largest excess of the data
was 0.3 above that of replays whose spectrum had the chosen order.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.background import DijetBasis, Selection, select_order
from bumpscout_tools.background.dijet import MAX_ORDER
from bumpscout_tools.detectors.density import ConditionalDensity
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.execute import Prepared
from bumpscout_tools.scan.layout import Layout
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["NullModel", "cumulative_spectrum", "fit_null"]

FloatArray = npt.NDArray[np.float64]

POINTS_PER_BIN = 16


@dataclass(frozen=True)
class NullModel:
    """Background-only density of one data set.

    Attributes:
        expected: expected number of events.
        masses: (g,) GeV, grid of the cumulative spectrum.
        cumulative: (g,) from 0 to 1.
        density: p(features | mass).
        feature_names: names of the features.
        masked_gev: the mass range that was not learned from.
        order: parameters of the spectrum that masses are drawn from.
        fit_p: goodness of that fit.
    """

    expected: float
    masses: FloatArray
    cumulative: FloatArray
    density: ConditionalDensity
    feature_names: tuple[str, ...]
    masked_gev: tuple[float, float]
    order: int
    fit_p: float

    def draw(self, rng: np.random.Generator) -> View:
        """Draw a Poisson number of new events, with identifiers as opaque as the vault's."""
        n = int(rng.poisson(self.expected))
        mass = np.interp(rng.random(n), self.cumulative, self.masses)
        features = self.density.sample(mass, rng)
        event_id = rng.integers(2**64, size=n, dtype=np.uint64)
        return View(event_id, mass, features, self.feature_names)


def fit_null(
    plan: SearchPlan,
    prepared: Prepared,
    masked_window_gev: tuple[float, float],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> NullModel:
    """Fit the null generator of one data set.

    Args:
        plan: the search plan.
        prepared: layout and restricted view of the data.
        masked_window_gev: hottest signal window; it is masked with half its width on either side.
        seed: seed of the density fit, which runs in one thread so that it alone decides the fit.
        progress: called with (epochs done, epochs at most).

    Raises:
        FitError: if the spectrum cannot be fitted.
        DetectorError: if too few events are left to fit the density.
    """
    layout, view = prepared.layout, prepared.view
    margin = np.sqrt(masked_window_gev[1] / masked_window_gev[0])
    low, high = masked_window_gev[0] / margin, masked_window_gev[1] * margin
    edges = layout.edges
    masked = (edges[1:] > low * 1.0001) & (edges[:-1] < high / 1.0001)
    counts = layout.histogram(view.mass)
    selection, basis = _spectrum(plan, layout, counts, masked)
    grid, cumulative = cumulative_spectrum(basis, selection.fit.coefficients)
    learned = (view.mass < low) | (view.mass >= high)
    density = ConditionalDensity.fit(
        view.features[learned], view.mass[learned], seed=seed, threads=1, progress=progress
    )
    return NullModel(
        expected=float(selection.fit.expected.sum()),
        masses=grid,
        cumulative=cumulative,
        density=density,
        feature_names=view.feature_names,
        masked_gev=(float(low), float(high)),
        order=selection.order,
        fit_p=selection.fit_p,
    )


def _spectrum(
    plan: SearchPlan, layout: Layout, counts: FloatArray, masked: npt.NDArray[np.bool_]
) -> tuple[Selection, DijetBasis]:
    orders, alpha = plan.background.orders, plan.background.alpha
    chosen = select_order(counts, layout.basis, orders, alpha, masked)
    if chosen.order < MAX_ORDER:
        basis = DijetBasis(layout.edges, layout.sqrt_s_gev, chosen.order + 1)
        richer = select_order(counts, basis, (chosen.order + 1,), alpha, masked)
        if richer.fit.converged:
            return richer, basis
    return chosen, layout.basis


def cumulative_spectrum(
    basis: DijetBasis, coefficients: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the cumulative of a fitted spectrum, to draw masses from.

    Args:
        basis: family and bins of the fit.
        coefficients: (order,) of the fit in that basis.

    Returns:
        (g,) masses in GeV, and (g,) the cumulative there, from 0 to 1.
    """
    edges = basis.edges_gev
    grid = np.interp(
        np.arange((len(edges) - 1) * POINTS_PER_BIN + 1) / POINTS_PER_BIN,
        np.arange(len(edges)),
        edges,
    )
    shape = basis.density(coefficients, grid)
    pieces = 0.5 * (shape[1:] + shape[:-1]) * np.diff(grid)
    cumulative = np.concatenate([[0.0], np.cumsum(pieces)])
    return grid, cumulative / cumulative[-1]
