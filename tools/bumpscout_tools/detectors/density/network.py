"""The autoregressive network: one small perceptron a coordinate, run in numpy.

Perceptron ``i`` sees the scores and atom flags of the coordinates before ``i``. It does *not* see
the mass: it returns, for each parameter of the coordinate's distribution, the coefficients of a
low polynomial in log mass. So whatever the network learns varies slowly with the mass, and a
narrow resonance cannot be described, only smeared over the whole spectrum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.density.spline import PARAMETERS

__all__ = ["MAX_LOG_SCALE", "OUTPUTS", "Network", "Progress", "input_mask"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]  # epochs done, epochs at most

OUTPUTS = PARAMETERS + 3  # shift, log scale, spline, logit of the atom
MAX_LOG_SCALE = 3.0


def input_mask(size: int) -> Float32Array:
    """Return (size, 2 * size): which scores and atom flags each coordinate may see."""
    before = np.tril(np.ones((size, size), dtype=np.float32), k=-1)
    return np.concatenate([before, before], axis=1)


@dataclass(frozen=True)
class Network:
    """Weights of the perceptrons of all q coordinates.

    Attributes:
        arrays: w1 (q, 2q, h), b1 (q, 1, h), w2 (q, h, h), b2 (q, 1, h),
            w3 (q, h, (degree + 1) * OUTPUTS), b3 (q, 1, (degree + 1) * OUTPUTS).
    """

    arrays: tuple[Float32Array, ...]

    def parameters(self, coordinate: int, inputs: Float32Array, basis: FloatArray) -> FloatArray:
        """Return the distribution's parameters (n, OUTPUTS) of one coordinate.

        Args:
            coordinate: its index.
            inputs: (n, 2q) scores and atom flags; those of later coordinates are not read.
            basis: (n, degree + 1) mass polynomials; those beyond the degree of the network are
                not read.
        """
        w1, b1, w2, b2, w3, b3 = (array[coordinate] for array in self.arrays)
        powers = w3.shape[1] // OUTPUTS
        if coordinate == 0:
            hidden = _silu(b1)
        else:
            size = inputs.shape[1] // 2
            seen = np.r_[0:coordinate, size : size + coordinate]
            hidden = _silu(inputs[:, seen] @ w1[seen] + b1)
        hidden = _silu(hidden @ w2 + b2)
        raw = (hidden @ w3 + b3).reshape(len(hidden), powers, OUTPUTS)
        total = np.zeros((len(basis), OUTPUTS))
        for power in range(powers):
            total += raw[:, power] * basis[:, power, None]
        np.clip(total[:, 1], -MAX_LOG_SCALE, MAX_LOG_SCALE, out=total[:, 1])
        return total


def _silu(x: Float32Array) -> Float32Array:
    """Return x * sigmoid(x)."""
    with np.errstate(over="ignore"):
        return np.asarray(x / (np.float32(1.0) + np.exp(-x)), dtype=np.float32)
