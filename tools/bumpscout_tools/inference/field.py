"""Gaussian random field of local significances: its covariance, and the tail of its maximum.

The score statistic of a peak t on a background mu fitted to the same data is

    z = v . (n - mu) / |v|,    v = W (t - D (D^T W D)^-1 D^T W t),    W = 1 / mu

with D = d mu / d theta: what the background can absorb is projected out, so that z does not depend
on the fitted parameters to first order. Under the null all z of a scan are jointly normal with
covariance v_a^T Sigma v_b, Sigma the covariance of the counts (arXiv:2307.03995, 2306.01713).

The tail beyond what sampling reaches is a bound that no toy is needed for (Hunter 1976, Worsley
1982)::

    P(max z > u) <= sum_a P(z_a > u) - sum_(a,b) P(z_a > u, z_b > u)

where (a, b) runs over the edges of a spanning tree, the one of largest correlations. For equal
thresholds P(z_a > u) - P(z_a > u, z_b > u) is the integral of exp(-u^2 / (1 + cos f)) / (2 pi)
over 0 < f < arccos(rho): for neighbours in a dense scan of masses this is Rice's formula for
upcrossings, that of Gross and Vitells (arXiv:1005.1891), with nothing left to be estimated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special
from scipy.sparse import csgraph

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import ConfigurationError, FitError
from bumpscout_tools.statistics import ToyP, toy_p_value

__all__ = ["GaussianField", "score_vectors", "spectrum_field"]

FloatArray = NDArray[np.float64]

_GAUSS_X, _GAUSS_W = np.polynomial.legendre.leggauss(16)
_NOTHING_LEFT = 1e-9
_SAMPLES_AT_ONCE = 4096
_MAX_FIELD = 8_000


@dataclass(frozen=True, slots=True)
class GaussianField:
    """A joint normal distribution of local significances.

    `root` (h, r) has rows of length 1, so that z = root @ g for r independent normal g; the
    correlation of two significances is the product of their rows.
    """

    root: FloatArray

    @property
    def correlation(self) -> FloatArray:
        """Return the correlations (h, h)."""
        product: FloatArray = self.root @ self.root.T
        return product

    def sample_max(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw the maximum over the field n times, (n,)."""
        out = np.empty(n)
        root = self.root.astype(np.float32)
        for first in range(0, n, _SAMPLES_AT_ONCE):
            size = min(_SAMPLES_AT_ONCE, n - first)
            g = rng.standard_normal((root.shape[1], size), dtype=np.float32)
            out[first : first + size] = (root @ g).max(axis=0)
        return out

    def p_value(self, z: float, rng: np.random.Generator, n: int = 200_000) -> ToyP:
        """Return P(max > z) from n samples, as (k + 1) / (n + 1) with an interval."""
        return toy_p_value(int(np.count_nonzero(self.sample_max(rng, n) >= z)), n)

    def tail_bound(self, z: ArrayLike) -> FloatArray:
        """Return the upper bound of P(max > z), close to it where it is small; any shape of z.

        The formula is that of the module.
        """
        u = np.asarray(z, dtype=np.float64)
        angle = self._tree_angles()
        at = 0.5 * angle[:, None] * (_GAUSS_X + 1.0)
        weight = 0.5 * angle[:, None] * _GAUSS_W / (2.0 * math.pi)
        flat = np.ravel(u)
        step = np.array(
            [float(np.sum(weight * np.exp(-(one**2) / (1.0 + np.cos(at))))) for one in flat]
        )
        total: FloatArray = np.minimum(special.ndtr(-flat) + step, 1.0).reshape(u.shape)
        return total

    def _tree_angles(self) -> FloatArray:
        """Return arccos of the correlation along each edge of the tree, (h - 1,)."""
        size = self.root.shape[0]
        if size == 1:
            return np.empty(0)
        distance = np.arccos(np.clip(self.correlation, -1.0, 1.0))
        # Zeros mean "no edge" to the graph routine, but equal hypotheses are joined at no cost.
        np.maximum(distance, 1e-12, out=distance)
        np.fill_diagonal(distance, 0.0)
        tree = csgraph.minimum_spanning_tree(sparse.csr_array(distance))
        edges: FloatArray = np.asarray(tree.data, dtype=np.float64)
        return np.minimum(edges, 0.5 * math.pi)


def score_vectors(
    basis: LogLinearBasis, coefficients: ArrayLike, expected: ArrayLike, templates: FloatArray
) -> FloatArray:
    """Return v (h, b) of the module, scaled so that v . (n - mu) has variance 1 for Poisson counts.

    Args:
        basis: the background family.
        coefficients: (order,) of the fitted background.
        expected: (b,) its events.
        templates: (h, b) parts of each peak in each bin.

    Raises:
        FitError: a background that expects nothing somewhere, or a peak that the background
            absorbs wholly or that lies outside the bins.
    """
    theta = np.asarray(coefficients, dtype=np.float64)
    mu = np.asarray(expected, dtype=np.float64)
    if not np.all(mu > 0) or not np.all(np.isfinite(theta)):
        raise FitError(
            "The field of significances needs a background above 0 in every bin: fit a spectrum "
            "with events, or leave empty bins out."
        )
    nodes = basis.nodes[: theta.size]
    weighted = basis.weights_gev * np.exp(np.clip(np.tensordot(theta, nodes, axes=1), -600, 600))
    tangent = (nodes * weighted).sum(axis=1).T / np.sqrt(mu)[:, None]
    q, _ = np.linalg.qr(tangent)
    t = templates / np.sqrt(mu)
    left = t - (t @ q) @ q.T
    length = np.linalg.norm(left, axis=1)
    lost = length <= _NOTHING_LEFT * np.maximum(np.linalg.norm(t, axis=1), 1e-300)
    if np.any(lost):
        raise FitError(
            f"Peak {int(np.argmax(lost))} of the scan lies outside the bins, or the background "
            "absorbs it wholly: choose masses inside the spectrum and narrower widths."
        )
    vectors: FloatArray = left / length[:, None] / np.sqrt(mu)
    return vectors


def spectrum_field(
    basis: LogLinearBasis, coefficients: ArrayLike, expected: ArrayLike, templates: FloatArray
) -> GaussianField:
    """Return the field of one spectrum of Poisson counts; arguments as `score_vectors`.

    Raises:
        ConfigurationError: more hypotheses than a covariance can hold.
    """
    check_size(templates.shape[0])
    vectors = score_vectors(basis, coefficients, expected, templates)
    return GaussianField(vectors * np.sqrt(np.asarray(expected, dtype=np.float64)))


def check_size(size: int) -> None:
    """Refuse fields whose covariance would not fit into memory.

    Raises:
        ConfigurationError: more than 8000 hypotheses.
    """
    if size > _MAX_FIELD:
        raise ConfigurationError(
            f"A field of {size} hypotheses has a covariance of {8 * size**2 / 1e9:.0f} GB: scan "
            f"fewer masses, at most {_MAX_FIELD} hypotheses in all."
        )
