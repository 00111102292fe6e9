"""Monotone rational-quadratic splines on [-B, B], the identity outside, in numpy.

Durkan et al., *Neural Spline Flows*, arXiv:1906.04032, section 3.1 and appendix A. The map goes
from the score ``z`` of a feature to a latent ``u`` that is standard normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "BOUND", "MIN_SLOPE", "MIN_WIDTH", "PARAMETERS", "Spline"]

FloatArray = npt.NDArray[np.float64]

BINS = 8
BOUND = 5.0
MIN_WIDTH = 5e-3  # of 2 * BOUND
MIN_SLOPE = 1e-2
PARAMETERS = 3 * BINS - 1


def _softmax_edges(raw: FloatArray) -> FloatArray:
    """Return bin edges (n, BINS + 1) from -BOUND to BOUND of raw sizes (n, BINS)."""
    size = np.exp(raw - raw.max(axis=1, keepdims=True))
    size *= (1.0 - MIN_WIDTH * BINS) / size.sum(axis=1, keepdims=True)
    size += MIN_WIDTH
    edges = np.empty((len(raw), BINS + 1))
    edges[:, 0] = -BOUND
    np.cumsum(size, axis=1, out=edges[:, 1:])
    edges[:, 1:] = 2 * BOUND * edges[:, 1:] - BOUND
    edges[:, -1] = BOUND
    return edges


@dataclass(frozen=True)
class Spline:
    """One spline an event.

    Attributes:
        x: (n, BINS + 1) knots in the score.
        y: (n, BINS + 1) knots in the latent.
        slope: (n, BINS + 1) slopes at the knots, 1 at both ends.
    """

    x: FloatArray
    y: FloatArray
    slope: FloatArray

    @classmethod
    def from_raw(cls, raw: FloatArray) -> Spline:
        """Build from unconstrained numbers (n, PARAMETERS): widths, heights, inner slopes.

        All zeros give the identity.
        """
        slope = np.ones((len(raw), BINS + 1))
        inner = raw[:, 2 * BINS :]
        slope[:, 1:-1] = MIN_SLOPE + (1.0 - MIN_SLOPE) * np.logaddexp(0.0, inner) / np.log(2.0)
        return cls(_softmax_edges(raw[:, :BINS]), _softmax_edges(raw[:, BINS : 2 * BINS]), slope)

    def _bin(self, edges: FloatArray, at: FloatArray) -> tuple[FloatArray, ...]:
        index = (at[:, None] >= edges[:, 1:-1]).sum(axis=1)
        flat = index + np.arange(len(at)) * (BINS + 1)
        x, y, slope = self.x.ravel(), self.y.ravel(), self.slope.ravel()
        return (
            x[flat],
            x[flat + 1] - x[flat],
            y[flat],
            y[flat + 1] - y[flat],
            slope[flat],
            slope[flat + 1],
        )

    def inverse(self, latent: FloatArray) -> FloatArray:
        """Return the scores (n,) of latents (n,)."""
        inside = np.abs(latent) < BOUND
        at = np.where(inside, latent, 0.0)
        x0, width, y0, height, d0, d1 = self._bin(self.y, at)
        secant = height / width
        rise = at - y0
        bend = d0 + d1 - 2 * secant
        a = height * (secant - d0) + rise * bend
        b = height * d0 - rise * bend
        c = -secant * rise
        root = np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))
        return np.where(inside, x0 + width * 2 * c / (-b - root), latent)

    def forward(self, score: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the latents (n,) of scores (n,), and the log of the slope there (n,)."""
        inside = np.abs(score) < BOUND
        at = np.where(inside, score, 0.0)
        x0, width, y0, height, d0, d1 = self._bin(self.x, at)
        secant = height / width
        t = (at - x0) / width
        tt = t * (1 - t)
        below = secant + (d0 + d1 - 2 * secant) * tt
        latent = y0 + height * (secant * t * t + d0 * tt) / below
        slope = secant**2 * (d1 * t * t + 2 * secant * tt + d0 * (1 - t) ** 2) / below**2
        return np.where(inside, latent, score), np.where(inside, np.log(slope), 0.0)
