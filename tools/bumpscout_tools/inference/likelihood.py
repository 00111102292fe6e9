"""Test statistics of limits and discoveries, on data and on Asimov data, for many peaks at once.

    qtilde(S) = D(S) - D(max(S_hat, 0))  for S_hat <= S, else 0        (arXiv:1007.1727, eq. 16)

with D the constrained deviance, minimised over background and nuisances. Asimov data are the
means of the null as fitted to the data, with the constraints of the nuisances moved to their fitted
values, as pyhf does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import FitError
from bumpscout_tools.inference._kernels import N_NUISANCES
from bumpscout_tools.inference.fits import PeakFits, PeakModel, checked_spectra

__all__ = ["PeakLikelihood"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PeakLikelihood:
    """One spectrum (1, b) and the fits that all test statistics need; made by `of`.

    `null` and `free` are fits of every peak with S = 0 and with S free.
    """

    model: PeakModel
    counts: FloatArray
    null: PeakFits
    free: PeakFits

    @classmethod
    def of(cls, model: PeakModel, counts: ArrayLike) -> PeakLikelihood:
        """Fit every peak of the model to one spectrum (b,).

        Raises:
            InputDataError: counts that do not belong to the bins.
            FitError: a spectrum without events, which fixes no background.
        """
        n = checked_spectra(counts, model.basis.n_bins)
        if n.sum() == 0:
            raise FitError(
                "A spectrum without events fixes no background to set limits with: give more data, "
                "or a background template."
            )
        start = np.repeat(model.background(n).coefficients, model.peaks.size, axis=0)
        at, row = np.arange(model.peaks.size), np.zeros(model.peaks.size, dtype=np.int64)
        null = model.fit(n, row, at, start, signal=np.zeros(at.size))
        free = model.fit(n, row, at, null.parameters)
        return cls(model, n, null, free)

    @property
    def centres(self) -> FloatArray:
        """Return the fitted nuisances of the null, (h, 4)."""
        k = self.model.order
        return np.ascontiguousarray(self.null.parameters[:, k : k + N_NUISANCES])

    def q_tilde(self, signal: FloatArray) -> FloatArray:
        """Return qtilde (h,) of the data at signals (h,) >= 0."""
        row = np.zeros(signal.size, dtype=np.int64)
        held = self.model.fit(
            self.counts, row, np.arange(signal.size), self.null.parameters, signal=signal
        )
        lowest = np.where(self.free.signal > 0, self.free.deviance, self.null.deviance)
        q = np.maximum(held.deviance - lowest, 0.0)
        return np.where(self.free.signal > signal, 0.0, q)

    def null_means(self) -> FloatArray:
        """Return the means (h, b) of the null of each peak."""
        return self.means(self.null.parameters)

    def means(self, parameters: FloatArray) -> FloatArray:
        """Return the means (h, b) for one row of parameters a peak, (h, order + 5)."""
        k, spreads = self.model.order, self.model.nuisances.spreads(self.model.peaks.size)
        theta, a, signal = parameters[:, :k], parameters[:, k : k + 4], parameters[:, k + 4]
        pairs = self.model.peaks
        moved = type(pairs)(
            pairs.mass_gev * np.maximum(1.0 + spreads[:, 1] * a[:, 1], 0.01),
            pairs.width,
            pairs.sigma_gev * np.exp(spreads[:, 2] * a[:, 2]),
        )
        total = signal * np.exp(spreads[:, 0] * a[:, 0]) + spreads[:, 3] * a[:, 3]
        mu = self.model.basis.expected(theta)
        means: FloatArray = mu + total[:, None] * moved.templates(self.model.basis.edges_gev)
        return np.maximum(means, 1e-300)

    def q_asimov(self, signal: FloatArray, asimov: FloatArray) -> FloatArray:
        """Return qtilde (h,) at signals (h,) of background-only Asimov data (h, b)."""
        at = np.arange(signal.size)
        held = self.model.fit(
            asimov, at, at, self.null.parameters, signal=signal, centres=self.centres
        )
        return np.maximum(held.deviance, 0.0)

    def q0_asimov(self, signal: FloatArray) -> FloatArray:
        """Return q0 (h,) of Asimov data that hold signals (h,)."""
        at = np.arange(signal.size)
        parameters = self.null.parameters.copy()
        parameters[:, -1] = signal
        held = self.model.fit(
            self.means(parameters),
            at,
            at,
            self.null.parameters,
            signal=np.zeros(signal.size),
            centres=self.centres,
        )
        return np.maximum(held.deviance, 0.0)
