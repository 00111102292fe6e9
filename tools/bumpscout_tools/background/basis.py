"""Backgrounds whose logarithm is linear in the parameters, on the bins of one spectrum.

    ln f(m) = ln w(m) + theta_1 t_1(m) + ... + theta_N t_N(m)

A Poisson fit of such a function has one optimum, whatever the terms t are: the dijet family
(`bumpscout_tools.background.dijet`), historical forms and templates of the user (`forms`) share
this basis and the batched fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import FitError, InputDataError

__all__ = ["LogLinearBasis", "Term", "checked_edges"]

FloatArray = NDArray[np.float64]
Term = Callable[[FloatArray], FloatArray]
"""A function of the mass, (m,) GeV -> (m,)."""

_GAUSS_X, _GAUSS_W = np.polynomial.legendre.leggauss(4)


def checked_edges(edges_gev: ArrayLike) -> FloatArray:
    """Return the edges of a spectrum, (b + 1,) GeV, after checking that they rise.

    Raises:
        InputDataError: edges that do not rise or are not finite.
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
    edges.setflags(write=False)
    return edges


class LogLinearBasis:
    """An orthonormal basis of the terms on the bins of one spectrum, for all orders at once.

    Raw terms are nearly collinear; a QR decomposition over the nodes of the bin integrals gives
    columns with mean square 1 over the bins. The columns are nested: order N uses the first N,
    whatever the largest order is.

    Attributes:
        name: of the family, as messages name it.
        edges_gev: (b + 1,) GeV.
        max_order: number of columns.
        nodes: (max_order, 4, b) the columns at the four Gauss-Legendre nodes of each bin.
        weight: (b,) or (), w(m).
        weights_gev: (4, b) weights of the nodes, times w(m): without a w they sum to the widths of
            the bins.
    """

    def __init__(
        self,
        edges_gev: ArrayLike,
        terms: Sequence[Term],
        *,
        name: str,
        signs: Sequence[float] | None = None,
        weight: ArrayLike = 1.0,
    ) -> None:
        """Build the basis.

        Args:
            edges_gev: (b + 1,) rising edges of the bins, GeV, above 0.
            terms: t_1..t_N; the first one is the constant 1, so that p1 is a normalisation.
            name: of the family, as messages name it.
            signs: (N,) +1 or -1, the signs with which p2..pN are written; the first is ignored.
            weight: (b,) or one number, w(m), constant in each bin and above 0.

        Raises:
            InputDataError: edges that do not rise, or a weight that is not above 0.
            FitError: fewer bins than terms + 1, or bins too alike to tell the terms apart.
        """
        edges = checked_edges(edges_gev)
        if edges[0] <= 0:
            raise InputDataError(
                f"The spectrum starts at {edges[0]:g} GeV, but masses lie above 0: leave out the "
                "bins below."
            )
        n_bins, n_terms = edges.size - 1, len(terms)
        if n_bins < n_terms + 1:
            raise FitError(
                f"{n_bins} bins cannot hold a {name} function of order {n_terms}: at least "
                f"{n_terms + 1} bins are needed."
            )
        scale = np.asarray(weight, dtype=np.float64)
        if not np.all((scale > 0) & np.isfinite(scale)):
            raise InputDataError("The weights of the bins of a background must be above 0.")
        self.name = name
        self.edges_gev: FloatArray = edges
        self.max_order = n_terms
        self._terms = tuple(terms)
        self._signs = np.ones(n_terms) if signs is None else np.asarray(signs, dtype=np.float64)
        self.weight: FloatArray = scale
        centre = 0.5 * (edges[1:] + edges[:-1])
        half = 0.5 * np.diff(edges)
        mass = centre + half * _GAUSS_X[:, None]
        self.weights_gev: FloatArray = half * _GAUSS_W[:, None] * scale
        share = np.broadcast_to(np.sqrt(0.5 * _GAUSS_W)[:, None], mass.shape).ravel()
        q, r = np.linalg.qr(self._raw(mass.ravel()) * share[:, None])
        if np.min(np.abs(np.diag(r))) < 1e-12 * np.max(np.abs(np.diag(r))):
            raise FitError(
                f"The bins from {edges[0]:g} to {edges[-1]:g} GeV are too narrow a range to tell "
                f"the {n_terms} terms of the {name} family apart: lower the order."
            )
        root = np.sqrt(n_bins)
        columns = (q / share[:, None] * root).T
        self.nodes: FloatArray = np.ascontiguousarray(columns.reshape(n_terms, 4, n_bins))
        self._to_raw: FloatArray = np.linalg.inv(r / root)

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(self.edges_gev.size - 1)

    def _raw(self, mass: FloatArray) -> FloatArray:
        return np.stack([term(mass) for term in self._terms], axis=1)

    def exponents(self, order: int) -> FloatArray:
        """Return the matrix (order, order) from coefficients to the raw theta of the terms."""
        return self._to_raw[:order, :order]

    def sign(self, k: int) -> float:
        """Return +1 or -1, with which the parameter p(k + 1) multiplies its term."""
        return float(self._signs[k])

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
        raw[..., 1:] *= self._signs[1:order]
        with np.errstate(over="ignore"):
            raw[..., 0] = np.exp(raw[..., 0])
        return raw

    def density(self, coefficients: ArrayLike, mass_gev: ArrayLike) -> FloatArray:
        """Return f(m) / w(m) in events per GeV at masses (m,), for coefficients (N,)."""
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

    def integral_error(self, coefficients: ArrayLike) -> FloatArray:
        """Return the relative error (b,) of the four-node bin integrals, for coefficients (N,).

        Measured against 4 x 8 nodes; it matters only where f changes by orders of magnitude
        within one bin, as in a wide last bin.
        """
        x, weight = np.polynomial.legendre.leggauss(8)
        low, width = self.edges_gev[:-1], np.diff(self.edges_gev)
        quarter = (np.arange(4)[:, None] + 0.5 * (x + 1.0)) / 4.0
        mass = low + width * quarter.ravel()[:, None]
        f = self.density(coefficients, mass.ravel()).reshape(mass.shape)
        fine = self.weight * width * (np.tile(weight, 4) / 8.0 @ f)
        error: FloatArray = np.abs(self.expected(coefficients) / fine - 1.0)
        return error
