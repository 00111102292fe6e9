"""Event-level toys of many spectra and nested working points that are made from the same events.

Events that fall into the same bin of every spectrum and pass the same thresholds are one *cell*; a
toy draws a Poisson number of events for each cell. Counts of each spectrum are Poisson, and counts
of different spectra and working points share the events that the data share. All books are kept in
*slices*, events between two consecutive working points: nested selections are their sums.

Which mean a toy has decides what it stands for:

- `EventToys.from_events(...)`: the data. Toys are bootstraps, *with a signal if the data hold one*,
  and fluctuations of the data enter a second time: no null.
- `toys.on_null(expected)`: each event keeps its quantile in each of its slices, and lies where the
  fitted mean has this quantile. Counts are Poisson with the fitted means exactly, and events are
  shared as in the data also where most bins of a slice are empty: use them by default.
- `recentre(bootstraps, observed, expected)`: n_boot - n_data + fit, for bins with many events; its
  fractional counts suit fits, not Poisson probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.inference import _cells
from bumpscout_tools.inference._compress import compress

__all__ = ["TOYS_AT_ONCE", "EventToys", "levels_by_rank", "recentre"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CountArray = NDArray[np.int32]

TOYS_AT_ONCE = 16
"""Toys that are drawn together: their counts of one bin fill one line of the cache."""


@dataclass(frozen=True, eq=False)
class EventToys:
    """Cells of events; made by `from_events`, moved to the null by `on_null`.

    A *column* is one bin of one slice of one spectrum, in this order. `mean` (c,) events of each
    cell, `size` (c,) events of the data that it stands for; `start` (c + 1,), `column` and `rank`
    (e,) its entries as the kernels want them; `slices` (columns,) the mean counts, `reach` and
    `keep` (columns,) where quantiles lie. `n_bins` (K,) of each spectrum. Working points run from
    the loosest, 0, to the tightest, `n_levels` - 1; an event of level l passes all up to l.
    """

    mean: FloatArray
    size: FloatArray
    start: IntArray
    column: CountArray
    rank: CountArray
    slices: FloatArray
    reach: FloatArray
    keep: FloatArray
    n_bins: tuple[int, ...]
    n_levels: int

    @classmethod
    def from_events(
        cls, bins: ArrayLike, levels: ArrayLike, n_bins: Sequence[int], n_levels: int
    ) -> EventToys:
        """Compress events into cells.

        Args:
            bins: (n, K) the bin of each event in each spectrum, -1 where it lies in none; any
                whole-number type (int16 saves memory).
            levels: (n,) the tightest working point that each event passes, -1 for none; or (n, K)
                where each spectrum has its own score. See `levels_by_rank`.
            n_bins: bins of each spectrum.
            n_levels: number of working points.

        Raises:
            InputDataError: bins or levels of the wrong shape or range.
        """
        at, level = np.atleast_2d(np.asarray(bins)), np.asarray(levels)
        size = np.asarray(n_bins, dtype=np.int64)
        if level.shape == at.shape[:1]:
            level = np.broadcast_to(level[:, None], at.shape)
        if at.ndim != 2 or at.shape[1] != size.size or level.shape != at.shape:
            raise InputDataError(
                f"Bins of shape {at.shape} and levels of shape {level.shape} do not describe "
                f"events in {size.size} spectra."
            )
        for s in range(size.size):
            a, b = at[:, s], level[:, s]
            if np.any((a < -1) | (a >= size[s])) or np.any((b < -1) | (b >= n_levels)):
                raise InputDataError(
                    "The bin of an event, or its working point, lies beyond the last one: mark "
                    "events that are in no bin, or pass no threshold, with -1."
                )
        start, column, counts = compress(at, level, size, n_levels)
        total = int(size.sum()) * n_levels
        slices = np.bincount(column, np.repeat(counts, np.diff(start)), total).astype(np.float64)
        data = cls(
            mean=counts,
            size=counts,
            start=start,
            column=column,
            rank=np.zeros(column.size, dtype=np.int32),
            slices=slices,
            reach=np.empty(0),
            keep=np.empty(0),
            n_bins=tuple(int(one) for one in size),
            n_levels=int(n_levels),
        )
        return data._placed(data._ranks(), slices)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.mean.size)

    @property
    def first_columns(self) -> IntArray:
        """Return the first column of each spectrum, (K + 1,), ending with the number of columns."""
        first: IntArray = np.cumsum([0, *self.n_bins]) * self.n_levels
        return first

    def _slice_of(self) -> IntArray:
        """Return the slice of each column, (columns,), numbered spectrum by spectrum."""
        slices = np.arange(len(self.n_bins) * self.n_levels)
        return np.repeat(slices, np.repeat(self.n_bins, self.n_levels))

    def _ranks(self) -> CountArray:
        """Return how many events of its slice lie before each entry, in rising bins and cells."""
        order = np.argsort(self.column, kind="stable")
        sizes = np.repeat(self.size, np.diff(self.start))[order]
        before = np.cumsum(sizes) - sizes
        which = self._slice_of()[self.column[order]]
        new = np.flatnonzero(np.diff(which, prepend=-1))
        at_start = np.repeat(before[new], np.diff(np.append(new, which.size)))
        rank = np.empty(order.size, dtype=np.int32)
        rank[order] = before - at_start
        return rank

    def _placed(self, rank: CountArray, target: FloatArray) -> EventToys:
        """Return the cells of the data with the means `target` (columns,) of the slices."""
        which = self._slice_of()
        n_slices = len(self.n_bins) * self.n_levels
        events = np.bincount(which, self.slices, n_slices)
        wanted = np.bincount(which, target, n_slices)
        scale = np.maximum(events, 1.0)
        first = self.first_columns
        reach = np.empty(target.size)
        column = np.empty_like(self.column)
        spectrum = np.searchsorted(first, self.column, side="right") - 1
        for s, n in enumerate(self.n_bins):
            own = slice(s * self.n_levels, (s + 1) * self.n_levels)
            part = slice(int(first[s]), int(first[s + 1]))
            sums = np.cumsum(target[part].reshape(self.n_levels, n), axis=1)
            whole = sums[:, -1:]
            # Whole numbers stay exact, so that bootstraps of the data stay in their bins.
            ends = np.where(
                whole == events[own, None],
                sums,
                sums
                * np.divide(scale[own, None], whole, out=np.zeros_like(whole), where=whole > 0),
            )
            # Beyond the last bin that expects anything no event can lie.
            ends[sums >= whole] = np.inf
            reach[part] = ends.ravel()
            entry = np.flatnonzero(spectrum == s)
            level = (self.column[entry] - first[s]) // n
            step = 2.0 * float(scale[own].max()) + 1.0
            key = (np.minimum(ends, step - 1.0) + step * np.arange(self.n_levels)[:, None]).ravel()
            column[entry] = first[s] + np.searchsorted(
                key, level * step + rank[entry], side="right"
            )
        keep = np.minimum(np.divide(wanted, events, out=np.ones(n_slices), where=events > 0), 1.0)
        extra = np.flatnonzero(wanted > events * (1.0 + 1e-9))
        begin = np.flatnonzero(np.diff(which, prepend=-1))
        one = np.arange(1, extra.size + 1) + self.start[-1]
        return replace(
            self,
            mean=np.concatenate([self.mean, wanted[extra] - events[extra]]),
            size=np.concatenate([self.size, scale[extra]]),
            start=np.concatenate([self.start, one]),
            column=np.concatenate([column, begin[extra].astype(np.int32)]),
            rank=np.concatenate([rank, np.zeros(extra.size, dtype=np.int32)]),
            slices=target,
            reach=reach,
            keep=keep[which],
        )

    def nested(self, flat: NDArray[np.generic], spectrum: int) -> FloatArray:
        """Return counts (t, W, b) of a spectrum, from the columns (columns, t) of all slices."""
        first = self.first_columns
        part = flat[first[spectrum] : first[spectrum + 1]].T.astype(np.float64)
        part = part.reshape(-1, self.n_levels, self.n_bins[spectrum])
        return np.ascontiguousarray(np.cumsum(part[:, ::-1], axis=1)[:, ::-1])

    def expected(self) -> tuple[FloatArray, ...]:
        """Return the mean counts (W, b) of each spectrum; the data's own for `from_events`."""
        flat = self.slices[:, None]
        return tuple(self.nested(flat, s)[0] for s in range(len(self.n_bins)))

    def draw_slices(self, rng: np.random.Generator, n: int) -> CountArray:
        """Draw n toys: counts (columns, n) of all slices."""
        out = np.zeros((self.slices.size, n), dtype=np.int32)
        none = np.exp(-self.mean)
        for first in range(0, n, TOYS_AT_ONCE):
            part = out if n <= TOYS_AT_ONCE else np.zeros_like(out[:, first : first + TOYS_AT_ONCE])
            _cells.draw(rng, self.mean, none, self.size, *self._entries, self.keep, part)
            if part is not out:
                out[:, first : first + TOYS_AT_ONCE] = part
        return out

    def draw(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, ...]:
        """Draw n toys: counts (n, W, b) of each spectrum, whole numbers."""
        flat = self.draw_slices(rng, n)
        return tuple(self.nested(flat, s) for s in range(len(self.n_bins)))

    def draw_tilted(
        self, rng: np.random.Generator, log_ratio: FloatArray, spectrum: int, level: int
    ) -> CountArray:
        """Draw the slices (columns,) of one toy that fluctuates in one spectrum.

        Args:
            rng: random numbers.
            log_ratio: (b,) logarithm of how many times the mean each bin expects, for the events
                that pass working point `level`.
            spectrum: where.
            level: the working point.
        """
        factor = np.tile(np.exp(log_ratio), self.n_levels - level)
        first = int(self.first_columns[spectrum]) + level * self.n_bins[spectrum]
        bound = np.empty(self.mean.size)
        _cells.bounds(factor, first, self.size, *self._entries, bound)
        out = np.zeros(self.slices.size, dtype=np.int32)
        _cells.draw_tilted(
            rng, factor, first, bound, self.mean, self.size, *self._entries, self.keep, out
        )
        return out

    @property
    def _entries(self) -> tuple[IntArray, CountArray, CountArray, FloatArray]:
        return self.start, self.column, self.rank, self.reach

    def on_null(self, expected: Sequence[ArrayLike]) -> EventToys:
        """Return toys whose counts have the given means exactly, and share events as the data do.

        The mean of a slice is the difference of the fits of two working points. Where events are
        few a looser fit can lie below a tighter one: there both move to where they nowhere cross
        (least squares in each bin), which `expected` of the result shows. A slice that then holds
        more than its events is filled with events of one spectrum alone; from one that holds less,
        events are left out at random.

        Args:
            expected: (W, b) fitted means of each spectrum, >= 0.

        Raises:
            InputDataError: means that do not belong to the spectra, or toys that are no longer
                those of the data.
        """
        if np.any(self.mean != self.size) or np.any(self.slices != np.floor(self.slices)):
            raise InputDataError(
                "Only toys of the data can be moved to a null: keep what `from_events` returned."
            )
        parts: list[FloatArray] = []
        for n, one in zip(self.n_bins, expected, strict=True):
            mu = np.array(one, dtype=np.float64)
            if mu.shape != (self.n_levels, n) or not np.all((mu >= 0) & np.isfinite(mu)):
                raise InputDataError(
                    f"The expected counts of a spectrum must be finite, >= 0 and of shape "
                    f"{(self.n_levels, n)}, not {mu.shape}."
                )
            _cells.isotonic(mu)
            parts.append(np.maximum(mu - np.vstack([mu[1:], np.zeros((1, n))]), 0.0).ravel())
        return self._placed(self.rank, np.concatenate(parts))

    def shared(self, a: int, b: int) -> FloatArray:
        """Return (W, W, b_a, b_b): mean events that two spectra share, by working point of each."""
        w, first = self.n_levels, self.first_columns
        n_a, n_b = self.n_bins[a], self.n_bins[b]
        if a == b:
            flat = np.diag(self.slices[first[a] : first[a + 1]])
        else:
            flat = np.zeros((w * n_a, w * n_b))
            ranges = (int(first[a]), int(first[a + 1]), int(first[b]), int(first[b + 1]))
            _cells.shared(ranges, self.mean, self.size, *self._entries, self.keep, flat)
        table = flat.reshape(w, n_a, w, n_b).transpose(0, 2, 1, 3)
        for axis in (0, 1):
            table = np.flip(np.cumsum(np.flip(table, axis=axis), axis=axis), axis=axis)
        return np.ascontiguousarray(table)


