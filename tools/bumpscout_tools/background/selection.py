"""The order of a family of backgrounds, chosen by likelihood ratio; and whether to believe the fit.

The rule, the same for one spectrum and for many: the lowest order is held first. Each larger order,
in rising order, is compared to the one held: under the held order the fall of the deviance follows
a chi2 with as many degrees of freedom as parameters were added, and where its probability is below
`alpha` the larger order is taken and held. An order that does not improve is passed over, so that
order + 2 is compared to the held order with two degrees of freedom; the search ends at the
largest order. An order without a finite optimum is passed over as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.background import _kernels
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.fit import Fit, assemble, checked_counts, run_kernel
from bumpscout_tools.background.goodness import deviance_p, runs_p
from bumpscout_tools.errors import ConfigurationError

__all__ = ["BatchSelection", "Selection", "TriedOrder", "select_order", "select_order_batch"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

DEFAULT_ORDERS = (2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class TriedOrder:
    """One order that was tried: its deviance, and its gain over the order held at that point.

    `gain_p` is None for the lowest order.
    """

    order: int
    deviance: float
    ndf: int
    fit_p: float
    converged: bool
    gain_p: float | None
    taken: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen fit, all that were tried, and whether the chosen one can be believed.

    `fit_p` is the p-value of its deviance and `runs_p` that of the runs of its residuals; `reasons`
    says in words why `believable` is False, and is empty otherwise.
    """

    fit: Fit
    order: int
    tried: tuple[TriedOrder, ...]
    fit_p: float
    runs_p: float
    believable: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchSelection:
    """The chosen fits of many spectra, none dropped.

    `expected` (t, b) in all bins, `order`, `deviance`, `ndf` and `status` (t,), `coefficients`
    (t, largest order), zero beyond the chosen order.
    """

    expected: FloatArray
    order: IntArray
    deviance: FloatArray
    ndf: IntArray
    status: IntArray
    coefficients: FloatArray

    @property
    def converged(self) -> BoolArray:
        """Where the chosen order reached a finite optimum, (t,)."""
        converged: BoolArray = self.status == _kernels.CONVERGED
        return converged


def _checked_orders(orders: Sequence[int], alpha: float) -> tuple[int, ...]:
    if not orders or list(orders) != sorted(set(orders)):
        raise ConfigurationError(f"Orders to choose from must rise strictly, not {list(orders)}.")
    if not 0 < alpha < 1:
        raise ConfigurationError(f"alpha must lie between 0 and 1, not {alpha}.")
    return tuple(orders)


def _needed(orders: tuple[int, ...], alpha: float) -> FloatArray:
    """Return the fall of the deviance that takes one order from another, by their indices."""
    needed = np.full((len(orders), len(orders)), np.inf)
    for a, low in enumerate(orders):
        for c in range(a + 1, len(orders)):
            needed[a, c] = special.chdtri(orders[c] - low, alpha)
    return needed


def select_order_batch(
    counts: ArrayLike,
    basis: LogLinearBasis,
    orders: Sequence[int] = DEFAULT_ORDERS,
    alpha: float = 0.05,
    mask: ArrayLike | None = None,
) -> BatchSelection:
    """Choose the order for each of many spectra, and fit it; the rule is the module's.

    Args:
        counts: (t, b) events.
        basis: the family on the bins of the spectra.
        orders: strictly rising orders to choose from.
        alpha: a larger order is taken where its improvement has a smaller probability.
        mask: (b,) bool, True where a bin is left out of the fits.

    Raises:
        ConfigurationError: orders that do not rise, or an alpha outside 0..1.
        InputDataError: counts or a mask of the wrong shape, negative or infinite counts.
        FitError: an order that the basis does not hold, or too few unmasked bins for the largest.
    """
    candidates = _checked_orders(orders, alpha)
    n = checked_counts(counts, basis, candidates)
    out = run_kernel(n, basis, candidates, _needed(candidates, alpha), mask, complete=False)
    rows = np.arange(n.shape[0])
    order = np.array(candidates, dtype=np.int64)[out.taken]
    return BatchSelection(
        expected=out.expected,
        order=order,
        deviance=out.deviance[rows, out.taken],
        ndf=out.used.size - order,
        status=out.status[rows, out.taken],
        coefficients=out.coefficients[rows, out.taken],
    )


