"""Reads a binned mass spectrum from a text file, and refuses what cannot be fitted, saying where.

The layout is CSV: a header line ``low_GeV,high_GeV,observed``, with ``expected`` and ``error`` as
further columns, in any order; lines that start with ``#`` are comments. Without a header the
columns are low, high, observed, expected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background.csvfile import bad_line, csv_rows, is_number, number
from bumpscout_tools.errors import ConfigurationError, InputDataError

__all__ = ["MAX_BINS", "MIN_BINS", "Spectrum", "read_spectrum"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MIN_BINS = 5
MAX_BINS = 2000
_NAMES = {
    "low": ("low_gev", "low", "xlow", "mass_low", "bin_low"),
    "high": ("high_gev", "high", "xhigh", "mass_high", "bin_high"),
    "observed": ("observed", "data", "events", "counts", "n", "n_obs"),
    "expected": ("expected", "background", "fit", "n_exp"),
    "error": ("error", "observed_error", "data_error", "sigma", "sqrt_sumw2"),
}
_DEFAULT = ("low", "high", "observed", "expected")


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A binned spectrum: `edges` (b + 1,) GeV, `observed`, `expected` and `variances` (b,).

    `expected` and `variances` may be None. `variances` is set for weighted events only: sums of
    squared weights, 0 where nothing was filled. `excluded` (b,), or None, is True where a bin is
    left out of fits, hunts and limits: see `without`.
    """

    edges: FloatArray
    observed: FloatArray
    expected: FloatArray | None = None
    variances: FloatArray | None = None
    excluded: BoolArray | None = None

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(self.observed.size)

    @property
    def weighted(self) -> bool:
        """Whether the events carry weights, so that the contents are no counts."""
        return self.variances is not None

    @property
    def used(self) -> NDArray[np.int64]:
        """Indices of the bins that are not excluded, rising."""
        if self.excluded is None:
            return np.arange(self.n_bins, dtype=np.int64)
        return np.flatnonzero(~self.excluded).astype(np.int64)

    @property
    def counts(self) -> FloatArray:
        """Contents (b,) with zeros where a bin is excluded, so that nothing there is looked at."""
        if self.excluded is None:
            return self.observed
        shown: FloatArray = np.where(self.excluded, 0.0, self.observed)
        return shown

    def scales(self) -> FloatArray:
        """Return the mean weight of the events in each bin, (b,): 1 for counts.

        A sum of weights behaves like s times a Poisson count with s = variance / sum (G. Bohm,
        G. Zech, arXiv:1309.1287). An empty bin takes s from the nearest filled one.
        """
        if self.variances is None:
            return np.ones(self.n_bins)
        filled = np.flatnonzero(self.counts > 0)
        nearest = filled[np.argmin(np.abs(np.arange(self.n_bins)[:, None] - filled), axis=1)]
        scale: FloatArray = self.variances[nearest] / self.observed[nearest]
        return scale

    def between(self, low_gev: float | None, high_gev: float | None) -> Spectrum:
        """Return the bins that lie wholly between two masses, GeV; None leaves an end open.

        Raises:
            ConfigurationError: fewer than five bins left.
        """
        low = -math.inf if low_gev is None else low_gev
        high = math.inf if high_gev is None else high_gev
        keep = np.flatnonzero((self.edges[:-1] >= low) & (self.edges[1:] <= high))
        if keep.size < MIN_BINS:
            raise ConfigurationError(
                f"Only {keep.size} bins lie between {low:g} and {high:g} GeV; at least {MIN_BINS} "
                f"are needed. The spectrum spans {self.edges[0]:g} to {self.edges[-1]:g} GeV."
            )
        first, last = int(keep[0]), int(keep[-1]) + 1
        return replace(
            self,
            edges=self.edges[first : last + 1],
            observed=self.observed[first:last],
            expected=None if self.expected is None else self.expected[first:last],
            variances=None if self.variances is None else self.variances[first:last],
            excluded=None if self.excluded is None else self.excluded[first:last],
        )

    def without(self, ranges: Iterable[tuple[float, float]]) -> Spectrum:
        """Return the spectrum with the bins that reach into any of the ranges, GeV, excluded.

        Bins at either end are cut off instead, so that the first and the last bin are used.

        Raises:
            ConfigurationError: a range that does not rise or that no bin reaches into, or fewer
                than five bins left.
        """
        out = np.zeros(self.n_bins, dtype=np.bool_)
        if self.excluded is not None:
            out |= self.excluded
        for low, high in ranges:
            inside = (self.edges[:-1] < high) & (self.edges[1:] > low)
            if not low < high or not inside.any():
                raise ConfigurationError(
                    f"There is nothing to exclude between {low:g} and {high:g} GeV: give a rising "
                    f"range within the spectrum, {self.edges[0]:g} to {self.edges[-1]:g} GeV."
                )
            out |= inside
        kept = np.flatnonzero(~out)
        if kept.size < MIN_BINS:
            raise ConfigurationError(
                f"Only {kept.size} bins are left outside of the excluded ranges; at least "
                f"{MIN_BINS} are needed."
            )
        if not out.any():
            return self
        first, last = int(kept[0]), int(kept[-1]) + 1
        part = replace(self, excluded=out).between(self.edges[first], self.edges[last])
        return part if np.any(out[first:last]) else replace(part, excluded=None)

    def excluded_ranges(self) -> tuple[tuple[float, float], ...]:
        """Return the excluded ranges, GeV, as whole bins."""
        if self.excluded is None:
            return ()
        step = np.diff(np.concatenate([[0], self.excluded.astype(np.int8), [0]]))
        first, last = np.flatnonzero(step == 1), np.flatnonzero(step == -1)
        return tuple(
            (float(self.edges[a]), float(self.edges[b])) for a, b in zip(first, last, strict=True)
        )