def levels_by_rank(scores: ArrayLike, n_selected: Sequence[int]) -> IntArray:
    """Return the tightest working point that each event passes, (n,), -1 for none.

    Args:
        scores: (n,) anomaly scores; the highest are selected, among equals the first.
        n_selected: events that pass each working point, falling; a visible cross section in pb
            times the luminosity in 1/pb.

    Raises:
        InputDataError: numbers that rise, or scores that are no numbers.

    >>> levels_by_rank([0.1, 0.9, 0.5, 0.7], [3, 1])
    array([-1,  1,  0,  0])
    """
    score = np.asarray(scores, dtype=np.float64)
    numbers = np.asarray(n_selected, dtype=np.int64)
    if score.ndim != 1 or np.any(np.isnan(score)):
        raise InputDataError("Scores must be one number for each event, none of them NaN.")
    if numbers.size == 0 or np.any(numbers < 0) or np.any(np.diff(numbers) > 0):
        raise InputDataError(
            "The selected events of working points must fall from the loosest to the tightest, "
            f"not be {list(n_selected)}."
        )
    rank = np.empty(score.size, dtype=np.int64)
    rank[np.argsort(-score, kind="stable")] = np.arange(score.size)
    passed: IntArray = numbers.size - np.searchsorted(numbers[::-1], rank, side="right")
    return passed.astype(np.int64) - 1


def recentre(bootstraps: ArrayLike, observed: ArrayLike, expected: ArrayLike) -> FloatArray:
    """Move bootstraps of the data onto the null: max(n_boot - n_data + fit, 0).

    Without this the fluctuations of the data stand in every toy and the toy's own come on top, so
    that p-values crowd near 1. For bins with many events: the counts are no whole numbers.

    Args:
        bootstraps: (..., b) toys drawn from cells of the data.
        observed: (..., b) the data.
        expected: (..., b) the fit to the data.
    """
    boot, n, fit = (np.asarray(x, dtype=np.float64) for x in (bootstraps, observed, expected))
    out: FloatArray = np.maximum(boot - n + fit, 0.0)
    return out