def _doubts(best: Fit, fit_p: float, runs: float, min_fit_p: float, min_runs_p: float) -> list[str]:
    """Return in words why a fit cannot be believed."""
    reasons: list[str] = []
    if best.status == "empty":
        reasons.append("no fitted bin holds an event")
    elif best.status == "at limit":
        reasons.append(f"order {best.order} has no finite optimum: too few events to determine it")
    elif not best.converged:
        reasons.append(f"the fit of order {best.order} did not converge")
    if fit_p < min_fit_p:
        reasons.append(
            f"deviance {best.deviance:.1f} for {best.ndf} degrees of freedom has p = {fit_p:.2g}, "
            f"below {min_fit_p:g}, at order {best.order}"
        )
    if runs < min_runs_p:
        reasons.append(
            f"residuals stay on one side for too long: p = {runs:.2g}, below {min_runs_p:g}"
        )
    return reasons


def select_order(
    counts: ArrayLike,
    basis: LogLinearBasis,
    orders: Sequence[int] = DEFAULT_ORDERS,
    alpha: float = 0.05,
    mask: ArrayLike | None = None,
    min_fit_p: float = 0.01,
    min_runs_p: float = 0.001,
) -> Selection:
    """Choose the order for one spectrum, and judge its fit; the rule is the module's.

    Args:
        counts: (b,) events.
        basis: the family on the bins of the spectrum.
        orders: strictly rising orders to choose from.
        alpha: a larger order is taken where its improvement has a smaller probability.
        mask: (b,) bool, True where a bin is left out of the fits.
        min_fit_p: a fit whose deviance has a smaller probability is not believed.
        min_runs_p: nor one whose residuals run so long on one side.

    Raises:
        ConfigurationError: orders that do not rise, or an alpha outside 0..1.
        InputDataError: counts or a mask of the wrong shape, negative or infinite counts.
        FitError: an order that the basis does not hold, or too few unmasked bins for the largest.
    """
    candidates = _checked_orders(orders, alpha)
    n = checked_counts(np.atleast_2d(np.asarray(counts)), basis, candidates)
    out = run_kernel(n, basis, candidates, _needed(candidates, alpha), mask, complete=True)
    fits = [
        assemble(
            basis,
            out.coefficients[0, c, :order],
            float(out.deviance[0, c]),
            out.used.size - order,
            int(out.status[0, c]),
        )
        for c, order in enumerate(candidates)
    ]
    chosen = int(out.taken[0])
    tried: list[TriedOrder] = []
    held = fits[0]
    for c, one in enumerate(fits):
        gain_p: float | None = None
        if c > 0:
            gain = max(held.deviance - one.deviance, 0.0)
            gain_p = float(special.chdtrc(one.order - held.order, gain))
        taken = c == 0 or (c <= chosen and one.converged and gain_p is not None and gain_p < alpha)
        fit_p = deviance_p(one.deviance, one.expected[out.used], one.order)
        tried.append(
            TriedOrder(one.order, one.deviance, one.ndf, fit_p, one.converged, gain_p, taken)
        )
        if taken:
            held = one
    best = fits[chosen]
    fit_p = tried[chosen].fit_p
    runs = runs_p(n[0], best.expected, out.used, best.order)
    reasons = _doubts(best, fit_p, runs, min_fit_p, min_runs_p)
    return Selection(
        fit=best,
        order=best.order,
        tried=tuple(tried),
        fit_p=fit_p,
        runs_p=runs,
        believable=not reasons,
        reasons=tuple(reasons),
    )
