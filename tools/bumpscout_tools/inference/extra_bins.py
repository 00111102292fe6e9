"""Spectra with bins that hold no data of the mass, so that peaks can be fitted as on any other.

The fits of peaks know one thing: bins, side by side, with a background whose logarithm is linear in
its parameters. Three kinds of bins say the rest in these terms:

- a *gap* takes the place of neighbouring bins that are excluded. Its normalisation is a parameter
  of its own, so that it fits exactly whatever stands in it, with a peak or without: it adds nothing
  to any deviance and knows nothing of a peak;
- a *guard* behind the last bin is a gap too. It catches the tail of peaks near the end where more
  bins follow;
- a *subsidiary measurement* holds a parameter by a count: a normalisation exp(theta) of relative
  uncertainty u is held by n events that expect n exp(c theta), with c = 1 / (ln(1 + u) sqrt(n)).
  For large n this is the log-normal constraint; toys draw the count anew, as they should.

A background that is known is then one whose only parameter is that of the guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background.basis import LogLinearBasis, Term
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference.peaks import PeakGrid

__all__ = ["ExtendedBasis", "PartGrid", "fixed_background", "with_gaps"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_SUBSIDIARY_EVENTS = 1e6
_FAR = 1e3
_LEAST_EXPECTED = 1e-9


class ExtendedBasis(LogLinearBasis):
    """A background on the used bins of a spectrum and on bins that hold no data.

    Attributes:
        bins: (k,) which bins of the spectrum the data are.
        data: (e,) bool, True where a bin of this basis holds data.
        extra: columns before those of the family: order N of that is order N + extra here.
    """

    def __init__(
        self,
        edges_gev: FloatArray,
        terms: Sequence[Term],
        *,
        name: str,
        weight: FloatArray,
        bins: IntArray,
        data: BoolArray,
        fill: FloatArray,
        extra: int,
    ) -> None:
        """Build the basis; see `with_gaps` and `fixed_background`.

        Args:
            edges_gev: (e + 1,) GeV.
            terms: of the logarithm, those of the extra bins first.
            name: of the family.
            weight: (e,) events per GeV that multiply the exponential.
            bins: see the class.
            data: see the class.
            fill: (e - k,) events in the bins that hold no data.
            extra: see the class.
        """
        super().__init__(edges_gev, terms, name=name, weight=weight)
        self.bins, self.data, self.extra = bins, data, extra
        self._fill = fill

    def extend(self, counts: ArrayLike) -> FloatArray:
        """Return counts or means (..., b) of the spectrum in the bins of this basis, (..., e)."""
        values = np.asarray(counts, dtype=np.float64)
        out = np.empty((*values.shape[:-1], self.n_bins))
        out[..., self.data] = values[..., self.bins]
        out[..., ~self.data] = self._fill
        return out


@dataclass(frozen=True, slots=True)
class PartGrid(PeakGrid):
    """Peaks of which only a part of the bins sees anything: `data` (e,), or None for all."""

    data: BoolArray | None = None

    @classmethod
    def of(cls, peaks: PeakGrid, which: ArrayLike, basis: LogLinearBasis) -> PartGrid:
        """Return those of the peaks that `which` chooses, on the bins of a basis."""
        at = np.asarray(which)
        data = basis.data if isinstance(basis, ExtendedBasis) else None
        return cls(peaks.mass_gev[at], peaks.width[at], peaks.sigma_gev[at], data)

    def templates(self, edges_gev: ArrayLike) -> FloatArray:
        """Return (h, e), the part of each peak in each bin that holds data."""
        out = PeakGrid.templates(self, edges_gev)
        if self.data is not None:
            out[:, ~self.data] = 0.0
        return out


def _inside(low: float, high: float) -> Term:
    def term(mass: FloatArray) -> FloatArray:
        return ((mass > low) & (mass < high)).astype(np.float64)

    return term


@dataclass(frozen=True, slots=True)
class _Merged:
    """Bins in which each run of excluded ones is one gap; `edges` (e + 1,), the rest (e,)."""

    edges: FloatArray
    first: IntArray
    data: BoolArray
    gaps: tuple[Term, ...]


def _merged(edges: FloatArray, excluded: BoolArray | None) -> _Merged:
    out = np.zeros(edges.size - 1, dtype=np.bool_) if excluded is None else excluded
    first = np.flatnonzero(~(out & np.append(False, out[:-1])))
    ends = np.append(edges[first], edges[-1])
    data = ~out[first]
    gaps = tuple(_inside(ends[i], ends[i + 1]) for i in np.flatnonzero(~data))
    return _Merged(ends, first, data, gaps)


def with_gaps(of: LogLinearBasis, excluded: BoolArray | None, events: float) -> LogLinearBasis:
    """Return a basis with a gap for each run of excluded bins; the basis itself without any.

    Args:
        of: the background on all bins.
        excluded: (b,) True where a bin is excluded, or None.
        events: in the used bins; a gap holds more, so that no peak ever wants all of it.
    """
    if excluded is None or not excluded.any():
        return of
    merged = _merged(of.edges_gev, excluded)
    weight = np.broadcast_to(of.weight, of.n_bins)[merged.first].copy()
    weight[~merged.data] = float(np.median(weight[merged.data]))
    one, *others = of._terms
    return ExtendedBasis(
        merged.edges,
        [one, *merged.gaps, *others],
        name=of.name,
        weight=weight,
        bins=merged.first[merged.data],
        data=merged.data,
        fill=np.full(len(merged.gaps), 4.0 * events + 1e4),
        extra=len(merged.gaps),
    )


def fixed_background(
    edges_gev: ArrayLike,
    expected: ArrayLike,
    uncertainty: float = 0.0,
    excluded: BoolArray | None = None,
) -> ExtendedBasis:
    """Return a known background, or one that is known up to a common factor.

    All columns of the basis are `extra`: it is to be fitted with order `max_order`.

    Args:
        edges_gev: (b + 1,) GeV.
        expected: (b,) events.
        uncertainty: relative, of the normalisation (log-normal); 0 for none.
        excluded: (b,) True where a bin is excluded, or None.

    Raises:
        ConfigurationError: an uncertainty that is not between 0 and 1.
    """
    if not 0 <= uncertainty < 1:
        raise ConfigurationError(
            f"The relative uncertainty of a background lies between 0 and 1, not {uncertainty}."
        )
    edges = np.asarray(edges_gev, dtype=np.float64)
    mu = np.maximum(np.asarray(expected, dtype=np.float64), _LEAST_EXPECTED)
    merged = _merged(edges, excluded)
    last = float(edges[-1])
    ends = [last * _FAR]
    many = 4.0 * float(mu.sum()) + 1e4
    terms: list[Term] = [_inside(last, last * _FAR), *merged.gaps]
    contents = np.append(np.where(merged.data, mu[merged.first], many), many)
    fill = [many] * (len(merged.gaps) + 1)
    if uncertainty > 0:
        ends.append(2.0 * last * _FAR)
        contents = np.append(contents, _SUBSIDIARY_EVENTS)
        fill.append(_SUBSIDIARY_EVENTS)
        slope = 1.0 / (np.log1p(uncertainty) * np.sqrt(_SUBSIDIARY_EVENTS))
        terms.append(_normalisation(last, last * _FAR, float(slope)))
    every = np.append(merged.edges, ends)
    data = np.append(merged.data, np.zeros(len(ends), dtype=np.bool_))
    return ExtendedBasis(
        every,
        terms,
        name="expected",
        weight=contents / np.diff(every),
        bins=merged.first[merged.data],
        data=data,
        fill=np.array(fill),
        extra=len(terms),
    )


def _normalisation(last: float, far: float, slope: float) -> Callable[[FloatArray], FloatArray]:
    def term(mass: FloatArray) -> FloatArray:
        return np.where(mass < last, 1.0, np.where(mass > far, slope, 0.0))

    return term
