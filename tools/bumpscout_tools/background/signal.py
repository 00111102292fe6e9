"""One Gaussian signal on a background, fitted with iminuit; and MINOS errors of the background.

What to use when: `signal_fit` for one mass and width, with its asymmetric error; `minos_errors` for
p1..pN of a background. MIGRAD starts at the exact optimum of the background alone and works in the
orthonormal basis, in which it cannot stop short as it does on raw p1..pN. Many masses or many toys
are the business of the batched fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from iminuit import Minuit
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.fit import Fit, fit, fitted_bins
from bumpscout_tools.background.part import PartBasis
from bumpscout_tools.errors import ConfigurationError, FitError

__all__ = ["SignalFit", "gaussian_fractions", "minos_errors", "poisson_deviance", "signal_fit"]

FloatArray = NDArray[np.float64]

_LEAST_MEAN = 1e-9


@dataclass(frozen=True, slots=True)
class SignalFit:
    """A Gaussian signal and the background under it.

    `signal` in events, negative for a deficit, with MINOS errors `error_low` <= 0 <= `error_high`
    (NaN where the likelihood does not rise by 1/2 on that side); `z` is the signed root of the fall
    of the deviance; `valid` says whether MIGRAD and MINOS succeeded.
    """

    mass_gev: float
    width: float
    signal: float
    error_low: float
    error_high: float
    z: float
    deviance: float
    background_deviance: float
    background: FloatArray
    expected: FloatArray
    valid: bool


def gaussian_fractions(edges_gev: ArrayLike, mass_gev: float, width: float) -> FloatArray:
    """Return the part (b,) of a Gaussian signal that falls into each bin.

    Args:
        edges_gev: (b + 1,) GeV.
        mass_gev: mean, GeV.
        width: standard deviation over mean; 0 puts everything into the bin that holds the mean.

    Raises:
        ConfigurationError: a mean outside the spectrum or a negative width.
    """
    edges = np.asarray(edges_gev, dtype=np.float64)
    if not edges[0] <= mass_gev <= edges[-1] or width < 0:
        raise ConfigurationError(
            f"A signal of mass {mass_gev:g} GeV and relative width {width:g} does not belong to a "
            f"spectrum from {edges[0]:g} to {edges[-1]:g} GeV."
        )
    if width == 0:
        fractions = np.zeros(edges.size - 1)
        fractions[min(int(np.searchsorted(edges, mass_gev, "right")) - 1, edges.size - 2)] = 1.0
        return fractions
    below: FloatArray = special.ndtr((edges - mass_gev) / (width * mass_gev))
    return np.diff(below)


def poisson_deviance(n: FloatArray, mu: FloatArray) -> tuple[float, FloatArray]:
    """Return the deviance of means (b,) and its derivative by each of them.

    Means below 1e-9 events, which a negative signal can reach, are continued by a straight line
    that falls towards positive means, so that a minimiser finds its way back.
    """
    low = mu < _LEAST_MEAN
    safe = np.where(low, _LEAST_MEAN, mu)
    terms = safe - n + np.where(n > 0, n * np.log(np.where(n > 0, n, 1.0) / safe), 0.0)
    slope = 1.0 - n / safe
    slope = np.where(low, -np.abs(slope) - 1.0, slope)
    terms = terms + np.where(low, slope * (mu - _LEAST_MEAN), 0.0)
    return 2.0 * float(terms.sum()), 2.0 * slope


def _minuit(
    cost: Callable[[FloatArray], tuple[float, FloatArray]], start: FloatArray, steps: FloatArray
) -> Minuit:
    def value(x: FloatArray) -> float:
        return cost(x)[0]

    def gradient(x: FloatArray) -> FloatArray:
        return cost(x)[1]

    minuit = Minuit(value, start, grad=gradient)
    minuit.errordef = 1.0
    minuit.strategy = 1
    minuit.tol = 1e-3
    minuit.errors = steps
    return minuit


def signal_fit(
    counts: ArrayLike,
    basis: LogLinearBasis,
    order: int,
    mass_gev: float,
    width: float,
    mask: ArrayLike | None = None,
) -> SignalFit:
    """Fit a Gaussian signal of free, possibly negative, strength and the background under it.

    Args:
        counts: (b,) events.
        basis: the background on the bins of the spectrum.
        order: its parameters.
        mass_gev: mean of the signal, GeV.
        width: its standard deviation over its mean.
        mask: (b,) bool, True where a bin is left out of the fit; the signal is that of the whole
            peak, and means are given in all bins.

    Raises:
        ConfigurationError: a signal outside the spectrum, or wholly in masked bins.
        FitError: a background that has no finite optimum without the signal.
        InputDataError: counts that cannot be fitted.
    """
    n = np.asarray(counts, dtype=np.float64)
    everywhere = gaussian_fractions(basis.edges_gev, mass_gev, width)
    whole, shape = basis, everywhere
    if mask is not None:
        used = fitted_bins(mask, basis.n_bins, order)
        basis, shape, n = PartBasis(whole, used, order), everywhere[used], n[used]
        if not shape.sum() > 0:
            raise ConfigurationError(
                f"The signal of mass {mass_gev:g} GeV lies in masked bins alone: nothing sees it."
            )
    alone = fit(n, basis, order)
    if not alone.converged:
        raise FitError(
            f"The background of order {order} has no finite optimum ({alone.status}), so no signal "
            "can be fitted on it: lower the order or the range."
        )
    unit = float(np.sqrt(max(float(shape @ alone.expected), 1.0)))
    nodes, weights = basis.nodes[:order], basis.weights_gev

    def cost(x: FloatArray) -> tuple[float, FloatArray]:
        density = weights * np.exp(np.clip(np.tensordot(x[1:], nodes, axes=1), -600, 600))
        mu = density.sum(axis=0) + x[0] * unit * shape
        deviance, slope = poisson_deviance(n, mu)
        by_theta = (nodes * density).sum(axis=1) @ slope
        return deviance, np.append(unit * float(shape @ slope), by_theta)

    minuit = _minuit(
        cost,
        np.append(0.0, alone.coefficients),
        np.append(1.0, np.full(order, 1.0 / np.sqrt(max(n.sum(), 1.0)))),
    )
    minuit.migrad(ncall=20000)
    minuit.minos("x0")
    x = np.asarray(minuit.values)
    errors = minuit.merrors.get("x0")
    low = unit * errors.lower if errors is not None and errors.lower_valid else np.nan
    high = unit * errors.upper if errors is not None and errors.upper_valid else np.nan
    background = whole.expected(x[1:])
    deviance = float(minuit.fval)
    fall = max(alone.deviance - deviance, 0.0)
    return SignalFit(
        mass_gev=mass_gev,
        width=width,
        signal=float(unit * x[0]),
        error_low=float(low),
        error_high=float(high),
        z=float(np.sign(x[0]) * np.sqrt(fall)),
        deviance=deviance,
        background_deviance=alone.deviance,
        background=background,
        expected=background + unit * x[0] * everywhere,
        valid=bool(minuit.valid and errors is not None and errors.is_valid),
    )


def minos_errors(
    counts: ArrayLike, basis: LogLinearBasis, best: Fit
) -> tuple[tuple[float, float] | None, ...]:
    """Return the MINOS errors (low <= 0, high >= 0) of p1..pN, None where there is none.

    For each parameter the basis is rebuilt with its term last, whose coefficient alone then
    carries that parameter; the error of p1 is that of its logarithm, carried over.

    Args:
        counts: (b,) events that were fitted.
        basis: of the fit.
        best: the fit, over all bins.
    """
    if not best.converged:
        return (None,) * best.order
    n = np.asarray(counts, dtype=np.float64)
    order = best.order
    return tuple(_minos_one(n, basis, best, k) for k in range(order))


def _minos_one(
    n: FloatArray, basis: LogLinearBasis, best: Fit, k: int
) -> tuple[float, float] | None:
    order = best.order
    nodes, weights = basis.nodes[:order], basis.weights_gev
    # Raw parameters are theta' = R theta; moving one with the others profiled is moving along the
    # last axis of an orthogonal frame whose other axes do not change theta'_k.
    row = basis.exponents(order)[k]
    size = float(np.linalg.norm(row))
    frame = np.linalg.qr(np.column_stack([row / size, np.eye(order)]))[0][:, :order]
    if frame[:, 0] @ row < 0:
        frame = -frame
    turned = np.tensordot(frame.T, nodes, axes=1)

    def cost(x: FloatArray) -> tuple[float, FloatArray]:
        density = weights * np.exp(np.clip(np.tensordot(x, turned, axes=1), -600, 600))
        deviance, slope = poisson_deviance(n, density.sum(axis=0))
        return deviance, (turned * density).sum(axis=1) @ slope

    start = frame.T @ best.coefficients
    minuit = _minuit(cost, start, np.full(order, 1.0 / np.sqrt(max(n.sum(), 1.0))))
    minuit.migrad(ncall=20000)
    if not minuit.valid:
        return None
    minuit.minos("x0")
    errors = minuit.merrors["x0"]
    if not errors.is_valid:
        return None
    low, high = errors.lower * size, errors.upper * size
    value = float(best.parameters[k])
    if k == 0:
        # An error beyond exp(600) says that the data do not determine the normalisation.
        return (value * math.expm1(low), value * math.expm1(high)) if high < 600 else None
    ends = sorted((basis.sign(k) * low, basis.sign(k) * high))
    return ends[0], ends[1]
