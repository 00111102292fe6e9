"""The order of a family by likelihood ratio or by F-test, for one spectrum or many.

The walk through the orders is that of `selection`: the lowest order is held, each larger one in
turn is compared to the one held, and taken where its improvement has a probability below `alpha`.
The two tests differ in that probability:

- ``lr``: the fall of the Poisson deviance follows a chi2;
- ``f``: with neighbouring bins merged until each expects 5 events or more, F = (chi2_1 - chi2_2) /
  (n_2 - n_1) / (chi2_2 / ndf_2) follows Fisher's distribution (CMS arXiv:1911.03947). With few
  events few merged bins are left, and it seldom takes an order: the likelihood ratio sees more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.fit import BatchFit, fit_batch
from bumpscout_tools.background.selection import BatchSelection, select_order_batch
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.statistics._jit import jit

__all__ = ["ChoiceTest", "ComparedOrder", "choose_order_batch", "compare_orders", "merged_chi2"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ChoiceTest = Literal["lr", "f"]
MERGE_TO_EVENTS = 5.0


@dataclass(frozen=True, slots=True)
class ComparedOrder:
    """One order, and how much better than the order held before it fits, by both tests.

    `lr_p` and `f_p` are None for the lowest order; `f_p` also where too few merged bins are left.
    """

    order: int
    deviance: float
    ndf: int
    converged: bool
    lr_p: float | None
    f_p: float | None
    taken: bool


@jit
def _merged_chi2(
    n: FloatArray, mu: FloatArray, least: float, chi2: FloatArray, bins: IntArray
) -> None:
    for t in range(n.shape[0]):
        total = 0.0
        count = 0
        sum_n = 0.0
        sum_mu = 0.0
        last_n = 0.0
        last_mu = 0.0
        for i in range(n.shape[1]):
            sum_n += n[t, i]
            sum_mu += mu[t, i]
            if sum_mu >= least:
                if count > 0:
                    total += (last_n - last_mu) ** 2 / last_mu
                count += 1
                last_n, last_mu = sum_n, sum_mu
                sum_n = 0.0
                sum_mu = 0.0
        # What is left at the end expects too little to stand alone: it joins the last merged bin.
        last_n += sum_n
        last_mu += sum_mu
        if last_mu > 0.0:
            total += (last_n - last_mu) ** 2 / last_mu
        chi2[t] = total
        bins[t] = max(count, 1)


def merged_chi2(
    counts: ArrayLike, expected: ArrayLike, least: float = MERGE_TO_EVENTS
) -> tuple[FloatArray, IntArray]:
    """Return Pearson's chi2 over bins that are merged until each expects `least` events.

    Args:
        counts: (t, b) events.
        expected: (t, b) fitted means.
        least: events.

    Returns:
        chi2 (t,) and the number of merged bins (t,).
    """
    n = np.require(counts, np.float64, ["C"])
    mu = np.require(expected, np.float64, ["C"])
    chi2 = np.empty(n.shape[0])
    bins = np.empty(n.shape[0], dtype=np.int64)
    _merged_chi2(n, mu, least, chi2, bins)
    return chi2, bins


def _f_p(
    chi2_held: FloatArray, order_held: IntArray, chi2: FloatArray, bins: IntArray, order: int
) -> FloatArray:
    """Return the p-value of the F-test (t,), NaN where no degree of freedom is left."""
    ndf = (bins - order).astype(np.float64)
    more = order - order_held
    with np.errstate(divide="ignore", invalid="ignore"):
        f = np.maximum(chi2_held - chi2, 0.0) / more / (chi2 / ndf)
        p: FloatArray = special.fdtrc(more, np.maximum(ndf, 1.0), f)
    return np.where(ndf >= 1, p, np.nan)


def _walk(
    n: FloatArray,
    basis: LogLinearBasis,
    orders: Sequence[int],
    alpha: float,
    test: ChoiceTest,
) -> tuple[list[BatchFit], list[FloatArray], list[FloatArray], IntArray]:
    """Fit every order; return fits, p by likelihood ratio and by F-test, and the order taken."""
    fits = [fit_batch(n, basis, order) for order in orders]
    rows = np.arange(n.shape[0])
    taken = np.zeros(n.shape[0], dtype=np.int64)
    merged = [merged_chi2(n, one.expected) for one in fits]
    chi2 = np.stack([value for value, _ in merged], axis=1)
    deviance = np.stack([one.deviance for one in fits], axis=1)
    lr: list[FloatArray] = [np.full(n.shape[0], np.nan)]
    f: list[FloatArray] = [np.full(n.shape[0], np.nan)]
    for c, one in enumerate(fits[1:], start=1):
        held_order = np.asarray(orders)[taken]
        gain = np.maximum(deviance[rows, taken] - one.deviance, 0.0)
        lr.append(np.asarray(special.chdtrc(one.order - held_order, gain)))
        f.append(_f_p(chi2[rows, taken], held_order, *merged[c], one.order))
        p = lr[-1] if test == "lr" else f[-1]
        taken = np.where(one.converged & (p < alpha), c, taken)
    return fits, lr, f, taken


def choose_order_batch(
    counts: ArrayLike,
    basis: LogLinearBasis,
    orders: Sequence[int],
    alpha: float = 0.05,
    test: ChoiceTest = "lr",
) -> BatchSelection:
    """Choose the order of each of many spectra by either test, and fit it.

    Args:
        counts: (t, b) events.
        basis: the family on the bins of the spectra.
        orders: strictly rising orders to choose from.
        alpha: a larger order is taken where its improvement has a smaller probability.
        test: ``lr`` or ``f``.

    Raises:
        ConfigurationError: orders that do not rise, or an alpha outside 0..1.
        InputDataError: counts of the wrong shape, negative or infinite.
        FitError: an order that the basis does not hold, or too few bins for the largest.
    """
    if test == "lr":
        return select_order_batch(counts, basis, orders, alpha)
    if not orders or list(orders) != sorted(set(orders)) or not 0 < alpha < 1:
        raise ConfigurationError(
            f"Orders must rise strictly and alpha lie between 0 and 1, not {list(orders)}, {alpha}."
        )
    n = np.require(counts, np.float64, ["C", "W"])
    fits, _, _, taken = _walk(n, basis, orders, alpha, test)
    top = orders[-1]
    coefficients = np.zeros((n.shape[0], top))
    expected = np.empty((n.shape[0], basis.n_bins))
    deviance, status = np.empty(n.shape[0]), np.empty(n.shape[0], dtype=np.int64)
    for c, one in enumerate(fits):
        here = taken == c
        coefficients[here, : one.order] = one.coefficients[here]
        expected[here] = one.expected[here]
        deviance[here] = one.deviance[here]
        status[here] = one.status[here]
    order = np.asarray(orders, dtype=np.int64)[taken]
    return BatchSelection(expected, order, deviance, basis.n_bins - order, status, coefficients)


def compare_orders(
    counts: ArrayLike,
    basis: LogLinearBasis,
    orders: Sequence[int],
    alpha: float = 0.05,
    test: ChoiceTest = "lr",
) -> tuple[ComparedOrder, ...]:
    """Return every order with both tests' p for one spectrum, counts (b,); else as above."""
    n = np.atleast_2d(np.require(counts, np.float64, ["C", "W"]))
    fits, lr, f, taken = _walk(n, basis, orders, alpha, test)
    decide = lr if test == "lr" else f
    return tuple(
        ComparedOrder(
            order=one.order,
            deviance=float(one.deviance[0]),
            ndf=one.ndf,
            converged=bool(one.converged[0]),
            lr_p=None if c == 0 else float(lr[c][0]),
            f_p=None if c == 0 or np.isnan(f[c][0]) else float(f[c][0]),
            taken=c == 0 or bool(one.converged[0] and decide[c][0] < alpha and c <= taken[0]),
        )
        for c, one in enumerate(fits)
    )
