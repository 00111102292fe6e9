"""A background's basis on some of the bins of a spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import FitError

__all__ = ["PartBasis"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PartBasis(LogLinearBasis):
    """A basis on some of its bins; everything it gives has one entry for each of these.

    Attributes:
        whole: the basis on all bins.
        used: (k,) rising indices of the bins that are left.
    """

    def __init__(
        self, whole: LogLinearBasis, used: ArrayLike, max_order: int | None = None
    ) -> None:
        """Restrict a basis.

        Args:
            whole: the basis on all bins.
            used: (k,) rising indices of the bins that are left.
            max_order: number of columns that are kept; None for all.

        Raises:
            FitError: fewer bins left than columns + 1.
        """
        index = np.asarray(used, dtype=np.int64)
        top = whole.max_order if max_order is None else max_order
        if index.size < top + 1:
            raise FitError(
                f"{index.size} bins are left outside of the excluded ranges: too few for a "
                f"{whole.name} function of order {top}. Exclude less or lower the order."
            )
        self.whole = whole
        self.used: IntArray = index
        self.name = whole.name
        self.edges_gev = whole.edges_gev
        self.max_order = top
        self.weight = whole.weight if whole.weight.ndim == 0 else whole.weight[index]
        self.nodes = np.ascontiguousarray(whole.nodes[:top, :, index])
        self.weights_gev = np.ascontiguousarray(whole.weights_gev[:, index])
        self._terms, self._signs, self._to_raw = whole._terms, whole._signs, whole._to_raw

    @property
    def n_bins(self) -> int:
        """Number of bins that are left."""
        return int(self.used.size)

    def integral_error(self, coefficients: ArrayLike) -> FloatArray:
        """Return the relative error (k,) of the bin integrals, as `LogLinearBasis` does."""
        error: FloatArray = self.whole.integral_error(coefficients)[self.used]
        return error

    def __reduce__(self) -> tuple[type[PartBasis], tuple[object, ...]]:
        """Return what builds the same basis again, for copies in other processes."""
        return PartBasis, (self.whole, self.used, self.max_order)
