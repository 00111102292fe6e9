"""Normal scores of a variable at each mass, from quantiles that vary smoothly with the mass.

The quantile at each level is a polynomial in the logarithm of the mass, fitted by smoothed quantile
regression (Fernandes, Guerre, Horta, J. Bus. Econ. Stat. 39 (2021) 338), with the convex loss
``rho_h(r) = tau r - r Phi(-r / h) + h phi(r / h)`` of a Gaussian kernel of width h: where it is
smallest, the share of the events above the quantile is flat in each power of log mass.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from bumpscout_tools.errors import DetectorError

__all__ = ["BULK_LEVELS", "normal_given_mass", "normal_ranks"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BULK_LEVELS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""Levels, as normal scores, that describe a distribution without its last percents."""

_MIN_EVENTS = 200
_HELD_AT = 1.3
_STEPS = 30
_CONVERGED = 1e-6
_BANDWIDTH = 0.1
_EVENTS_IN_BANDWIDTH = 10.0


def normal_ranks(values: FloatArray) -> FloatArray:
    """Return the values (n,) as standard normal quantiles of their ranks."""
    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)), dtype=np.float64)


def _untied(values: FloatArray) -> FloatArray:
    """Return the values (n,) as normal quantiles of their ranks, ties broken at random.

    All events that share a tied rank would have a score given the mass that is a function of the
    mass alone, and so would tell it.
    """
    order = np.lexsort((np.random.default_rng(1).random(len(values)), values))
    rank = np.empty(len(values))
    rank[order] = np.arange(len(values))
    return np.asarray(ndtri((rank + 0.5) / len(values)), dtype=np.float64)


def normal_given_mass(
    values: FloatArray,
    mass: FloatArray,
    fitted_on: BoolArray,
    *,
    levels: tuple[float, ...] = BULK_LEVELS,
    degree: int = 2,
) -> FloatArray:
    """Return the values as normal scores that are standard normal at every mass.

    Between two fitted quantiles the score is linear in the normal rank of the value, beyond the
    last ones with their slope, so that values of one mass keep their order; equal ones are ordered
    at random, by their place in the array.

    Args:
        values: (n,) of the variable.
        mass: (n,) GeV.
        fitted_on: (n,) True for the events that the quantiles are fitted to, best those outside a
            signal window, into which the polynomials then interpolate.
        levels: normal scores of the fitted levels, rising; 0 is the median.
        degree: highest power of log mass, held beyond 1.3 half widths of the bulk of the masses.

    Raises:
        DetectorError: if there are too few events to fit, or all have the same mass.
    """
    n = int(fitted_on.sum())
    if n < _MIN_EVENTS:
        raise DetectorError(
            f"Quantiles that follow the mass need at least {_MIN_EVENTS} events outside the "
            f"window; there are {n}. Use wider mass ranges or more events."
        )
    log_mass = np.log(mass)
    low, high = np.quantile(log_mass[fitted_on], [0.005, 0.995])
    if high <= low:
        raise DetectorError("All masses are the same; quantiles that follow them need a range.")
    scaled = np.clip((log_mass - 0.5 * (low + high)) / (0.5 * (high - low)), -_HELD_AT, _HELD_AT)
    basis = np.polynomial.legendre.legvander(scaled, degree)
    normal = _untied(values)
    own = np.ascontiguousarray(basis[fitted_on])
    fits = [_quantile(normal[fitted_on], own, level) for level in levels]
    # Polynomials of neighbouring levels may cross where there are no events.
    curves = np.sort(basis @ np.stack(fits, axis=1), axis=1) + 1e-9 * np.arange(len(levels))
    above = np.clip((normal[:, None] >= curves).sum(axis=1), 1, len(levels) - 1)
    rows, at = np.arange(len(normal)), np.asarray(levels)
    bottom, top = curves[rows, above - 1], curves[rows, above]
    share = (normal - bottom) / (top - bottom)
    return np.asarray(at[above - 1] + share * (at[above] - at[above - 1]), dtype=np.float64)


def _quantile(values: FloatArray, basis: FloatArray, level: float) -> FloatArray:
    """Fit one quantile by damped Newton steps; returns its coefficients (degree + 1,)."""
    tau = float(ndtr(level))
    density = np.exp(-0.5 * level**2) / np.sqrt(2 * np.pi)
    width = max(_BANDWIDTH, _EVENTS_IN_BANDWIDTH / (len(values) * density))
    coefficients = np.zeros(basis.shape[1])
    coefficients[0] = np.quantile(values, tau)
    damping = 1e-9

    def loss_at(trial: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        left = values - basis @ trial
        below = ndtr(-left / width)
        bell = np.exp(-0.5 * (left / width) ** 2) / np.sqrt(2 * np.pi)
        return float((left * (tau - below) + width * bell).mean()), below, bell

    loss, below, bell = loss_at(coefficients)
    for _ in range(_STEPS):
        slope = basis.T @ (tau - below) / len(values)
        if np.abs(slope).max() < _CONVERGED * min(tau, 1 - tau):
            break
        curvature = (basis * bell[:, None]).T @ basis / (len(values) * width)
        damped = curvature + damping * np.eye(len(curvature))
        trial = coefficients + np.linalg.solve(damped, slope)
        found = loss_at(trial)
        if found[0] <= loss:
            coefficients, (loss, below, bell) = trial, found
            damping = max(damping / 10, 1e-9)
        else:
            damping = max(damping * 10, 1e-4)
    return coefficients
