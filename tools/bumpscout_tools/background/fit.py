"""Poisson maximum-likelihood fits of log-linear backgrounds, one spectrum or many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background import _kernels
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import FitError, InputDataError

__all__ = ["FIT_STATUS", "BatchFit", "Fit", "FitStatus", "fit", "fit_batch"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

FitStatus = Literal["converged", "at limit", "not converged", "empty"]
FIT_STATUS: tuple[FitStatus, ...] = ("converged", "at limit", "not converged", "empty")
"""The words for the codes in `BatchFit.status`, in their order."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One fitted spectrum.

    `expected` holds all bins (b,), also those left out of the fit; `deviance`, `ndf` and the fit
    itself know only the others. `status` says why `converged` is False: "at limit" where the
    likelihood has no finite optimum (its supremum was approached), "empty" where no fitted bin
    holds an event and zero is expected everywhere, "not converged" where the iterations ran out.
    """

    order: int
    coefficients: FloatArray
    parameters: FloatArray
    expected: FloatArray
    deviance: float
    ndf: int
    converged: bool
    status: FitStatus


@dataclass(frozen=True, slots=True)
class BatchFit:
    """Many spectra fitted with one order; rows as in the counts, none dropped.

    `coefficients` (t, order), `expected` (t, b), `deviance` (t,), `status` (t,) index into
    `FIT_STATUS`, `converged` (t,).
    """

    order: int
    coefficients: FloatArray
    expected: FloatArray
    deviance: FloatArray
    ndf: int
    status: IntArray

    @property
    def converged(self) -> BoolArray:
        """Where a finite optimum was reached, (t,)."""
        converged: BoolArray = self.status == _kernels.CONVERGED
        return converged


def fitted_bins(mask: ArrayLike | None, n_bins: int, order: int) -> IntArray:
    """Return the indices of the bins to be fitted: those that `mask` does not hide.

    Raises:
        InputDataError: a mask that is not boolean or does not have one entry per bin.
        FitError: fewer than `order` + 1 bins left.
    """
    if mask is None:
        used = np.arange(n_bins)
    else:
        hidden = np.asarray(mask)
        if hidden.dtype != np.bool_ or hidden.shape != (n_bins,):
            raise InputDataError(
                f"The mask of a fit must be boolean with one entry for each of {n_bins} bins (True "
                f"leaves the bin out), not {hidden.dtype} of shape {hidden.shape}."
            )
        used = np.flatnonzero(~hidden)
    if used.size < order + 1:
        raise FitError(
            f"{used.size} unmasked bins cannot hold a function of order {order}: at least "
            f"{order + 1} are needed; mask fewer bins or lower the order."
        )
    return used.astype(np.int64)


def checked_counts(counts: ArrayLike, basis: LogLinearBasis, orders: tuple[int, ...]) -> FloatArray:
    """Return counts as a (t, b) array of float64, after checking them against the basis."""
    n = np.require(counts, np.float64, ["C", "W"])
    if n.ndim != 2 or n.shape[1] != basis.n_bins:
        raise InputDataError(
            f"Counts of shape {n.shape} do not belong to a basis of {basis.n_bins} bins: pass one "
            "row of that many bins for each spectrum."
        )
    if not np.all((n >= 0) & np.isfinite(n)):
        raise InputDataError("Counts must be finite and >= 0 to be fitted as Poisson counts.")
    for order in orders:
        if not 1 <= order <= basis.max_order:
            raise FitError(
                f"Order {order} was asked for, but the basis holds orders 1 to {basis.max_order}: "
                "build it with a larger max_order."
            )
    return n


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the kernel fills, for `o` orders: see `_kernels.select_batch`.

    `used` (k,), `coefficients` (t, o, largest order), `deviance` and `status` (t, o), `taken` (t,),
    `expected` (t, b).
    """

    used: IntArray
    coefficients: FloatArray
    deviance: FloatArray
    status: IntArray
    taken: IntArray
    expected: FloatArray


def run_kernel(
    n: FloatArray,
    basis: LogLinearBasis,
    orders: tuple[int, ...],
    needed: FloatArray,
    mask: ArrayLike | None,
    complete: bool,
) -> Outputs:
    """Run the kernel over checked counts (t, b) with rising `orders`; `needed` as it wants."""
    top = orders[-1]
    used = fitted_bins(mask, basis.n_bins, top)
    n_rows, n_orders = n.shape[0], len(orders)
    out = Outputs(
        used=used,
        coefficients=np.empty((n_rows, n_orders, top)),
        deviance=np.empty((n_rows, n_orders)),
        status=np.empty((n_rows, n_orders), dtype=np.int64),
        taken=np.empty(n_rows, dtype=np.int64),
        expected=np.empty((n_rows, basis.n_bins)),
    )
    columns = basis.nodes[:top]
    _kernels.select_batch(
        n,
        used,
        np.ascontiguousarray(columns[:, :, used]).reshape(top, -1),
        np.ascontiguousarray(basis.weights_gev[:, used]).ravel(),
        columns.reshape(top, -1),
        basis.weights_gev.ravel(),
        np.array(orders, dtype=np.int64),
        needed,
        complete,
        out.coefficients,
        out.deviance,
        out.status,
        out.taken,
        out.expected,
    )
    return out


def fit_batch(
    counts: ArrayLike, basis: LogLinearBasis, order: int, mask: ArrayLike | None = None
) -> BatchFit:
    """Fit one order of a family to many spectra by Poisson maximum likelihood.

    Fisher scoring with step-halving on exact bin integrals; the deviance 2 sum(n ln(n / mu) -
    (n - mu)) of the result lies within 1e-6 of its minimum.

    Args:
        counts: (t, b) events, >= 0; fractions are allowed.
        basis: the family on the bins of the spectra.
        order: number of parameters.
        mask: (b,) bool, True where a bin is left out of the fit; None fits all bins.

    Returns:
        a fit for each row, also where none exists: see `Fit.status`.

    Raises:
        InputDataError: counts or a mask of the wrong shape, negative or infinite counts.
        FitError: an order that the basis does not hold, or fewer than order + 1 unmasked bins.
    """
    n = checked_counts(counts, basis, (order,))
    out = run_kernel(n, basis, (order,), np.full((1, 1), np.inf), mask, complete=True)
    return BatchFit(
        order=order,
        coefficients=out.coefficients[:, 0],
        expected=out.expected,
        deviance=out.deviance[:, 0],
        ndf=out.used.size - order,
        status=out.status[:, 0],
    )


def fit(counts: ArrayLike, basis: LogLinearBasis, order: int, mask: ArrayLike | None = None) -> Fit:
    """Fit one order of a family to one spectrum; counts (b,), the rest as `fit_batch`."""
    many = fit_batch(np.atleast_2d(np.asarray(counts)), basis, order, mask)
    return assemble(
        basis, many.coefficients[0], float(many.deviance[0]), many.ndf, int(many.status[0])
    )


def assemble(
    basis: LogLinearBasis, coefficients: FloatArray, deviance: float, ndf: int, status: int
) -> Fit:
    """Return a fit from what the kernels give for one spectrum; `coefficients` (order,)."""
    order = coefficients.size
    empty = status == _kernels.EMPTY
    return Fit(
        order=order,
        coefficients=coefficients,
        parameters=np.zeros(order) if empty else basis.parameters(coefficients),
        expected=np.zeros(basis.n_bins) if empty else basis.expected(coefficients),
        deviance=deviance,
        ndf=ndf,
        converged=status == _kernels.CONVERGED,
        status=FIT_STATUS[status],
    )
