"""NumPy files: structured arrays, tables with a list of columns, CATHODE's files of LHCO data."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.names import is_identity, is_truth, is_weight, split_unit
from bumpscout_tools.events.reader import MAX_COLUMNS, Contents, Wish, ranges
from bumpscout_tools.events.table import EventTable

__all__ = ["COLUMN_LIST_SUFFIX", "NpyReader", "files_of"]

COLUMN_LIST_SUFFIX = ".columns"
"""A text file of this name behind that of the .npy names its columns."""
CATHODE_COLUMNS = (
    "m_jj [TeV]",
    "mj_light [TeV]",
    "mj_delta [TeV]",
    "tau21_light",
    "tau21_heavy",
    "label",
)
"""Columns of the signal-region files of the LHC Olympics R&D data as CATHODE prepared them."""
_CATHODE_MASS_TEV = (1.0, 14.0)
_MAX_LIST_BYTES = 1 << 20
_PROBE_ROWS = 10_000
_BLOCK_ROWS = 1 << 14


def files_of(path: Path) -> list[Path]:
    """Return the files that reading a file of events needs: it, and a list of columns beside it."""
    beside = _column_list(path)
    return [path] if beside is None else [path, beside]


def _column_list(path: Path) -> Path | None:
    """Return the list of columns beside a .npy file, links followed; None if there is none.

    A list that is itself a link is none: who sends a folder must not choose which file of the
    reader's machine becomes the names of columns.
    """
    real = path.resolve()
    beside = real.with_name(real.name + COLUMN_LIST_SUFFIX)
    try:
        mode = beside.lstat().st_mode
    except OSError:
        return None
    return beside if stat.S_ISREG(mode) else None


class NpyReader:
    """A .npy file of plain numbers."""

    contents: Contents

    def __init__(self, path: Path, names: tuple[str, ...] | None = None) -> None:
        """Read the header and find out what the columns are.

        Args:
            path: the file.
            names: of its columns, with units in brackets; else those of a structured array, of the
                list beside the file, or of a known layout.

        Raises:
            InputDataError: if it is damaged, holds objects, or nobody says what its columns are.
        """
        self._path = path
        shape, fortran, dtype, offset = _header(path)
        self._data: npt.NDArray[Any] = np.memmap(
            path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
        )
        self._names, kind = self._columns(names)
        plain = [split_unit(name)[0] for name in self._names]
        if len(set(plain)) != len(plain) or len(plain) > MAX_COLUMNS:
            raise InputDataError(
                f"{path}: {len(plain)} columns, of which some have one name or too many to search."
            )
        self._place = {
            name: index
            for index, name in enumerate(plain)
            if not (is_truth(name) or is_weight(name) or is_identity(name))
        }
        self._weight = next((i for i, name in enumerate(plain) if is_weight(name)), None)
        truth = tuple(name for name in plain if is_truth(name))
        self.contents = Contents(
            kind,
            len(self._data),
            tuple(self._place),
            truth=truth,
            n_unread=len(plain) - len(self._place) - len(truth),
        )

    def _columns(self, names: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
        data = self._data
        if len(data) == 0:
            raise InputDataError(f"{self._path} holds no events.")
        if data.dtype.names:
            return tuple(data.dtype.names), "npy-structured"
        beside = _column_list(self._path)
        if names is None and beside is not None:
            names = _listed(beside)
        if names is not None:
            if data.ndim != 2 or data.shape[1] != len(names):
                raise InputDataError(
                    f"{self._path} has the shape {data.shape}, but {len(names)} columns are listed."
                )
            return names, "npy"
        if data.ndim == 2 and data.shape[1] == len(CATHODE_COLUMNS) and _is_cathode(data):
            return CATHODE_COLUMNS, "lhco-sr-npy"
        raise InputDataError(
            f"{self._path} is a table of shape {data.shape} without names of its columns. Write "
            f"them into {self._path.name[:60]}{COLUMN_LIST_SUFFIX}, one a line, such as: m_jj [TeV]"
        )

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time."""
        wanted = {n: i for n, i in self._place.items() if wish.wants_column(n)}
        units = {n: split_unit(self._names[i])[1] for n, i in wanted.items()}
        for start, stop in ranges(self.contents.n_events, chunk):
            columns = {name: np.empty(stop - start) for name in wanted}
            weight = None if self._weight is None else np.empty(stop - start)
            # Rows lie together in the file, so all columns of some rows are taken at once.
            for low, high in ranges(stop - start, _BLOCK_ROWS):
                rows = self._data[start + low : start + high]
                for name, index in wanted.items():
                    columns[name][low:high] = self._column(rows, index)
                if weight is not None and self._weight is not None:
                    weight[low:high] = self._column(rows, self._weight)
            yield EventTable(
                MappingProxyType(columns),
                format=self.contents.format,
                units=MappingProxyType(units),
                weight=weight,
            )

    def _column(self, rows: npt.NDArray[Any], index: int) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = rows[self._names[index]] if rows.dtype.names else rows[:, index]
        return values

    def close(self) -> None:
        """Nothing to close: the file is mapped, and let go with the reader."""


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = reader(file)
        except KeyError:
            raise InputDataError(f"{path} has an unknown version of the npy format.") from None
        except Exception as error:
            # A header is parsed as Python literals, with all that may go wrong there.
            raise InputDataError(f"{path} is no npy file: {str(error)[:200]}.") from error
        offset = file.tell()
    if dtype.hasobject:
        raise InputDataError(
            f"{path} holds Python objects, which are never unpickled; save plain numbers."
        )
    fields = [dtype] if dtype.names is None else [dtype[name] for name in dtype.names]
    if any(field.kind not in "fiub" or field.shape for field in fields):
        raise InputDataError(f"{path} holds values of type {str(dtype)[:80]}, not plain numbers.")
    size = math.prod(shape) * dtype.itemsize
    if not shape or len(shape) > 2 or path.stat().st_size - offset != size:
        raise InputDataError(
            f"{path} says shape {shape}, but its length does not fit. The file may be truncated."
        )
    return shape, fortran, dtype, offset


def _listed(path: Path) -> tuple[str, ...]:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            content = file.read(_MAX_LIST_BYTES + 1)
    except OSError as error:
        raise InputDataError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > _MAX_LIST_BYTES:
        raise InputDataError(f"{path} is too long for a list of columns.")
    lines = content.decode("utf-8", "replace").replace(",", "\n").split("\n")
    return tuple(line.strip() for line in lines if line.strip())


def _is_cathode(data: npt.NDArray[Any]) -> bool:
    some = np.asarray(data[:_PROBE_ROWS], dtype=np.float64)
    low, high = _CATHODE_MASS_TEV
    mass, label = some[:, 0], some[:, -1]
    ratios = some[:, 3:5]
    return bool(
        ((mass > low) & (mass < high)).all()
        and np.isin(label, (0.0, 1.0)).all()
        and ((ratios >= -0.01) & (ratios <= 2.0)).all()
    )
