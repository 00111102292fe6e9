"""Global significance of the largest local z of one spectrum.

What to use when (`choose_method` is the rule, `global_p` follows it and names the method):

==========================  ==================================  ===============================
                            every window expects >= 50 events   some window expects fewer
==========================  ==================================  ===============================
largest z below 4           Gaussian field, sampled             refit toys
largest z of 4 or more      Gaussian field, tail bound          importance-sampled refit toys
==========================  ==================================  ===============================

What does not hold is refused also when it is asked for by name (`checked_method`). A field belongs
to one background function: where the order was chosen from the data, toys take its place, because
they choose anew. A toy is fitted as the data were, and all fits are kept; refit toys need 1 / p of
them. A shape fitted to fewer than about 20 events for each parameter follows the fluctuations of
the data, and toys of it give a p that is too small. `gross_vitells` is the cross-check from a few
toys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bumpscout_tools.background import select_order_batch
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference.field import score_vectors, spectrum_field
from bumpscout_tools.inference.peaks import PeakGrid, background_under
from bumpscout_tools.inference.scan import PeakScan, scan_peaks_batch
from bumpscout_tools.inference.tilted import tilts, weighted_p
from bumpscout_tools.statistics import ToyP, p_from_z, toy_p_value

__all__ = [
    "FIELD_FROM_EVENTS",
    "TAIL_FROM_Z",
    "GlobalP",
    "Method",
    "checked_method",
    "choose_method",
    "global_p",
    "gross_vitells",
    "importance_p",
    "toy_scan",
    "upcrossings",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FIELD_FROM_EVENTS = 50.0
"""Events: where every window expects at least this many, scores are normal enough for the field."""
TAIL_FROM_Z = 4.0
"""Local z from which on counting toys or samples is no longer practical."""

Method = Literal[
    "gaussian field",
    "gaussian field, tail bound",
    "refit toys",
    "importance-sampled refit toys",
    "gross-vitells",
]
_ONE_SIGMA_TAIL = 0.15865525393145707
_TOYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class GlobalP:
    """P(largest z >= `z`) under the null, with a 68% interval, and how it was found.

    `n` is the number of toys or samples; 0 for the tail bound, whose interval is empty.
    """

    z: float
    value: float
    low: float
    high: float
    method: Method
    n: int


def choose_method(z: float, least_expected: float, *, order_chosen: bool = False) -> Method:
    """Return the method for a largest local z, by the table of the module.

    Args:
        z: largest local z of the data.
        least_expected: background events under the peak that has fewest of all scanned.
        order_chosen: whether the order of the background was chosen from the data.
    """
    if least_expected >= FIELD_FROM_EVENTS and not order_chosen:
        return "gaussian field" if z < TAIL_FROM_Z else "gaussian field, tail bound"
    return "refit toys" if z < TAIL_FROM_Z else "importance-sampled refit toys"


def checked_method(method: Method, least_expected: float, *, order_chosen: bool = False) -> None:
    """Refuse a method that was asked for where it does not hold; arguments as `choose_method`.

    Raises:
        ConfigurationError: a field, or Gross-Vitells, where a peak expects fewer than 50 events; a
            field where the order of the background was chosen.
    """
    if method in ("refit toys", "importance-sampled refit toys"):
        return
    remedy = "ask for refit toys or importance-sampled refit toys, or leave the method to the rule"
    if least_expected < FIELD_FROM_EVENTS:
        raise ConfigurationError(
            f"The method '{method}' needs {FIELD_FROM_EVENTS:g} background events under every "
            f"peak, but one has {least_expected:.3g}: {remedy}."
        )
    if order_chosen and method != "gross-vitells":
        raise ConfigurationError(
            f"The method '{method}' belongs to one background function, but the order was chosen "
            f"from the data: {remedy}."
        )


def toy_scan(
    counts: ArrayLike, basis: LogLinearBasis, orders: Sequence[int], peaks: PeakGrid
) -> FloatArray:
    """Scan toys as data whose order was chosen among `orders`; return z (t, h)."""
    n = np.asarray(counts, dtype=np.float64)
    if len(orders) == 1:
        return scan_peaks_batch(n, basis, orders[0], peaks).z
    chosen = select_order_batch(n, basis, orders).order
    z = np.empty((n.shape[0], peaks.size))
    for order in np.unique(chosen):
        rows = chosen == order
        z[rows] = scan_peaks_batch(n[rows], basis, int(order), peaks).z
    return z


def upcrossings(z: FloatArray, level: float) -> IntArray:
    """Count along each row of z (t, h) how often it rises to `level` or above, (t,)."""
    counted: IntArray = np.count_nonzero((z[:, :-1] < level) & (z[:, 1:] >= level), axis=1)
    return counted


def gross_vitells(crossings: ArrayLike, level: float, z: float) -> GlobalP:
    """Return the global p from upcrossings at a low level (E. Gross, O. Vitells, arXiv:1005.1891).

        P(max z > u) <= P(z > u) + <N(u0)> exp(-(u^2 - u0^2) / 2)

    their eq. 3 for q0, which is a half chi2 with one degree of freedom. One width only: along
    several the field has two dimensions (arXiv:1105.4355), for which the Gaussian field serves.

    Args:
        crossings: (t,) upcrossings of each toy.
        level: u0 at which they were counted, as a z.
        z: largest local z of the data.

    Raises:
        ConfigurationError: no toys, or a z below the level.
    """
    counted = np.asarray(crossings, dtype=np.float64)
    if counted.size == 0 or z < level:
        raise ConfigurationError(
            f"Upcrossings at z = {level} from {counted.size} toys say nothing about z = {z}: count "
            "them in some toys, at a level below that of the data."
        )
    fall = math.exp(-0.5 * (z * z - level * level))
    local = float(p_from_z(z))
    total = counted.sum()
    low = float(special.gammaincinv(total, _ONE_SIGMA_TAIL)) if total > 0 else 0.0
    high = float(special.gammainccinv(total + 1.0, _ONE_SIGMA_TAIL))
    value, least, most = (
        min(1.0, local + fall * n / counted.size) for n in (float(total), low, high)
    )
    return GlobalP(z, value, least, most, "gross-vitells", counted.size)


def importance_p(
    rng: np.random.Generator,
    scan: PeakScan,
    basis: LogLinearBasis,
    orders: Sequence[int],
    n_toys: int = 2000,
) -> GlobalP:
    """Return the global p from toys that hold a signal, weighted back to the null.

    Each toy fluctuates towards one peak of the scan, drawn at random, by about the z of the data,
    in the direction that the background cannot absorb: its means are mu exp(c v), with v the score
    of the peak. Its weight is P(toy | null) / sum_j P(toy | peak j) / h. The estimate is without
    bias, whatever the direction, and the toys are refitted as the data were; the interval is one
    standard error.

    Args:
        rng: random numbers.
        scan: that of the data.
        basis: the background family.
        orders: the orders that the data's was chosen from.
        n_toys: number of toys.
    """
    z = float(scan.z[scan.best])
    mu = np.maximum(scan.expected, 1e-9)
    templates = scan.peaks.templates(basis.edges_gev)
    vectors = score_vectors(basis, scan.coefficients, mu, templates)
    log_ratio = tilts(vectors, mu, z)
    means = mu * np.exp(log_ratio)
    lost = (means - mu).sum(axis=1)
    weights = np.empty(n_toys)
    for first in range(0, n_toys, _TOYS_AT_ONCE):
        size = min(_TOYS_AT_ONCE, n_toys - first)
        j = rng.integers(0, lost.size, size)
        toys = rng.poisson(means[j]).astype(np.float64)
        reached = toy_scan(toys, basis, orders, scan.peaks).max(axis=1) >= z
        mixture = special.logsumexp(toys @ log_ratio.T - lost, axis=1)
        weights[first : first + size] = reached * np.exp(math.log(lost.size) - mixture)
    return GlobalP(z, *weighted_p(weights), "importance-sampled refit toys", n_toys)


def global_p(
    rng: np.random.Generator,
    scan: PeakScan,
    basis: LogLinearBasis,
    orders: Sequence[int] = (),
    method: Method | None = None,
    n_toys: int = 2000,
    n_samples: int = 200_000,
) -> GlobalP:
    """Return the global p of the largest z of a scan.

    Args:
        rng: random numbers.
        scan: that of the data.
        basis: the background family.
        orders: the orders that the data's was chosen from; empty if it was fixed.
        method: None for the rule of the module.
        n_toys: refit toys, where the method takes any.
        n_samples: samples of the field.

    Raises:
        ConfigurationError: Gross-Vitells asked for with more than one width, or a method where it
            does not hold (`checked_method`).
    """
    z = float(scan.z[scan.best])
    order = scan.coefficients.size
    tried = tuple(orders) or (order,)
    templates = scan.peaks.templates(basis.edges_gev)
    least = float(background_under(templates, scan.expected).min())
    if method is None:
        method = choose_method(z, least, order_chosen=len(tried) > 1)
    checked_method(method, least, order_chosen=len(tried) > 1)
    if method == "importance-sampled refit toys":
        return importance_p(rng, scan, basis, tried, n_toys)
    if method in ("gaussian field", "gaussian field, tail bound"):
        field = spectrum_field(basis, scan.coefficients, scan.expected, templates)
        if method == "gaussian field, tail bound":
            bound = float(field.tail_bound(z))
            return GlobalP(z, bound, bound, bound, method, 0)
        return _counted(z, field.p_value(z, rng, n_samples), method, n_samples)
    if method == "gross-vitells" and np.unique(scan.peaks.width).size > 1:
        raise ConfigurationError(
            "Upcrossings are counted along the masses of one width: scan one width, or use the "
            "Gaussian field for several."
        )
    reached, crossings = 0, np.empty(n_toys, dtype=np.int64)
    for first in range(0, n_toys, _TOYS_AT_ONCE):
        size = min(_TOYS_AT_ONCE, n_toys - first)
        toys = rng.poisson(scan.expected, (size, scan.expected.size))
        found = toy_scan(toys, basis, tried, scan.peaks)
        reached += int(np.count_nonzero(found.max(axis=1) >= z))
        crossings[first : first + size] = upcrossings(found, 0.0)
    if method == "gross-vitells":
        return gross_vitells(crossings, 0.0, z)
    return _counted(z, toy_p_value(reached, n_toys), method, n_toys)


def _counted(z: float, p: ToyP, method: Method, n: int) -> GlobalP:
    return GlobalP(z, p.value, p.low, p.high, method, n)
