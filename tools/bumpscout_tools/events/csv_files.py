"""CSV tables of events: a line of names, then one line an event; read chunk by chunk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.names import is_identity, is_truth, is_weight, split_unit
from bumpscout_tools.events.reader import MAX_COLUMNS, Contents, Wish, ranges
from bumpscout_tools.events.table import EventTable

__all__ = ["CsvReader"]

_MAX_HEADER_BYTES = 1 << 20


class CsvReader:
    """A CSV file whose first line, after comment lines with #, names the columns."""

    contents: Contents

    def __init__(self, path: Path) -> None:
        """Read the names and count the lines.

        Raises:
            InputDataError: if it is empty, or the first line holds no different names.
        """
        self._path = path
        self._comments, self._names = _header(path)
        plain = [split_unit(name)[0] for name in self._names]
        if len(set(plain)) != len(plain) or not all(plain) or len(plain) > MAX_COLUMNS:
            raise InputDataError(
                f"{path}: the first line of a CSV file of events gives 1 to {MAX_COLUMNS} columns "
                f"different names; it gives {len(plain)}, of which some are empty or the same."
            )
        if all(_is_number(name) for name in plain):
            raise InputDataError(
                f"{path}: the first line holds numbers; a CSV file of events begins with the names "
                "of its columns, such as: m_jj,tau21"
            )
        self._flat = {
            name: column
            for name, column in zip(plain, self._names, strict=True)
            if not (is_truth(name) or is_weight(name) or is_identity(name))
        }
        self._weight = next((n for n in self._names if is_weight(n)), None)
        truth = tuple(name for name in plain if is_truth(name))
        with self._faults("its lines"), path.open("rb") as file:
            n_events = sum(1 for line in file if line.strip() and not line.startswith(b"#")) - 1
        if n_events == 0:
            raise InputDataError(f"{path} holds no events.")
        self.contents = Contents(
            "csv",
            n_events,
            tuple(self._flat),
            truth=truth,
            n_unread=len(plain) - len(self._flat) - len(truth),
        )

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time.

        Raises:
            InputDataError: naming row and column of what is no number.
        """
        wanted = {n: c for n, c in self._flat.items() if wish.wants_column(n)}
        units = {n: split_unit(c)[1] for n, c in wanted.items()}
        columns = [*wanted.values(), *([self._weight] if self._weight else [])]
        places = [self._names.index(column) for column in columns]
        with self._path.open(encoding="utf-8-sig") as file:
            for _ in range(self._comments + 1):
                file.readline()
            for start, stop in ranges(self.contents.n_events, chunk):
                with self._faults(f"rows {start} to {stop}, numbered from the first of them"):
                    # NumPy reads without threads, which a confined process may not start.
                    rows = np.loadtxt(
                        file, delimiter=",", usecols=places, max_rows=stop - start, ndmin=2,
                        quotechar='"',
                    )  # fmt: skip
                if len(rows) != stop - start:
                    raise InputDataError(f"{self._path} changed while it was read.")
                values = {name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate(wanted)}
                weight = np.ascontiguousarray(rows[:, -1]) if self._weight else None
                yield EventTable(
                    MappingProxyType(values),
                    format="csv",
                    units=MappingProxyType(units),
                    weight=weight,
                )

    @contextlib.contextmanager
    def _faults(self, where: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, LookupError, MemoryError) as error:
            reason = (str(error) or type(error).__name__).split("\n", 1)[0][:200]
            raise InputDataError(
                f"{self._path} cannot be read as a CSV file of events ({where}): "
                f"{reason.split('; use')[0].rstrip('.')}."
            ) from error

    def close(self) -> None:
        """Nothing to close: every pass opens the file anew."""


def _header(path: Path) -> tuple[int, tuple[str, ...]]:
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
    try:
        lines = head.decode("utf-8-sig", "strict" if len(head) < _MAX_HEADER_BYTES else "ignore")
    except UnicodeDecodeError as error:
        raise InputDataError(f"{path} is no text.") from error
    comments = 0
    for line in lines.split("\n"):
        if not line.startswith("#"):
            names = tuple(name.strip().strip('"') for name in line.strip().split(","))
            return comments, names
        comments += 1
    raise InputDataError(f"{path} holds no line of column names in its first megabyte.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
