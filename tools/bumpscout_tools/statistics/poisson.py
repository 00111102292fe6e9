"""Poisson tails and their significances, accurate from p near 1 to far below 1e-300."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.statistics import _kernels

__all__ = ["log_poisson_p", "p_from_z", "poisson_p", "poisson_z", "z_from_log_p", "z_from_p"]

FloatArray = NDArray[np.float64]


def _pairs(observed: ArrayLike, expected: ArrayLike) -> tuple[FloatArray, FloatArray]:
    n, b = np.broadcast_arrays(
        np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    )
    if not np.all((n >= 0) & np.isfinite(n) & (n == np.floor(n))):
        raise InputDataError(
            "A Poisson tail was asked for counts that are not whole numbers >= 0: pass numbers of "
            "events, unweighted and unscaled."
        )
    if not np.all((b > 0) & np.isfinite(b)):
        raise InputDataError(
            "A Poisson tail was asked for an expectation that is not a finite number above 0: "
            "raise empty expectations to a floor first."
        )
    return np.array(n), np.array(b)


def log_poisson_p(observed: ArrayLike, expected: ArrayLike) -> FloatArray:
    """Return ln P(N >= observed | expected), elementwise.

    Args:
        observed: counts, any shape, whole numbers.
        expected: means, a shape that broadcasts, above 0.

    Returns:
        logarithms, the broadcast shape; 0 where nothing was observed.

    Raises:
        InputDataError: counts that are no whole numbers, or means that are not above 0.
    """
    n, b = _pairs(observed, expected)
    out = np.empty(n.size)
    _kernels.log_tails_many(n.ravel(), b.ravel(), out)
    return out.reshape(n.shape)


def poisson_p(observed: ArrayLike, expected: ArrayLike) -> FloatArray:
    """Return P(N >= observed | expected), elementwise; 0 below the smallest double.

    >>> float(poisson_p(3, 1.0).round(6))
    0.080301
    """
    p: FloatArray = np.exp(log_poisson_p(observed, expected))
    return p


def poisson_z(observed: ArrayLike, expected: ArrayLike) -> FloatArray:
    """Return the signed significance z of P(N >= observed | expected), elementwise.

    Negative for deficits. Where nothing was observed p is 1 and z would be minus infinity: there
    -sqrt(2 expected) is returned, the lower bound of z for one event.

    >>> float(poisson_z(20, 10.0).round(4))
    2.7012
    """
    n, b = _pairs(observed, expected)
    out = np.empty(n.size)
    _kernels.z_poisson_many(n.ravel(), b.ravel(), out)
    return out.reshape(n.shape)


def z_from_log_p(log_p: ArrayLike) -> FloatArray:
    """Return z whose one-sided normal tail is exp(log_p), elementwise; any log_p <= 0."""
    values = np.asarray(log_p, dtype=np.float64)
    if not np.all(values <= 0):
        raise InputDataError("The logarithm of a p-value is above 0 or not a number.")
    out = np.empty(values.size)
    _kernels.z_from_log_p_many(np.ascontiguousarray(values).ravel(), out)
    return out.reshape(values.shape)


def z_from_p(p: ArrayLike) -> FloatArray:
    """Return z whose one-sided normal tail is p, elementwise; infinite for 0 and 1.

    >>> float(z_from_p(1.349898e-3).round(4))
    3.0
    """
    values = np.asarray(p, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise InputDataError("A p-value lies outside 0..1 or is not a number.")
    z: FloatArray = -special.ndtri(values)
    return z


def p_from_z(z: ArrayLike) -> FloatArray:
    """Return the one-sided normal tail above z, elementwise."""
    p: FloatArray = special.ndtr(-np.asarray(z, dtype=np.float64))
    return p
