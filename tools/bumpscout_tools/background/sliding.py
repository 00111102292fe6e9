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
from bumpscout_tools.background.dijet import DijetBasis
from bumpscout_tools.background.fit import checked_counts, fit_batch
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

        Raises:
            ConfigurationError: a window that is wider than the spectrum or too narrow for the fit.
            InputDataError: edges that do not rise between 0 and sqrt(s).
        """
        edges = np.asarray(edges_gev, dtype=np.float64)
        n_bins = edges.size - 1
        width = max(n_bins // 2, 3 * order) if window_bins is None else window_bins
        masked = 0 if masked_bins is None else 2 * masked_bins + 1
        if not order + 2 + masked <= width <= n_bins or masked < 0:
            raise ConfigurationError(
                f"A sliding window of {width} bins, {masked} of them masked, cannot hold a fit of "
                f"{order} parameters in a spectrum of {n_bins} bins: it needs {order + 2 + masked} "
                f"to {n_bins} bins."
            )
        scale = np.broadcast_to(np.asarray(weight, dtype=np.float64), n_bins)
        self.order = order
        self.window_bins = width
        self.masked_bins = masked_bins
        self.n_bins = n_bins
        self._starts = np.clip(np.arange(n_bins) - width // 2, 0, n_bins - width)
        self._bases = {
            int(start): DijetBasis(
                edges[start : start + width + 1],
                sqrt_s_gev,
                order,
                scale[start : start + width],
            )
            for start in np.unique(self._starts)
        }

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
