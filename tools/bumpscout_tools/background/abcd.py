"""ABCD: the background of a signal region from three control regions, with signal in all of them.

Two independent variables cut the events into A (both cuts passed), B, C (one each) and D (none)::

    N_A ~ Poisson(b_B b_C / b_D (1 + c)^k + S)      N_R ~ Poisson(b_R + f_R S)  for R = B, C, D

with S the signal in A, f_R its size in the other regions relative to that, and k a standard normal
nuisance: c is how far the closure b_A b_D = b_B b_C may be violated. All four counts are fitted at
once, so that signal in B, C or D does not pass for background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from iminuit import Minuit
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background.signal import poisson_deviance
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.statistics.poisson import p_from_z

__all__ = [
    "SIGNAL_IN_A",
    "Abcd",
    "AbcdFit",
    "ClosureCheck",
    "abcd_fit",
    "checked_abcd",
    "closure_check",
]

FloatArray = NDArray[np.float64]

_ONE_SIGMA = 0.6826894921370859


class Abcd(NamedTuple):
    """One number for each of the four regions: events, or signal relative to that in A."""

    a: float
    b: float
    c: float
    d: float


SIGNAL_IN_A = Abcd(1.0, 0.0, 0.0, 0.0)
"""A signal that lies in region A alone."""


@dataclass(frozen=True, slots=True)
class AbcdFit:
    """The signal in A and the background under it, by profile likelihood.

    `signal` with errors `error_low` <= 0 <= `error_high` (NaN where the likelihood does not rise
    enough on that side), negative for a deficit unless A is empty, where it is 0; `background` in A
    of the fit without a signal, and the naive N_B N_C / N_D (NaN for N_D = 0); `z` and `local_p` of
    an excess, asymptotic; `closure_pull` is k.
    """

    signal: float
    error_low: float
    error_high: float
    background: float
    naive: float
    z: float
    local_p: float
    closure_pull: float
    valid: bool


@dataclass(frozen=True, slots=True)
class ClosureCheck:
    """Whether N_A N_D = N_B N_C holds where no signal is expected.

    `ratio` is the conditional maximum-likelihood estimate of b_A b_D / (b_B b_C) with its 68%
    interval, and `p` the two-sided probability under closure (Fisher's exact test).
    """

    ratio: float
    low: float
    high: float
    p: float


def checked_abcd(counts: Abcd) -> FloatArray:
    """Return the counts (4,) after checking them.

    Raises:
        InputDataError: counts that are no whole numbers >= 0, or nothing in B, C and D.
    """
    n = np.array(counts, dtype=np.float64)
    if not np.all((n >= 0) & np.isfinite(n) & (n == np.floor(n))):
        raise InputDataError(f"The counts of A, B, C and D must be whole numbers >= 0: {counts}.")
    if n[1:].sum() == 0:
        raise InputDataError("The regions B, C and D hold no events: nothing predicts region A.")
    return n


def abcd_fit(counts: Abcd, closure: float, signal: Abcd = SIGNAL_IN_A) -> AbcdFit:
    """Fit signal, background and closure to the counts of four regions.

    Args:
        counts: events in A, B, C and D.
        closure: c, the relative uncertainty of the closure; 0 takes it as exact.
        signal: the signal in each region relative to that in A, which is 1.

    Raises:
        ConfigurationError: a negative closure uncertainty, or a signal that is not 1 in A.
        InputDataError: counts that are no whole numbers, or nothing in B, C and D.
    """
    n = checked_abcd(counts)
    fractions = np.array(signal, dtype=np.float64)
    if closure < 0 or fractions[0] != 1.0 or np.any(fractions < 0):
        raise ConfigurationError(
            f"An ABCD fit needs a closure uncertainty >= 0 and a signal of 1 in A and >= 0 "
            f"elsewhere, not {closure:g} and {signal}."
        )
    scale = np.log1p(closure)
    unit = float(np.sqrt(n[0] + 1.0))

    def cost(x: FloatArray) -> float:
        side = np.exp(x[1:4])
        mean_a = np.exp(x[1] + x[2] - x[3] + scale * x[4])
        mu = np.append(mean_a, side) + x[0] * unit * fractions
        return poisson_deviance(n, mu)[0] + float(x[4] ** 2)

    start = np.append(0.0, np.log(np.maximum(n[1:], 0.3)))
    minuit = Minuit(cost, np.append(start, 0.0))
    minuit.errordef, minuit.strategy, minuit.tol = 1.0, 1, 1e-4
    minuit.errors = np.append(np.append(1.0, 1.0 / np.sqrt(n[1:] + 1.0)), 1.0)
    for name in ("x1", "x2", "x3"):
        # At exp(-12) events a region is empty: where nothing was seen the optimum lies there.
        minuit.limits[name] = (-12.0, 40.0)
    minuit.fixed["x4"] = closure == 0.0
    minuit.fixed["x0"] = True
    minuit.migrad()
    alone = float(minuit.fval)
    without = np.asarray(minuit.values).copy()
    found_alone = bool(minuit.valid)
    minuit.fixed["x0"] = False
    minuit.migrad()
    if not minuit.valid:
        # An empty region A: the signal that empties it is an edge, not an optimum.
        minuit.values = without
        minuit.limits["x0"] = (0.0, None)
        minuit.migrad()
    x = np.asarray(minuit.values).copy()
    pull, found, best = float(x[4]), bool(minuit.valid), float(minuit.fval)
    if found:
        minuit.minos("x0")
    errors = minuit.merrors.get("x0")
    low = unit * errors.lower if errors is not None and errors.lower_valid else np.nan
    high = unit * errors.upper if errors is not None and errors.upper_valid else np.nan
    z = float(np.sign(x[0]) * np.sqrt(max(alone - best, 0.0)))
    return AbcdFit(
        signal=float(unit * x[0]),
        error_low=float(low),
        error_high=float(high),
        background=float(np.exp(without[1] + without[2] - without[3] + scale * without[4])),
        naive=float(n[1] * n[2] / n[3]) if n[3] > 0 else float("nan"),
        z=z,
        local_p=float(p_from_z(z)),
        closure_pull=pull,
        valid=found and found_alone,
    )


def closure_check(counts: Abcd) -> ClosureCheck:
    """Check the closure in a validation region that is cut like A, B, C and D.

    Given the sums of rows and columns, N_A follows a hypergeometric distribution if the two
    variables are independent, however small the counts are.

    Args:
        counts: events in the four parts of the validation region.

    Raises:
        InputDataError: counts that are no whole numbers, or an empty row or column.
    """
    n = checked_abcd(counts).astype(np.int64).reshape(2, 2)
    if np.any(n.sum(axis=0) == 0) or np.any(n.sum(axis=1) == 0):
        raise InputDataError(
            f"The validation region {tuple(counts)} has an empty row or column, which says nothing "
            "about closure."
        )
    estimate = stats.contingency.odds_ratio(n)
    interval = estimate.confidence_interval(_ONE_SIGMA)
    return ClosureCheck(
        ratio=float(estimate.statistic),
        low=float(interval.low),
        high=float(interval.high),
        p=float(stats.fisher_exact(n).pvalue),
    )
