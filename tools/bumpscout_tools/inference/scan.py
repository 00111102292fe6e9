"""Scan of Gaussian peaks over mass and width: profile likelihood of signal plus background.

For each peak the signal S and the background are fitted together, and

    q0 = D(S = 0) - D(S_hat),    z = sign(S_hat) sqrt(q0)

with D the deviance, so that the p-value of one peak is the normal tail above z (Wilks; G. Cowan,
K. Cranmer, E. Gross, O. Vitells, arXiv:1007.1727, eq. 12 and 52). S may be negative as far as the
total stays above 0: deficits have a negative z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.inference.fits import PeakModel, checked_spectra
from bumpscout_tools.inference.peaks import PeakGrid

__all__ = ["PeakScan", "PeakScans", "scan_peaks", "scan_peaks_batch"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_ROWS_AT_ONCE = 200_000


@dataclass(frozen=True, slots=True)
class PeakScans:
    """Scans of many spectra: `z`, `signal`, `error` and `converged`, each (t, h).

    `z` is signed; `signal` and `error` in events of the whole peak.
    """

    z: FloatArray
    signal: FloatArray
    error: FloatArray
    converged: BoolArray

    def best(self) -> FloatArray:
        """Return the largest z of each spectrum, (t,)."""
        best: FloatArray = self.z.max(axis=1)
        return best


@dataclass(frozen=True, slots=True)
class PeakScan:
    """Scan of one spectrum; arrays (h,) in the order of `peaks`.

    `q0` is 0 where the best signal is negative (arXiv:1007.1727, eq. 12); `z` keeps the sign.
    `expected` (b,) and `coefficients` are the background-only fit.
    """

    peaks: PeakGrid
    q0: FloatArray
    z: FloatArray
    signal: FloatArray
    error: FloatArray
    converged: BoolArray
    expected: FloatArray
    coefficients: FloatArray

    @property
    def best(self) -> int:
        """Index of the most significant excess."""
        return int(np.argmax(self.z))


def scan_peaks_batch(
    counts: ArrayLike, basis: LogLinearBasis, order: int, peaks: PeakGrid
) -> PeakScans:
    """Scan many spectra, each with its own background fit.

    Args:
        counts: (t, b) events.
        basis: the background family on the bins.
        order: number of its parameters.
        peaks: the hypotheses.

    Raises:
        InputDataError: counts that do not belong to the bins.
        FitError: an order that the basis does not hold.
    """
    n = checked_spectra(counts, basis.n_bins)
    model = PeakModel(basis, order, peaks)
    null = model.background(n)
    n_rows, n_peaks = n.shape[0], peaks.size
    z, signal = np.empty((n_rows, n_peaks)), np.empty((n_rows, n_peaks))
    error = np.empty((n_rows, n_peaks))
    converged = np.empty((n_rows, n_peaks), dtype=np.bool_)
    step = max(1, _ROWS_AT_ONCE // n_peaks)
    for first in range(0, n_rows, step):
        part = slice(first, min(first + step, n_rows))
        size = part.stop - part.start
        # Peak by peak, so that each template is integrated once.
        row = np.tile(np.arange(part.start, part.stop), n_peaks)
        which = np.repeat(np.arange(n_peaks), size)
        fits = model.fit(n, row, which, null.coefficients[row])
        fall = np.maximum(null.deviance[row] - fits.deviance, 0.0)
        z[part] = (np.sign(fits.signal) * np.sqrt(fall)).reshape(n_peaks, size).T
        signal[part] = fits.signal.reshape(n_peaks, size).T
        error[part] = fits.error.reshape(n_peaks, size).T
        converged[part] = fits.converged.reshape(n_peaks, size).T
    empty = n.sum(axis=1) == 0
    z[empty], signal[empty] = 0.0, 0.0
    converged &= (null.converged | empty)[:, None]
    return PeakScans(z, signal, error, converged)


def scan_peaks(counts: ArrayLike, basis: LogLinearBasis, order: int, peaks: PeakGrid) -> PeakScan:
    """Scan one spectrum; counts (b,), the rest as `scan_peaks_batch`."""
    n = checked_spectra(counts, basis.n_bins)
    many = scan_peaks_batch(n, basis, order, peaks)
    null = PeakModel(basis, order, peaks).background(n)
    z = many.z[0]
    return PeakScan(
        peaks=peaks,
        q0=np.maximum(z, 0.0) ** 2,
        z=z,
        signal=many.signal[0],
        error=many.error[0],
        converged=many.converged[0],
        expected=null.expected[0],
        coefficients=null.coefficients[0],
    )
