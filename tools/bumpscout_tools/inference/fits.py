"""Fits of a Gaussian peak on a background of the family, many at once, with named nuisances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from bumpscout_tools.background import BatchFit, fit_batch
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import InputDataError
from bumpscout_tools.inference import _kernels
from bumpscout_tools.inference.peaks import PeakGrid

__all__ = ["Nuisances", "PeakFits", "PeakModel", "checked_spectra"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Nuisances(BaseModel):
    """Uncertainties of the signal, each a nuisance with a Gaussian constraint; 0 switches one off.

    `luminosity` and `efficiency` multiply the yield by (1 + u)^a; both do so, hence they share one
    parameter with k^2 = ln^2(1 + u_lumi) + ln^2(1 + u_eff), which is exact. `mass_scale` moves the
    peak to m (1 + u a), `resolution` widens it by (1 + u)^a, and `spurious_signal` adds u a events
    of the signal's own shape: what another choice of the background function would call signal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    luminosity: float = Field(default=0.0, ge=0, lt=1)
    efficiency: float = Field(default=0.0, ge=0, lt=1)
    mass_scale: float = Field(default=0.0, ge=0, lt=0.2)
    resolution: float = Field(default=0.0, ge=0, lt=1)
    spurious_signal: float | tuple[float, ...] = 0.0
    """Events, one number or one a hypothesis."""

    def spreads(self, n_peaks: int) -> FloatArray:
        """Return (n_peaks, 4) as the kernels want them.

        Raises:
            InputDataError: spurious signals that are negative or not one a hypothesis.
        """
        spurious = np.asarray(self.spurious_signal, dtype=np.float64)
        if (spurious.ndim and spurious.shape != (n_peaks,)) or not np.all(spurious >= 0):
            raise InputDataError(
                f"The spurious signal must be one number of events >= 0, or one for each of the "
                f"{n_peaks} hypotheses, not an array of shape {spurious.shape}."
            )
        out = np.empty((n_peaks, _kernels.N_NUISANCES))
        out[:, 0] = np.hypot(np.log1p(self.luminosity), np.log1p(self.efficiency))
        out[:, 1] = self.mass_scale
        out[:, 2] = np.log1p(self.resolution)
        out[:, 3] = spurious
        return out


_NO_NUISANCES = Nuisances()


@dataclass(frozen=True, slots=True)
class PeakFits:
    """Fits of r pairs of a spectrum and a peak.

    `deviance` (r,) holds the constraints of the nuisances too; `signal` and `error` (r,) are events
    (the error from the expected information, infinite where the signal was held), `parameters`
    (r, order + 5) the coefficients, four nuisances (yield, mass scale, resolution, spurious
    signal) and the signal; `converged` (r,).
    """

    deviance: FloatArray
    signal: FloatArray
    error: FloatArray
    parameters: FloatArray
    converged: BoolArray


def checked_spectra(counts: ArrayLike, n_bins: int) -> FloatArray:
    """Return counts as a (t, b) array of float64.

    Raises:
        InputDataError: another number of bins, or counts that are negative or infinite.
    """
    n = np.atleast_2d(np.require(counts, np.float64, ["C"]))
    if n.ndim != 2 or n.shape[1] != n_bins:
        raise InputDataError(f"Counts of shape {n.shape} do not belong to {n_bins} bins.")
    if not np.all((n >= 0) & np.isfinite(n)):
        raise InputDataError("Counts must be finite and >= 0 to be fitted as Poisson counts.")
    return n


@dataclass(frozen=True)
class PeakModel:
    """Signal plus background: mu_i = B_i(theta) + y t_i; see the module of the kernels.

    The background is of one order of `basis`, fitted anew for each peak; the peaks are those of a
    grid. All bins are fitted.
    """

    basis: LogLinearBasis
    order: int
    peaks: PeakGrid
    nuisances: Nuisances = _NO_NUISANCES

    def background(self, counts: ArrayLike) -> BatchFit:
        """Fit the background alone to spectra (t, b)."""
        n = checked_spectra(counts, self.basis.n_bins)
        return fit_batch(np.array(n), self.basis, self.order)

    def templates(self) -> FloatArray:
        """Return (h, b) parts of the peaks in the bins."""
        return self.peaks.templates(self.basis.edges_gev)

    def fit(
        self,
        counts: FloatArray,
        row: IntArray,
        which: IntArray,
        start: FloatArray,
        *,
        signal: FloatArray | None = None,
        centres: FloatArray | None = None,
    ) -> PeakFits:
        """Fit pairs of a spectrum and a peak by Poisson maximum likelihood.

        Args:
            counts: (t, b) checked counts.
            row: (r,) index of the spectrum of each fit.
            which: (r,) index of its peak.
            start: (r, order) coefficients to start from, or (r, order + 5) all parameters.
            signal: (r,) events at which the signal is held; None fits it.
            centres: (r, 4) means of the constraints; None for 0.
        """
        n_fits, k = row.size, self.order
        p = np.zeros((n_fits, k + 5))
        p[:, : start.shape[1]] = start
        # A spectrum without events has coefficients of minus infinity: start it from nearly none.
        p[:, 0] = np.where(np.isfinite(p[:, 0]), p[:, 0], -20.0)
        if centres is not None:
            p[:, k : k + 4] = centres
            # A negative spurious signal over few events would start at a mean below zero.
            p[:, k + 3] = np.maximum(p[:, k + 3], 0.0)
        if signal is not None:
            p[:, k + 4] = signal
        deviance, error = np.empty(n_fits), np.empty(n_fits)
        status = np.empty(n_fits, dtype=np.int64)
        _kernels.fit_rows(
            counts,
            np.ascontiguousarray(row, dtype=np.int64),
            (
                np.ascontiguousarray(self.basis.nodes[:k]).reshape(k, -1),
                np.ascontiguousarray(self.basis.weights_gev).ravel(),
                np.array(self.basis.edges_gev),
            ),
            self.peaks.pairs(),
            np.ascontiguousarray(which, dtype=np.int64),
            self.nuisances.spreads(self.peaks.size),
            np.zeros((1, _kernels.N_NUISANCES)) if centres is None else centres,
            signal is not None,
            p,
            deviance,
            error,
            status,
        )
        return PeakFits(deviance, p[:, k + 4], error, p, status == _kernels.CONVERGED)
