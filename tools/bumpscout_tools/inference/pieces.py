"""Peaks on a spectrum whose background is one function, is known, or slides along with the mass.

A *piece* is the part of a spectrum that a peak is fitted in, with the background that is fitted
along with it. A function over the whole spectrum, or a background that is known, makes one piece
for all peaks. A sliding window makes one for each position of the window, and each peak is fitted
in the window around its mass (as ATLAS did with SWiFt, arXiv:1703.09127). Excluded bins are
`extra_bins` of the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background import Model, Spectrum, basis_of_form, fit_batch
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.dijet import MAX_ORDER
from bumpscout_tools.background.forms import FORMS, TemplateBasis
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference.extra_bins import (
    ExtendedBasis,
    PartGrid,
    fixed_background,
    with_gaps,
)
from bumpscout_tools.inference.peaks import PeakGrid

__all__ = ["Piece", "gather", "peaks_of", "pieces_of"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_LEAST_IN_WINDOW = 0.68


@dataclass(frozen=True, slots=True)
class Piece:
    """Some peaks, and the bins and the background that they are fitted with.

    `counts` (e,) in the bins of `basis`; `order` the parameters of the fit and `orders` those it
    was chosen from; `index` (h,) the places of the peaks among all of them; `bins` (k,) the bins
    of the spectrum that are data here; `rival` (e,) what another background function, fitted to
    the same data, expects, or None.
    """

    basis: LogLinearBasis
    order: int
    orders: tuple[int, ...]
    counts: FloatArray
    peaks: PartGrid
    index: IntArray
    bins: IntArray
    rival: FloatArray | None

    def of_spectrum(self, counts: FloatArray) -> FloatArray:
        """Return counts (t, b) of whole spectra in the bins of this piece, (t, e)."""
        part = counts[:, int(self.bins[0]) : int(self.bins[-1]) + 1]
        if isinstance(self.basis, ExtendedBasis):
            return self.basis.extend(part)
        return np.ascontiguousarray(part)

    @property
    def data(self) -> BoolArray:
        """Which bins of the basis hold data, (e,)."""
        if isinstance(self.basis, ExtendedBasis):
            return self.basis.data
        return np.ones(self.basis.n_bins, dtype=np.bool_)


def pieces_of(
    spectrum: Spectrum,
    model: Model,
    order: int,
    peaks: PeakGrid,
    sqrt_s_gev: float,
    background_uncertainty: float = 0.0,
) -> tuple[Piece, ...]:
    """Return the pieces of a spectrum for a background.

    Args:
        spectrum: counts, with excluded bins.
        model: from `model_of_used_bins` on it.
        order: that the model chose for the data; ignored where it has none.
        peaks: the hypotheses; those wider than their sliding window are in no piece.
        sqrt_s_gev: collision energy, GeV.
        background_uncertainty: relative, of the normalisation of a given background.

    Raises:
        ConfigurationError: an uncertainty for a background that is fitted.
        FitError: too few bins for the background.
    """
    if background_uncertainty > 0 and model.fitted:
        raise ConfigurationError(
            f"The background {model.name!r} is fitted to the data, which say how uncertain it is: "
            "an uncertainty of the background belongs to `expected`."
        )
    if model.sliding is not None:
        return _windows(spectrum, model, peaks, sqrt_s_gev)
    every = np.arange(peaks.size)
    if not model.fitted and spectrum.expected is not None:
        fixed = fixed_background(
            spectrum.edges, spectrum.expected, background_uncertainty, spectrum.excluded
        )
        top = fixed.max_order
        return (_piece(spectrum, fixed, top, (top,), peaks, every, spectrum.used, None),)
    whole, rival = _function(spectrum, model, order, sqrt_s_gev)
    events = float(spectrum.counts.sum())
    basis = with_gaps(whole, spectrum.excluded, events)
    extra = basis.extra if isinstance(basis, ExtendedBasis) else 0
    shifted = tuple(one + extra for one in model.orders)
    alone = _piece(
        spectrum, basis, order + extra, shifted, peaks, every, spectrum.used, order + extra + 1
    )
    if rival is not None:
        other = with_gaps(rival, spectrum.excluded, events)
        return (replace(alone, rival=_expected(other, alone.counts, order + extra)),)
    return (alone,)


def _function(
    spectrum: Spectrum, model: Model, order: int, sqrt_s_gev: float
) -> tuple[LogLinearBasis, LogLinearBasis | None]:
    """Return the basis on all bins, if it can with one order more, and a rival of another family.

    The dijet family is its own rival, with one parameter more; that of a form is the dijet family.
    """
    basis = model.basis
    if basis is None:
        raise ConfigurationError(
            f"The background {model.name!r} is no function that can be fitted with a signal."
        )
    edges = spectrum.edges
    if basis.name == "dijet":
        top = max(model.orders[-1], min(order + 1, MAX_ORDER))
        while top > model.orders[-1] and top + 1 > spectrum.used.size:
            top -= 1
        return basis_of_form("dijet", edges, sqrt_s_gev, top), None
    if basis.name in FORMS:
        rival = basis_of_form("dijet", edges, sqrt_s_gev, max(order, 2))
        return basis_of_form(basis.name, edges, sqrt_s_gev, order), rival
    if spectrum.expected is None:
        raise ConfigurationError(f"The background {model.name!r} needs a column `expected`.")
    return TemplateBasis(edges, np.maximum(spectrum.expected, 1e-9)), None


def _expected(basis: LogLinearBasis, counts: FloatArray, order: int) -> FloatArray | None:
    fits = fit_batch(np.atleast_2d(counts), basis, order)
    return fits.expected[0] if fits.converged[0] else None


def _piece(
    spectrum: Spectrum,
    basis: LogLinearBasis,
    order: int,
    orders: tuple[int, ...],
    peaks: PeakGrid,
    which: IntArray,
    bins: IntArray,
    rival_order: int | None,
) -> Piece:
    first = int(bins[0])
    part = spectrum.counts[first : int(bins[-1]) + 1]
    if isinstance(basis, ExtendedBasis):
        counts = basis.extend(part)
    else:
        counts = np.ascontiguousarray(part)
    rival = None
    if rival_order is not None and basis.name == "dijet" and rival_order <= basis.max_order:
        rival = _expected(basis, counts, rival_order)
    grid = PartGrid.of(peaks, which, basis)
    return Piece(basis, order, orders, counts, grid, which, bins, rival)


def _windows(
    spectrum: Spectrum, model: Model, peaks: PeakGrid, sqrt_s_gev: float
) -> tuple[Piece, ...]:
    sliding = model.sliding
    if sliding is None:
        return ()
    used, edges, n = spectrum.used, spectrum.edges, spectrum.counts
    width, order = sliding.window_bins, sliding.order
    inside = np.searchsorted(edges, peaks.mass_gev, "right") - 1
    at = np.minimum(np.searchsorted(used, inside), used.size - 1)
    start = sliding.starts[at]
    templates = peaks.templates(edges)
    pieces: list[Piece] = []
    for one in np.unique(start):
        bins = used[one : one + width]
        which = np.flatnonzero(start == one)
        seen = templates[which][:, bins].sum(axis=1)
        which = which[seen >= _LEAST_IN_WINDOW * templates[which].sum(axis=1)]
        if which.size == 0:
            continue
        first, last = int(bins[0]), int(bins[-1]) + 1
        top = min(order + 1, MAX_ORDER)
        whole = basis_of_form("dijet", edges[first : last + 1], sqrt_s_gev, top)
        hidden = None if spectrum.excluded is None else spectrum.excluded[first:last]
        basis = with_gaps(whole, hidden, float(n[bins].sum()))
        extra = basis.extra if isinstance(basis, ExtendedBasis) else 0
        pieces.append(
            _piece(
                spectrum,
                basis,
                order + extra,
                (order + extra,),
                peaks,
                which,
                bins,
                order + extra + 1,
            )
        )
    if not pieces:
        raise ConfigurationError(
            f"Every peak is wider than the sliding window of {width} bins around it: widen it with "
            "--window-bins, or choose narrower signals."
        )
    kept = np.sort(np.concatenate([piece.index for piece in pieces]))
    return tuple(replace(one, index=np.searchsorted(kept, one.index)) for one in pieces)


def peaks_of(pieces: Sequence[Piece]) -> PeakGrid:
    """Return the peaks of all pieces, in their order."""
    return PeakGrid(
        gather(pieces, [piece.peaks.mass_gev for piece in pieces]),
        gather(pieces, [piece.peaks.width for piece in pieces]),
        gather(pieces, [piece.peaks.sigma_gev for piece in pieces]),
    )


def gather(pieces: Sequence[Piece], parts: Sequence[FloatArray]) -> FloatArray:
    """Return one array (h, ...) of all peaks from those of the pieces."""
    out = np.empty(
        (sum(piece.peaks.size for piece in pieces), *parts[0].shape[1:]), dtype=parts[0].dtype
    )
    for piece, part in zip(pieces, parts, strict=True):
        out[piece.index] = part
    return out
