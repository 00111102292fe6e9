"""Event-level toys of many spectra and nested working points that are made from the same events.

Events that fall into the same bin of every spectrum and pass the same thresholds are one *cell*; a
toy draws a Poisson number of events for each cell. Counts of each spectrum are Poisson, and counts
of different spectra and working points share the events that the data share. What the mean of a
cell is decides what a toy stands for:

- `EventToys.from_events(...)`: the data. Toys are bootstraps, *with a signal if the data hold one*,
  and fluctuations of the data enter a second time: no null.
- `toys.on_null(expected)`: cells are weighted until the counts of each spectrum and working point
  have the fitted means (iterative proportional fitting, W. Deming, F. Stephan, Ann. Math. Stat. 11
  (1940) 427). These toys are parametric in the tail, where whole bins are empty, too: use them by
  default.
- `recentre(bootstraps, observed, expected)`: n_boot - n_data + fit, for bins with many events; its
  fractional counts suit fits, not Poisson probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.inference import _cells

__all__ = ["EventToys", "recentre"]

FloatArray = NDArray[np.float64]

_ROUNDS = 20
_TOYS_AT_ONCE = 16
_CLOSE = 1e-6


@dataclass(frozen=True)
class EventToys:
    """Cells of events; made by `from_events`, moved to the null by `on_null`.

    `column` (c, K): where each cell counts in the row of all (spectrum, working point, bin), or -1
    where it does not. `mean` (c,) events. `n_bins` (K,) of each spectrum. Working points run from
    the loosest, 0, to the tightest, `n_levels` - 1; an event of level l passes all up to l.
    """

    column: NDArray[np.int32]
    mean: FloatArray
    n_bins: tuple[int, ...]
    n_levels: int

    @classmethod
    def from_events(
        cls, bins: ArrayLike, levels: ArrayLike, n_bins: Sequence[int], n_levels: int
    ) -> EventToys:
        """Compress events into cells.

        Args:
            bins: (n, K) the bin of each event in each spectrum, -1 where it lies in none.
            levels: (n,) the tightest working point that each event passes, -1 for none; or (n, K)
                where each spectrum has its own score.
            n_bins: bins of each spectrum.
            n_levels: number of working points.

        Raises:
            InputDataError: bins or levels of the wrong shape or range.
        """
        at = np.atleast_2d(np.asarray(bins, dtype=np.int64))
        level = np.asarray(levels, dtype=np.int64)
        size = np.asarray(n_bins, dtype=np.int64)
        if level.shape == at.shape[:1]:
            level = np.broadcast_to(level[:, None], at.shape)
        if at.shape[1] != size.size or level.shape != at.shape:
            raise InputDataError(
                f"Bins of shape {at.shape} and levels of shape {level.shape} do not describe "
                f"events in {size.size} spectra."
            )
        if np.any((at < -1) | (at >= size)) or np.any((level < -1) | (level >= n_levels)):
            raise InputDataError(
                "The bin of an event, or its working point, lies beyond the last one: mark events "
                "that are in no bin, or pass no threshold, with -1."
            )
        first = np.cumsum(size * n_levels) - size * n_levels
        column = np.where((at >= 0) & (level >= 0), first + level * size + at, -1)
        column = column[np.any(column >= 0, axis=1)]
        # Pair by pair, so that the key of any number of spectra stays below 2^63.
        key = np.zeros(column.shape[0], dtype=np.int64)
        total = int((size * n_levels).sum()) + 1
        for s in range(size.size):
            _, key = np.unique(key * total + column[:, s] + 1, return_inverse=True)
        _, at_first, counts = np.unique(key, return_index=True, return_counts=True)
        return cls(
            np.ascontiguousarray(column[at_first], dtype=np.int32),
            counts.astype(np.float64),
            tuple(int(one) for one in size),
            int(n_levels),
        )

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.mean.size)

    @property
    def _n_columns(self) -> int:
        return self.n_levels * sum(self.n_bins)

    def _nested(self, flat: FloatArray) -> tuple[FloatArray, ...]:
        """Return (t, W, b) for each spectrum, summed over tighter levels, from (t, columns)."""
        out: list[FloatArray] = []
        first = 0
        for n in self.n_bins:
            last = first + n * self.n_levels
            part = flat[:, first:last].reshape(-1, self.n_levels, n)
            out.append(np.flip(np.cumsum(np.flip(part, axis=1), axis=1), axis=1))
            first = last
        return tuple(out)

    def _marginals(self, mean: FloatArray) -> FloatArray:
        flat = np.zeros(self._n_columns)
        for s in range(len(self.n_bins)):
            inside = self.column[:, s] >= 0
            flat += np.bincount(self.column[inside, s], mean[inside], flat.size)
        return flat

    def expected(self) -> tuple[FloatArray, ...]:
        """Return the mean counts (W, b) of each spectrum; the data's own for `from_events`."""
        return tuple(part[0] for part in self._nested(self._marginals(self.mean)[None, :]))

    def draw(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, ...]:
        """Draw n toys: counts (n, W, b) of each spectrum, whole numbers."""
        flat = np.empty((n, self._n_columns))
        none = np.exp(-self.mean)
        for first in range(0, n, _TOYS_AT_ONCE):
            last = min(first + _TOYS_AT_ONCE, n)
            part = np.zeros((self._n_columns, last - first))
            _cells.draw(rng, self.mean, none, self.column, part)
            flat[first:last] = part.T
        return self._nested(flat)

    def on_null(self, expected: Sequence[ArrayLike]) -> EventToys:
        """Return cells whose counts have the given means exactly, and share events as the data do.

        Fits of nested working points are not nested where few events are left: a looser one is
        raised to the tighter one there, which `expected` of the result shows. What no event of the
        data can stand for (bins that are empty, or fitted to hold more) becomes cells of one
        spectrum.

        Args:
            expected: (W, b) fitted means of each spectrum, >= 0.

        Raises:
            InputDataError: means that do not belong to the spectra.
        """
        target = self._slices(expected)
        mean = self.mean.copy()
        inside = self.column >= 0
        for _ in range(_ROUNDS):
            before = mean.copy()
            for s in range(len(self.n_bins)):
                rows = inside[:, s]
                column = self.column[rows, s]
                have = np.bincount(column, mean[rows], target.size).astype(np.float64)
                ratio = np.divide(target, have, out=np.ones_like(have), where=have > 0)
                mean[rows] *= ratio[column]
            if np.max(np.abs(mean - before), initial=0.0) < _CLOSE:
                break
        total = self._marginals(mean)
        down = np.minimum(np.divide(target, total, out=np.ones_like(total), where=total > 0), 1.0)
        mean *= np.where(inside, down[self.column], 1.0).min(axis=1)
        missing = np.maximum(target - self._marginals(mean), 0.0)
        alone = np.flatnonzero(missing > 0)
        extra = np.full((alone.size, len(self.n_bins)), -1, dtype=np.int32)
        ends = np.cumsum(np.array(self.n_bins) * self.n_levels)
        extra[np.arange(alone.size), np.searchsorted(ends, alone, side="right")] = alone
        return EventToys(
            np.concatenate([self.column, extra]),
            np.concatenate([mean, missing[alone]]),
            self.n_bins,
            self.n_levels,
        )

    def _slices(self, expected: Sequence[ArrayLike]) -> FloatArray:
        """Return the means between consecutive working points, (columns,)."""
        parts: list[FloatArray] = []
        for n, one in zip(self.n_bins, expected, strict=True):
            mu = np.asarray(one, dtype=np.float64)
            if mu.shape != (self.n_levels, n) or not np.all((mu >= 0) & np.isfinite(mu)):
                raise InputDataError(
                    f"The expected counts of a spectrum must be finite, >= 0 and of shape "
                    f"{(self.n_levels, n)}, not {mu.shape}."
                )
            nested = np.flip(np.maximum.accumulate(np.flip(mu, axis=0), axis=0), axis=0)
            tighter = np.concatenate([nested[1:], np.zeros((1, n))])
            parts.append((nested - tighter).ravel())
        return np.concatenate(parts)

    def shared(self, a: int, b: int) -> FloatArray:
        """Return (W, W, b_a, b_b): mean events that two spectra share, by working point of each."""
        both = (self.column[:, a] >= 0) & (self.column[:, b] >= 0)
        ends = np.cumsum(np.array(self.n_bins) * self.n_levels)
        at = [self.column[both, s] - (ends[s] - self.n_bins[s] * self.n_levels) for s in (a, b)]
        w, (n_a, n_b) = self.n_levels, (self.n_bins[a], self.n_bins[b])
        flat = np.bincount(at[0] * (w * n_b) + at[1], self.mean[both], w * n_a * w * n_b)
        table = flat.reshape(w, n_a, w, n_b).transpose(0, 2, 1, 3)
        for axis in (0, 1):
            table = np.flip(np.cumsum(np.flip(table, axis=axis), axis=axis), axis=axis)
        return np.ascontiguousarray(table)


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
