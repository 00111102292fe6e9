"""Peak scan of many spectra at nested working points of the same events, and its global p.

`joint_scan` fits peaks in each spectrum at each working point; `joint_p` gives the p-value of the
largest z of all. The method follows the rule of `lookelsewhere`, over all peaks that take part:
the joint field only where each expects 50 events or more, toys made from the same events elsewhere.
A working point with fewer than 20 events for each parameter of its background takes no part: see
`grid`, which can go further down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background import select_order_batch
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.inference.event_toys import TOYS_AT_ONCE, EventToys
from bumpscout_tools.inference.field import score_vectors
from bumpscout_tools.inference.grid import EVENTS_PER_PARAMETER
from bumpscout_tools.inference.joint import joint_field
from bumpscout_tools.inference.lookelsewhere import (
    GlobalP,
    Method,
    checked_method,
    choose_method,
    toy_scan,
)
from bumpscout_tools.inference.peaks import PeakGrid, background_under
from bumpscout_tools.inference.tilted import importance_sampled_p
from bumpscout_tools.statistics import toy_p_value

__all__ = ["JointScan", "PeakSpectrum", "joint_p", "joint_scan"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class PeakSpectrum:
    """How one spectrum is scanned: its background family, the orders to choose from, the peaks."""

    basis: LogLinearBasis
    orders: tuple[int, ...]
    peaks: PeakGrid


@dataclass(frozen=True)
class JointScan:
    """The data, scanned; one array for each spectrum.

    `z` (W, h), minus infinity where a peak takes no part; `under` (W, h) background events under
    each peak; `part` (W, h) which ones take part; `null` the toys at the fitted means, `fits`
    (W, largest order) their coefficients, NaN beyond the order taken.
    """

    spectra: tuple[PeakSpectrum, ...]
    null: EventToys
    z: tuple[FloatArray, ...]
    under: tuple[FloatArray, ...]
    part: tuple[BoolArray, ...]
    fits: tuple[FloatArray, ...]

    @property
    def largest(self) -> float:
        """Return the largest z of all."""
        return max(float(one.max(initial=-np.inf)) for one in self.z)

    @property
    def least_expected(self) -> float:
        """Return the background events under the peak that has fewest of those taking part."""
        return min(
            float(under[part].min(initial=np.inf))
            for under, part in zip(self.under, self.part, strict=True)
        )

    @property
    def order_chosen(self) -> bool:
        """Return whether the order of any background was chosen from the data."""
        return any(len(one.orders) > 1 for one in self.spectra)

    def scan(self, counts: Sequence[FloatArray]) -> FloatArray:
        """Fit and scan toys as the data: counts (t, W, b) of each spectrum -> largest z, (t,)."""
        best = np.full(counts[0].shape[0], -np.inf)
        for one, n, part in zip(self.spectra, counts, self.part, strict=True):
            z = _scan(one, n, part)
            np.maximum(best, z.max(axis=(1, 2), initial=-np.inf), out=best)
        return best

    def vectors(self) -> list[list[FloatArray]]:
        """Return the score vectors (h, b) of the peaks that take part, at the means of the null."""
        out: list[list[FloatArray]] = []
        for s, means in enumerate(self.null.expected()):
            one, rows = self.spectra[s], []
            templates = one.peaks.templates(one.basis.edges_gev)
            for w, mu in enumerate(means):
                theta = self.fits[s][w]
                theta, part = theta[np.isfinite(theta)], self.part[s][w]
                if theta.size == 0 or not part.any():
                    # A spectrum without events has neither score nor direction.
                    rows.append(np.empty((0, mu.size)))
                else:
                    floor = np.maximum(mu, 1e-9)
                    rows.append(score_vectors(one.basis, theta, floor, templates[part]))
            out.append(rows)
        return out


def _scan(one: PeakSpectrum, counts: FloatArray, part: BoolArray) -> FloatArray:
    """Return z (t, W, h) of counts (t, W, b), minus infinity where `part` (W, h) is False."""
    z = np.full((counts.shape[0], *part.shape), -np.inf)
    # Working points whose peaks are the same are scanned together.
    patterns, which = np.unique(part, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        levels = np.flatnonzero(which == number)
        peaks = PeakGrid(
            one.peaks.mass_gev[pattern], one.peaks.width[pattern], one.peaks.sigma_gev[pattern]
        )
        n = counts[:, levels].reshape(-1, counts.shape[2])
        found = toy_scan(n, one.basis, one.orders, peaks)
        at = np.ix_(np.arange(len(z)), levels, np.flatnonzero(pattern))
        z[at] = found.reshape(len(z), levels.size, peaks.size)
    return z


def joint_scan(
    data: EventToys, spectra: Sequence[PeakSpectrum], min_expected: float = 0.0
) -> JointScan:
    """Scan each spectrum at each working point of the data.

    Args:
        data: cells of the events, from `EventToys.from_events`.
        spectra: one for each that the events were put into.
        min_expected: background events under a peak below which it takes no part; 50 makes the
            scan one that the joint field describes.

    Raises:
        InputDataError: spectra that do not belong to the events.
        ConfigurationError: no peak that expects as many, or too few events everywhere.
        FitError: too few bins for the orders.
    """
    if tuple(one.basis.n_bins for one in spectra) != data.n_bins:
        raise InputDataError(
            f"The events were put into spectra of {data.n_bins} bins, but those to be scanned have "
            f"{tuple(one.basis.n_bins for one in spectra)}."
        )
    z, under, parts, fits, means = [], [], [], [], []
    for one, counts in zip(spectra, data.expected(), strict=True):
        fit = select_order_batch(counts, one.basis, one.orders)
        templates = one.peaks.templates(one.basis.edges_gev)
        below = np.array([background_under(templates, mu) for mu in fit.expected])
        enough = counts.sum(axis=1) >= EVENTS_PER_PARAMETER * max(one.orders)
        part = (below >= min_expected) & enough[:, None]
        theta = fit.coefficients.copy()
        theta[np.arange(theta.shape[1]) >= fit.order[:, None]] = np.nan
        fits.append(theta)
        means.append(fit.expected)
        under.append(below)
        parts.append(part)
        z.append(_scan(one, counts[None], part)[0])
    if not any(part.any() for part in parts):
        raise ConfigurationError(
            f"No peak expects {min_expected:g} events in a spectrum of {EVENTS_PER_PARAMETER} for "
            "each parameter of its background: loosen the working points, or lower the orders or "
            "the number of events."
        )
    null = data.on_null(means)
    return JointScan(tuple(spectra), null, tuple(z), tuple(under), tuple(parts), tuple(fits))


def joint_p(
    rng: np.random.Generator,
    scan: JointScan,
    method: Method | None = None,
    n_toys: int = 1000,
    n_samples: int = 200_000,
) -> GlobalP:
    """Return the global p of the largest z over all spectra, working points and peaks.

    Args:
        rng: random numbers.
        scan: that of the data.
        method: None for the rule of `lookelsewhere`.
        n_toys: toys made from the same events, where the method takes any.
        n_samples: samples of the joint field.

    Raises:
        ConfigurationError: the field asked for where a peak expects fewer than 50 events or the
            order of a background was chosen, Gross-Vitells (which knows one spectrum), or a field
            of too many hypotheses.
    """
    z, least = scan.largest, scan.least_expected
    if method is None:
        method = choose_method(z, least, order_chosen=scan.order_chosen)
    checked_method(method, least, order_chosen=scan.order_chosen)
    if method == "gross-vitells":
        raise ConfigurationError(
            "Upcrossings are counted along the masses of one spectrum: for several use the joint "
            "field or toys."
        )
    if method == "importance-sampled refit toys":
        p = importance_sampled_p(rng, scan.null, scan.vectors(), scan.scan, z, n_toys)
        return GlobalP(z, *p, method, n_toys)
    if method == "refit toys":
        reached = 0
        for first in range(0, n_toys, TOYS_AT_ONCE):
            toys = scan.null.draw(rng, min(TOYS_AT_ONCE, n_toys - first))
            reached += int(np.count_nonzero(scan.scan(toys) >= z))
        counted = toy_p_value(reached, n_toys)
        return GlobalP(z, *counted, method, n_toys)
    field = joint_field(scan.null, scan.vectors())
    if method == "gaussian field, tail bound":
        bound = float(field.tail_bound(z))
        return GlobalP(z, bound, bound, bound, method, 0)
    return GlobalP(z, *field.p_value(z, rng, n_samples), method, n_samples)