def read_spectrum(path: Path) -> Spectrum:
    """Read a spectrum of 5 to 2000 touching bins.

    Args:
        path: the file.

    Raises:
        InputDataError: a file that cannot be read, or a spectrum that cannot be fitted; the message
            names the line and the value.
    """
    rows, names = _table(path)
    columns = {name: np.array([row[1][i] for row in rows]) for i, name in enumerate(names)}
    lines = [row[0] for row in rows]
    if len(lines) < MIN_BINS:
        raise InputDataError(
            f"{path} holds {len(lines)} bins; at least {MIN_BINS} are needed to tell a background "
            "from a bump."
        )
    edges = _edges(path, lines, columns["low"], columns["high"])
    observed = columns["observed"]
    for name in ("observed", "expected", "error"):
        if name in columns and np.any(columns[name] < 0):
            at = int(np.argmax(columns[name] < 0))
            raise bad_line(path, lines[at], f"{name} is negative ({columns[name][at]:g})")
    if not np.any(observed > 0):
        raise InputDataError(
            f"{path} holds no events: every one of its {len(lines)} bins is empty."
        )
    variances = _variances(path, lines, observed, columns.get("error"))
    return Spectrum(edges, observed, columns.get("expected"), variances)


def _table(path: Path) -> tuple[list[tuple[int, list[float]]], tuple[str, ...]]:
    """Return the rows of numbers with the numbers of their lines, and the names of the columns."""
    rows: list[tuple[int, list[float]]] = []
    names: tuple[str, ...] | None = None
    for line, fields in csv_rows(path, "a binned spectrum"):
        if names is None:
            if not is_number(fields[0]):
                names = _header(path, line, fields)
                continue
            names = _DEFAULT[: len(fields)]
            if not 3 <= len(fields) <= 4:
                raise bad_line(
                    path,
                    line,
                    f"{len(fields)} columns without a header; give low_GeV,high_GeV,observed"
                    "[,expected], or name the columns",
                )
        if len(fields) != len(names):
            raise bad_line(path, line, f"{len(fields)} values where {len(names)} columns are named")
        rows.append((line, [number(path, line, field) for field in fields]))
        if len(rows) > MAX_BINS:
            raise InputDataError(f"{path} holds more than {MAX_BINS} bins: merge them.")
    if names is None:
        raise InputDataError(f"{path} holds no spectrum: no line of it is a bin.")
    return rows, names


def _header(path: Path, line: int, fields: list[str]) -> tuple[str, ...]:
    names: list[str] = []
    for field in fields:
        known = [name for name, words in _NAMES.items() if field.lower() in words]
        names.append(known[0] if known else f"({field})")
    missing = [name for name in ("low", "high", "observed") if name not in names]
    if missing:
        raise bad_line(
            path,
            line,
            f"no column {' or '.join(missing)} among {', '.join(fields)[:120]}; a spectrum has "
            "the columns low_GeV,high_GeV,observed[,expected][,error]",
        )
    doubled = {name for name, times in Counter(names).items() if times > 1}
    if doubled:
        raise bad_line(path, line, f"two columns are {' and '.join(sorted(doubled))}")
    return tuple(names)


def _edges(path: Path, lines: list[int], low: FloatArray, high: FloatArray) -> FloatArray:
    if np.any(low >= high):
        at = int(np.argmax(low >= high))
        raise bad_line(
            path, lines[at], f"the bin ends at {high[at]:g}, not above its start {low[at]:g}"
        )
    if low[0] <= 0:
        raise bad_line(path, lines[0], f"the bin starts at {low[0]:g} GeV; masses lie above 0")
    for i in range(1, len(lines)):
        step = low[i] - high[i - 1]
        if abs(step) <= 1e-6 * (high[i] - low[i]):
            continue
        if low[i] < low[i - 1]:
            what = f"the bins are not sorted: {low[i]:g} GeV comes after {low[i - 1]:g} GeV"
        elif step > 0:
            what = (
                f"a gap: the bin starts at {low[i]:g} GeV, the one before ends at {high[i - 1]:g}"
            )
        else:
            what = (
                f"the bin starts at {low[i]:g} GeV within the one before, which ends at "
                f"{high[i - 1]:g} GeV"
            )
        raise bad_line(path, lines[i], what)
    return np.append(low, high[-1])


def _variances(
    path: Path, lines: list[int], observed: FloatArray, error: FloatArray | None
) -> FloatArray | None:
    """Return sums of squared weights, or None where the contents are counts."""
    whole = observed == np.floor(observed)
    if error is None:
        if not np.all(whole):
            at = int(np.argmin(whole))
            raise bad_line(
                path,
                lines[at],
                f"observed is {observed[at]:g}, not a whole number. Weighted events need a column "
                "`error` with the root of the sum of squared weights; rounded or scaled counts "
                "cannot be fitted",
            )
        return None
    variance = error**2
    if np.all(whole) and np.allclose(variance, observed, rtol=0.02, atol=1e-9):
        return None
    lost = (observed > 0) & (variance == 0)
    if np.any(lost):
        at = int(np.argmax(lost))
        raise bad_line(path, lines[at], f"observed is {observed[at]:g} with an error of 0")
    return variance
