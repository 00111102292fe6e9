"""Gaussian peaks: a grid of masses and widths, and their bin integrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference import _kernels

__all__ = ["DEFAULT_WIDTHS", "PeakGrid", "Resolution", "background_under", "peak_grid"]

FloatArray = NDArray[np.float64]
Resolution = float | Callable[[FloatArray], FloatArray]
"""Relative mass resolution sigma/m: one number, or a function of masses (m,) GeV -> (m,)."""

DEFAULT_WIDTHS = (0.0, 0.05, 0.10, 0.15)


@dataclass(frozen=True, slots=True)
class PeakGrid:
    """Gaussian signals: `mass_gev`, relative `width` and `sigma_gev`, each (h,), width by width.

    sigma = m sqrt(width^2 + resolution^2): width 0 is a resonance as wide as the resolution.
    """

    mass_gev: FloatArray
    width: FloatArray
    sigma_gev: FloatArray

    @property
    def size(self) -> int:
        """Number of hypotheses h."""
        return int(self.mass_gev.size)

    def pairs(self) -> FloatArray:
        """Return (h, 2): mass and sigma in GeV."""
        return np.ascontiguousarray(np.stack([self.mass_gev, self.sigma_gev], axis=1))

    def templates(self, edges_gev: ArrayLike) -> FloatArray:
        """Return (h, b), the part of each peak in each bin; a row sums to less than 1 near the end.

        Args:
            edges_gev: (b + 1,) rising edges, GeV.
        """
        edges = np.asarray(edges_gev, dtype=np.float64)
        out = np.empty((self.size, edges.size - 1))
        work = np.empty((3, edges.size - 1))
        for h in range(self.size):
            _kernels.fill_template(edges, self.mass_gev[h], self.sigma_gev[h], work)
            out[h] = work[0]
        return out


def peak_grid(
    masses_gev: ArrayLike,
    widths: Sequence[float] = DEFAULT_WIDTHS,
    resolution: Resolution = 0.03,
) -> PeakGrid:
    """Return all pairs of masses and widths.

    Args:
        masses_gev: (m,) GeV, above 0.
        widths: relative widths sigma/m of the signals, before resolution.
        resolution: relative mass resolution, added in quadrature.

    Raises:
        ConfigurationError: masses, widths or a resolution that make no peak of finite width.

    >>> peak_grid([2000.0], [0.0, 0.04], 0.03).sigma_gev
    array([ 60., 100.])
    """
    mass = np.atleast_1d(np.asarray(masses_gev, dtype=np.float64))
    relative = np.asarray(widths, dtype=np.float64)
    if mass.ndim != 1 or mass.size == 0 or not np.all((mass > 0) & np.isfinite(mass)):
        raise ConfigurationError("A scan needs at least one mass, each a finite number above 0.")
    if relative.size == 0 or not np.all((relative >= 0) & (relative < 1)):
        raise ConfigurationError(
            f"Relative widths of signals lie between 0 and 1 (5% is 0.05), not {list(widths)}."
        )
    spread = resolution(mass) if callable(resolution) else np.full(mass.shape, float(resolution))
    if not np.all((spread >= 0) & (spread < 1)):
        raise ConfigurationError("The relative mass resolution lies between 0 and 1 (3% is 0.03).")
    sigma = mass * np.sqrt(relative[:, None] ** 2 + spread**2)
    if not np.all(sigma > 0):
        raise ConfigurationError(
            "A signal of width 0 needs a mass resolution above 0: give the resolution, or leave "
            "the width 0 out."
        )
    return PeakGrid(np.tile(mass, relative.size), np.repeat(relative, mass.size), np.ravel(sigma))


def background_under(templates: FloatArray, expected: ArrayLike) -> FloatArray:
    """Return the background events under each peak, (sum t)^2 / sum(t^2 / b).

    For a peak that fills some bins evenly these are the events of those bins; for a Gaussian on a
    flat background those within 1.77 sigma to either side. Where the background falls the bins
    with fewer events count more: 1 / sqrt(b) is the relative precision that a count has there.

    Args:
        templates: (h, b) parts of each peak in each bin.
        expected: (b,) background events, above 0.
    """
    b = np.maximum(np.asarray(expected, dtype=np.float64), 1e-300)
    total = templates.sum(axis=1)
    under: FloatArray = total**2 / np.maximum((templates**2 / b).sum(axis=1), 1e-300)
    return under
