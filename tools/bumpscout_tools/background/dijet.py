"""The dijet family as a Poisson model with a log-linear mean.

    f(x) = p1 (1 - x)^p2 x^(p3 + p4 ln x + p5 ln^2 x + p6 ln^3 x),    x = m / sqrt(s)

Its logarithm is linear in (ln p1, p2, ..., p6), so that a binned Poisson fit has one optimum
(ATLAS arXiv:1910.08447, 2005.02983; CMS arXiv:1911.03947). Order N uses the first N parameters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import FitError, InputDataError

__all__ = ["MAX_ORDER", "DijetBasis"]

FloatArray = NDArray[np.float64]

MAX_ORDER = 6
_GAUSS_X, _GAUSS_W = np.polynomial.legendre.leggauss(4)


class DijetBasis:
    """An orthonormal basis of ln f on the bins of one spectrum, for all orders at once.

    The raw terms 1, ln(1-x), ln x, ln^2 x, ... are nearly collinear; a QR decomposition over the
    nodes of the bin integrals gives columns with mean square 1 over the bins. The columns are
    nested: order N uses the first N, whatever the largest order is.

    Attributes:
        edges_gev: (b + 1,) GeV.
        sqrt_s_gev: collision energy, GeV.
        max_order: number of columns.
        nodes: (max_order, 4, b) the columns at the four Gauss-Legendre nodes of each bin.
        weights_gev: (4, b) weights of the nodes, which sum to the widths of the bins.
    """

    def __init__(self, edges_gev: ArrayLike, sqrt_s_gev: float, max_order: int = 5) -> None:
        """Build the basis.

        Args:
            edges_gev: (b + 1,) rising edges of the bins, GeV, between 0 and `sqrt_s_gev`.
            sqrt_s_gev: collision energy, GeV.
            max_order: 1 to 6, the largest order to be fitted.

        Raises:
            InputDataError: edges that do not rise, or lie outside 0 < m < sqrt(s).
            FitError: fewer than `max_order` + 1 bins, or bins too alike to tell the terms apart.
        """
        edges = np.array(edges_gev, dtype=np.float64)
        if edges.ndim != 1 or edges.size < 2 or not np.all(np.isfinite(edges)):
            raise InputDataError(
                "The edges of a spectrum must be at least two finite numbers in a row, not an "
                f"array of shape {edges.shape}."
            )
        if np.any(np.diff(edges) <= 0):
            at = int(np.argmax(np.diff(edges) <= 0))
            raise InputDataError(
                f"The edges of a spectrum must rise, but edge {at + 1} ({edges[at + 1]:g} GeV) "
                f"does not lie above edge {at} ({edges[at]:g} GeV)."
            )
        if edges[0] <= 0 or edges[-1] >= sqrt_s_gev:
            raise InputDataError(
                f"The spectrum spans {edges[0]:g} to {edges[-1]:g} GeV, but the dijet family "
                f"exists only between 0 and sqrt(s) = {sqrt_s_gev:g} GeV: cut the spectrum or "
                "correct the collision energy."
            )
        if not 1 <= max_order <= MAX_ORDER:
            raise FitError(f"The dijet family has orders 1 to {MAX_ORDER}, not {max_order}.")
        n_bins = edges.size - 1
        if n_bins < max_order + 1:
            raise FitError(
                f"{n_bins} bins cannot hold a dijet function of order {max_order}: at least "
                f"{max_order + 1} bins are needed."
            )
        edges.setflags(write=False)
        self.edges_gev: FloatArray = edges
        self.sqrt_s_gev = float(sqrt_s_gev)
        self.max_order = max_order
        centre = 0.5 * (edges[1:] + edges[:-1])
        half = 0.5 * np.diff(edges)
        mass = centre + half * _GAUSS_X[:, None]
        self.weights_gev: FloatArray = half * _GAUSS_W[:, None]
        weight = np.broadcast_to(np.sqrt(0.5 * _GAUSS_W)[:, None], mass.shape).ravel()
        raw = self._raw(mass.ravel())
        q, r = np.linalg.qr(raw * weight[:, None])
        if np.min(np.abs(np.diag(r))) < 1e-12 * np.max(np.abs(np.diag(r))):
            raise FitError(
                f"The bins from {edges[0]:g} to {edges[-1]:g} GeV are too narrow a range to tell "
                f"the {max_order} terms of the dijet family apart: lower the order."
            )
        root = np.sqrt(n_bins)
        columns = (q / weight[:, None] * root).T
        self.nodes: FloatArray = np.ascontiguousarray(columns.reshape(max_order, 4, n_bins))
        self._to_raw: FloatArray = np.linalg.inv(r / root)

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(self.edges_gev.size - 1)

    def _raw(self, mass: FloatArray) -> FloatArray:
        log_x = np.log(mass / self.sqrt_s_gev)
        terms = [np.ones_like(mass), np.log1p(-mass / self.sqrt_s_gev)]
        terms += [log_x**power for power in range(1, self.max_order - 1)]
        return np.stack(terms[: self.max_order], axis=1)

    def parameters(self, coefficients: ArrayLike) -> FloatArray:
        """Convert coefficients of the basis into p1..pN of the published form.

        Args:
            coefficients: (..., N) coefficients of the first N columns.

        Returns:
            (..., N) parameters; p1 in events per GeV, so that f is a density in the mass.
        """
        theta = np.asarray(coefficients, dtype=np.float64)
        order = theta.shape[-1]
        raw: FloatArray = theta @ self._to_raw[:order, :order].T
        with np.errstate(over="ignore"):
            raw[..., 0] = np.exp(raw[..., 0])
        return raw

    def density(self, coefficients: ArrayLike, mass_gev: ArrayLike) -> FloatArray:
        """Return f(m) in events per GeV at masses (m,), for coefficients (N,)."""
        theta = np.asarray(coefficients, dtype=np.float64)
        order = theta.shape[-1]
        raw = self._raw(np.asarray(mass_gev, dtype=np.float64))[:, :order]
        f: FloatArray = np.exp(raw @ (self._to_raw[:order, :order] @ theta))
        return f

    def expected(self, coefficients: ArrayLike) -> FloatArray:
        """Return expected events (..., b) in each bin, for coefficients (..., N)."""
        theta = np.asarray(coefficients, dtype=np.float64)
        order = theta.shape[-1]
        eta = np.tensordot(theta, self.nodes[:order], axes=1)
        total: FloatArray = np.sum(self.weights_gev * np.exp(np.clip(eta, -600, 600)), axis=-2)
        return total
