"""The ratio of densities that share their scores, finite wherever an event lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from bumpscout_tools.detectors.density.conditional import ConditionalDensity
from bumpscout_tools.errors import DetectorError

__all__ = ["LIMIT", "log_ratio"]

FloatArray = npt.NDArray[np.float64]

LIMIT = 20.0
"""Beyond e^20 either density is extrapolated, and their ratio says no more."""


def log_ratio(
    above: Sequence[ConditionalDensity],
    below: ConditionalDensity,
    features: FloatArray,
    mass: FloatArray,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Return ``log(weighted mean of p_above / p_below)`` (n,), held within +-20.

    Args:
        above: densities that `below` was refitted to, so that units and marginals are the same.
        below: density in the denominator.
        features: (n, k).
        mass: (n,) GeV.
        weights: (len(above),) positive weights of the mean; equal if None.

    Raises:
        DetectorError: if the densities do not share their scores, or one is not a number somewhere.
    """
    if not all(one.marginals is below.marginals for one in above):
        raise DetectorError(
            "Densities in different scores cannot be divided; make them by refit or component of "
            "the one in the denominator."
        )
    logs = np.stack([one.log_density(features, mass) for one in above])
    weights = np.ones(len(above)) if weights is None else weights
    mean = logsumexp(logs + np.log(weights / weights.sum())[:, None], axis=0)
    ratio = mean - below.log_density(features, mass)
    if np.isnan(ratio).any():
        raise DetectorError(
            f"The densities of {int(np.isnan(ratio).sum())} events are no numbers; check the "
            "ranges of their features."
        )
    return np.asarray(np.clip(ratio, -LIMIT, LIMIT), dtype=np.float64)
