"""Goodness of fit: the deviance with its distribution at low counts, and runs of residuals.

What to use when: `deviance_p` sees any misfit, whatever its order in mass; `runs_p` sees a shape
that bends away from the data over many bins by less than a sigma each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.statistics import log_poisson_p, p_from_z
from bumpscout_tools.statistics._jit import jit

__all__ = ["CHI2_FROM_EVENTS", "deviance_moments", "deviance_p", "runs_p"]

FloatArray = NDArray[np.float64]

CHI2_FROM_EVENTS = 10.0
"""Events: where every fitted bin expects at least this many the deviance follows a chi2."""

_EXACT_BELOW = 200.0


@jit
def _moments(mu: FloatArray, mean: FloatArray, variance: FloatArray) -> None:
    for i in range(mu.size):
        m = mu[i]
        if m >= _EXACT_BELOW:
            mean[i] = 1.0 + 1.0 / (6.0 * m) + 1.0 / (6.0 * m * m)
            variance[i] = 2.0 + 2.0 / (3.0 * m)
            continue
        mean[i] = 0.0
        square = 0.0
        if m > 0.0:
            p = math.exp(-m)
            log_m = math.log(m)
            for n in range(int(m + 12.0 * math.sqrt(m) + 30.0)):
                if n > 0:
                    p *= m / n
                d = 2.0 * m if n == 0 else 2.0 * (n * (math.log(n) - log_m) - (n - m))
                mean[i] += p * d
                square += p * d * d
        variance[i] = square - mean[i] * mean[i]


def deviance_moments(expected: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the variance of the Poisson deviance of each bin.

    The deviance of one bin is d(n) = 2 (n ln(n / mu) - (n - mu)) for n from a Poisson of mean mu.
    The moments are summed over all n up to mean 200, and expanded in 1 / mu above. They tend to 1
    and 2, those of a chi2, at large mu, and to 0 at small mu.

    Args:
        expected: (b,) means mu >= 0.

    Returns:
        E d and Var d, each (b,).
    """
    mu = np.require(expected, np.float64, ["C", "W"])
    mean = np.empty(mu.shape)
    variance = np.empty(mu.shape)
    _moments(mu.ravel(), mean.ravel(), variance.ravel())
    return mean, variance


def deviance_p(deviance: float, expected: ArrayLike, order: int) -> float:
    """Return the probability of a deviance at least this large, if the fitted function is true.

    Where every bin expects at least 10 events: chi2 with b - order degrees of freedom. Else a gamma
    distribution with the exact mean and variance of the deviance at the fitted means, less
    `order` and 2 `order` for the fitted parameters.

    Args:
        deviance: of the fit, over the fitted bins.
        expected: (b,) fitted means of the fitted bins.
        order: number of fitted parameters.
    """
    mu = np.asarray(expected, dtype=np.float64)
    if np.all(mu >= CHI2_FROM_EVENTS):
        return float(special.chdtrc(mu.size - order, deviance))
    means, variances = deviance_moments(mu)
    mean = float(means.sum()) - order
    variance = float(variances.sum()) - 2.0 * order
    if mean <= 0.0 or variance <= 0.0:
        return 1.0
    return float(special.gammaincc(mean * mean / variance, deviance * mean / variance))


def runs_p(observed: ArrayLike, expected: ArrayLike, used: ArrayLike, order: int) -> float:
    """Return the probability of as few changes of sign among neighbouring residuals.

    Each bin lies above its mean with its own Poisson probability, so that bins with few events
    count as what they are. The number of changes between neighbours is compared to its mean
    and variance for independent bins; neighbours across a masked bin are no neighbours. Each fitted
    parameter anticorrelates neighbours by about 1 / b, which adds 2 / (pi b) of the mean.

    Args:
        observed: (b,) events in all bins.
        expected: (b,) fitted means of all bins.
        used: (k,) rising indices of the fitted bins.
        order: number of fitted parameters.
    """
    index = np.asarray(used, dtype=np.int64)
    n = np.asarray(observed, dtype=np.float64)[index]
    mu = np.asarray(expected, dtype=np.float64)[index]
    above = n > mu
    p = np.exp(log_poisson_p(np.floor(mu) + 1.0, np.maximum(mu, 1e-300)))
    q = 1.0 - p
    near = np.diff(index) == 1
    if not near.any():
        return 1.0
    change = p[:-1] * q[1:] + q[:-1] * p[1:]
    both = p[:-2] * q[1:-1] * p[2:] + q[:-2] * p[1:-1] * q[2:]
    pair = near[:-1] & near[1:]
    mean = float(change[near].sum()) * (1.0 + 2.0 * order / (math.pi * float(near.sum())))
    variance = float((change * (1.0 - change))[near].sum())
    variance += 2.0 * float((both - change[:-1] * change[1:])[pair].sum())
    if variance <= 0.0:
        return 1.0
    changes = int(np.count_nonzero((above[:-1] != above[1:]) & near))
    z = (mean - changes - 0.5) / math.sqrt(variance)
    return float(p_from_z(z))
