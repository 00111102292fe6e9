"""Sliding-window fit: the background of each bin from a fit to its neighbourhood.

As in SWiFt, the method of ATLAS' dijet searches at high luminosity (arXiv:1703.09127, 1910.08447):
where no function of few parameters describes the whole spectrum, it still describes a part of it.
Around each bin a window of fixed width is fitted, at the ends the window stays within the spectrum,
and the fit's value in that bin is the background. A signal leaks into it unless the middle of the
window is masked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background import _kernels
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.dijet import DijetBasis
from bumpscout_tools.background.fit import checked_counts, fit_batch
from bumpscout_tools.background.part import PartBasis
from bumpscout_tools.errors import ConfigurationError

__all__ = ["SlidingFit"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class SlidingFit:
    """A sliding-window fit of one order of the dijet family on the bins of one spectrum.

    Attributes:
        order: parameters of each window's fit.
        window_bins: bins of a window.
        masked_bins: bins on either side of the bin in question that its fit leaves out together
            with that bin; None where nothing is masked.
    """

    def __init__(
        self,
        edges_gev: ArrayLike,
        sqrt_s_gev: float,
        order: int = 4,
        window_bins: int | None = None,
        masked_bins: int | None = None,
        weight: ArrayLike = 1.0,
        excluded: ArrayLike | None = None,
    ) -> None:
        """Prepare the windows.

        Args:
            edges_gev: (b + 1,) rising edges of the bins, GeV.
            sqrt_s_gev: collision energy, GeV.
            order: parameters of each window's fit.
            window_bins: bins of a window; None for half of the spectrum, 3 bins a parameter at
                least.
            masked_bins: None fits the whole window; k leaves out the bin and k neighbours each way.
            weight: (b,) or one number, see `LogLinearBasis`.
            excluded: (b,) bool, True where a bin takes no part: windows, counts and means are then
                those of the bins that are left.

        Raises:
            ConfigurationError: a window that is wider than the spectrum or too narrow for the fit.
            InputDataError: edges that do not rise between 0 and sqrt(s).
        """
        edges = np.asarray(edges_gev, dtype=np.float64)
        hidden = np.zeros(edges.size - 1, dtype=np.bool_) if excluded is None else excluded
        used = np.flatnonzero(~np.asarray(hidden))
        n_bins = int(used.size)
        width = max(n_bins // 2, 3 * order) if window_bins is None else window_bins
        masked = 0 if masked_bins is None else 2 * masked_bins + 1
        if not order + 2 + masked <= width <= n_bins or masked < 0:
            raise ConfigurationError(
                f"A sliding window of {width} bins, {masked} of them masked, cannot hold a fit of "
                f"{order} parameters in a spectrum of {n_bins} bins: it needs {order + 2 + masked} "
                f"to {n_bins} bins."
            )
        scale = np.broadcast_to(np.asarray(weight, dtype=np.float64), edges.size - 1)
        self.order = order
        self.window_bins = width
        self.masked_bins = masked_bins
        self.n_bins = n_bins
        self._used = used
        self._starts = np.clip(np.arange(n_bins) - width // 2, 0, n_bins - width)
        self._whole: dict[int, DijetBasis] = {}
        self._bases: dict[int, LogLinearBasis] = {}
        for start in map(int, np.unique(self._starts)):
            first, last = int(used[start]), int(used[start + width - 1]) + 1
            whole = DijetBasis(edges[first : last + 1], sqrt_s_gev, order, scale[first:last])
            self._whole[start] = whole
            inside = used[start : start + width] - first
            self._bases[start] = whole if last - first == width else PartBasis(whole, inside)

    @property
    def starts(self) -> IntArray:
        """First bin (b,) of the window around each bin, among the bins that are left."""
        return self._starts.astype(np.int64)

    def everywhere(self, counts: ArrayLike) -> FloatArray:
        """Return the background of one spectrum in all bins of the edges, also those left out.

        A bin that is excluded takes its value from the window around the first bin used behind it.

        Args:
            counts: (k,) events in the bins that are left.
        """
        n = np.atleast_2d(np.asarray(counts, dtype=np.float64))
        every = np.arange(int(self._used[-1]) + 1)
        behind = np.minimum(np.searchsorted(self._used, every), self.n_bins - 1)
        out = np.empty(every.size)
        for start in np.unique(self._starts):
            fits = fit_batch(n[:, start : start + self.window_bins], self._bases[int(start)],
                             self.order)  # fmt: skip
            mu = self._whole[int(start)].expected(fits.coefficients[0])
            here = self._starts[behind] == start
            out[here] = mu[every[here] - self._used[start]]
        return out

    def expected_batch(self, counts: ArrayLike) -> tuple[FloatArray, FloatArray, IntArray]:
        """Fit many spectra.

        Args:
            counts: (t, b) events.

        Returns:
            expected events (t, b); the deviance of all bins (t,); how many windows of each
            spectrum had no finite optimum (t,).

        Raises:
            InputDataError: counts of the wrong shape, negative or infinite.
        """
        n = np.require(counts, np.float64, ["C", "W"])
        expected = np.empty(n.shape)
        failed = np.zeros(n.shape[0], dtype=np.int64)
        whole: FloatArray | None = None
        last_start = -1
        for i, start in enumerate(self._starts):
            basis = self._bases[int(start)]
            part = np.ascontiguousarray(n[:, start : start + self.window_bins])
            checked_counts(part, basis, (self.order,))
            if self.masked_bins is None and start == last_start and whole is not None:
                expected[:, i] = whole[:, i - start]
                continue
            one = fit_batch(part, basis, self.order, self._mask(i, int(start)))
            whole, last_start = one.expected, int(start)
            expected[:, i] = one.expected[:, i - start]
            failed += one.status != _kernels.CONVERGED
        ratio = np.where(n > 0, n, 1.0) / np.maximum(expected, 1e-300)
        deviance = 2.0 * np.sum(n * np.log(ratio) - (n - expected), axis=1)
        return expected, np.maximum(deviance, 0.0), failed

    def effective_parameters(self, expected: ArrayLike) -> float:
        """Return how many parameters the fit has in effect: the sum of each bin's pull on itself.

        Args:
            expected: (b,) fitted means.
        """
        mu = np.asarray(expected, dtype=np.float64)
        total = 0.0
        for i, start in enumerate(self._starts):
            basis = self._bases[int(start)]
            part = slice(int(start), int(start) + self.window_bins)
            weights = basis.weights_gev / basis.weights_gev.sum(axis=0)
            terms = (basis.nodes * weights).sum(axis=1)
            mask = self._mask(i, int(start))
            if mask is None:
                information = (terms * mu[part]) @ terms.T
                at = terms[:, i - start]
                total += float(mu[i] * at @ np.linalg.pinv(information) @ at)
        return total

    def _mask(self, at: int, start: int) -> NDArray[np.bool_] | None:
        if self.masked_bins is None:
            return None
        bins = np.arange(start, start + self.window_bins)
        mask: NDArray[np.bool_] = np.abs(bins - at) <= self.masked_bins
        return mask
