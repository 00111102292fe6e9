"""Roots of many rising functions at once, without derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.errors import FitError

__all__ = ["rising_roots"]

FloatArray = NDArray[np.float64]

_MAX_DOUBLINGS = 60
_MAX_STEPS = 100


def rising_roots(
    function: Callable[[FloatArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    relative: float = 1e-5,
) -> FloatArray:
    """Return x (h,) with function(x) = 0, elementwise, by regula falsi (Illinois) and bisection.

    Args:
        function: (h,) -> (h,), each element rising in its own argument.
        low: (h,) where the function is not above 0.
        high: (h,) above `low`; moved away from it until the function is above 0.
        relative: width of the final bracket, relative to its upper end.

    Raises:
        FitError: a function that stays below 0 however far one goes.
    """
    a, b = low.astype(np.float64), high.astype(np.float64)
    f_b = function(b)
    for _ in range(_MAX_DOUBLINGS):
        short = ~(f_b > 0)
        if not short.any():
            break
        a = np.where(short, b, a)
        b = np.where(short, b + 2.0 * (b - low), b)
        f_b = np.where(short, function(b), f_b)
    else:
        raise FitError(
            f"No bound was found for hypothesis {int(np.argmax(~(f_b > 0)))}: its signal does not "
            "change the spectrum. Leave out masses outside the bins."
        )
    f_a = function(a)
    side = np.zeros(a.size)
    for step in range(_MAX_STEPS):
        done = (b - a) <= relative * np.abs(b)
        if done.all():
            break
        with np.errstate(invalid="ignore", divide="ignore"):
            x = (a * f_b - b * f_a) / (f_b - f_a)
        # Every third step halves the bracket, whatever the function looks like.
        middle = 0.5 * (a + b)
        x = np.where(np.isfinite(x) & (x > a) & (x < b) & (step % 3 < 2), x, middle)
        # A point just beyond the root closes the bracket from the other side.
        f = function(x)
        above = f > 0
        new_side = np.where(above, 1.0, -1.0)
        twice = new_side == side
        f_a = np.where(above, np.where(twice, 0.5 * f_a, f_a), f)
        f_b = np.where(above, f, np.where(twice, 0.5 * f_b, f_b))
        a, b = np.where(above, a, x), np.where(above, x, b)
        side = new_side
        close = np.abs(f) < 1e-9
        a, b = np.where(close, x, a), np.where(close, x, b)
    root: FloatArray = 0.5 * (a + b)
    return root
