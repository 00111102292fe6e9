"""Parquet: NanoAOD as nested columns, and flat tables; read batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.layout import IntArray, Layout, assemble
from bumpscout_tools.events.names import is_identity, is_truth, is_weight, split_unit
from bumpscout_tools.events.nano import nano_layout
from bumpscout_tools.events.reader import MAX_COLUMNS, Contents, Wish, check_expansion
from bumpscout_tools.events.table import EventTable

__all__ = ["ParquetReader"]

_MAX_ALL_COLUMNS = 100_000
_NUMBER_BYTES = 8


class ParquetReader:
    """A Parquet file of events."""

    contents: Contents

    def __init__(self, path: Path) -> None:
        """Open the file and recognise its layout by its columns.

        Raises:
            InputDataError: if it is damaged, empty, or holds no columns of numbers.
        """
        self._path = path
        with self._faults("the footer"):
            self._file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
            schema = self._file.schema_arrow
            n_events = int(self._file.metadata.num_rows)
        names = [str(name) for name in schema.names]
        if n_events == 0:
            raise InputDataError(f"{path} holds no events.")
        if len(names) > _MAX_ALL_COLUMNS or len({split_unit(n)[0] for n in names}) != len(names):
            raise InputDataError(
                f"{path}: {len(names)} columns, of which some have one name or too many."
            )
        lists = {n for n in names if _is_list(schema.field(n).type)}
        plain = {n for n in names if _is_number(schema.field(n).type)}
        self._layout: Layout | None = nano_layout([*lists, *plain]) if lists else None
        truth = tuple(name for name in names if is_truth(name))
        self._flat: dict[str, str] = {}
        self._weight: str | None = None
        if self._layout is not None:
            used = set(self._layout.branches())
            self.contents = Contents(
                f"{self._layout.format}-parquet",
                n_events,
                ("met_pt", "met_phi") if self._layout.met else (),
                (*self._layout.kinds, *(("constituents",) if self._layout.constituents else ())),
                truth=truth,
                n_unread=len(set(names) - used - set(truth)),
            )
        else:
            self._flat = {
                split_unit(name)[0]: name
                for name in names
                if name in plain and not (is_truth(name) or is_weight(name) or is_identity(name))
            }
            self._weight = next((n for n in names if n in plain and is_weight(n)), None)
            if not self._flat or len(self._flat) > MAX_COLUMNS:
                raise InputDataError(
                    f"{path} is a Parquet file with {len(self._flat)} columns of plain numbers; "
                    f"a table of events has 1 to {MAX_COLUMNS}."
                )
            used = set(self._flat.values())
            self.contents = Contents(
                "parquet-flat",
                n_events,
                tuple(self._flat),
                truth=truth,
                n_unread=len(set(names) - used - set(truth)),
            )
        self._check_size(used)

    def _check_size(self, used: set[str]) -> None:
        metadata = self._file.metadata
        unpacked = stored = 0
        with self._faults("the footer"):
            for group in range(metadata.num_row_groups):
                row_group = metadata.row_group(group)
                for index in range(row_group.num_columns):
                    column = row_group.column(index)
                    if str(column.path_in_schema).partition(".")[0] in used:
                        numbers = _NUMBER_BYTES * int(column.num_values)
                        unpacked += max(int(column.total_uncompressed_size), numbers)
                        stored += int(column.total_compressed_size)
        rows = _NUMBER_BYTES * self.contents.n_events * max(1, len(self._flat))
        check_expansion(f"{self._path}", max(unpacked, rows), stored)

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time.

        Raises:
            InputDataError: naming the rows that cannot be read.
        """
        layout = self._layout
        wanted = {n: p for n, p in self._flat.items() if wish.wants_column(n)}
        if layout is None:
            columns = [*wanted.values(), *([self._weight] if self._weight else [])]
        else:
            columns = [n for n in set(layout.branches()) if n in self._file.schema_arrow.names]
        start = 0
        with self._faults(f"rows {start} and following"):
            batches = self._file.iter_batches(chunk, columns=columns, use_threads=False)
        while True:
            with self._faults(f"rows {start} and following"):
                batch = next(batches, None)
            if batch is None:
                break
            fields = _Batch(f"{self._path}, rows {start} to {start + batch.num_rows}", batch)
            start += batch.num_rows
            if layout is not None:
                table = assemble(fields, layout, wish, {})
                yield EventTable(
                    table.columns, self.contents.format, table.units, table.particles,
                    table.triggers, table.weight,
                )  # fmt: skip
                continue
            units = {n: split_unit(p)[1] for n, p in wanted.items()}
            yield EventTable(
                MappingProxyType({n: fields.scalar(p).astype(float) for n, p in wanted.items()}),
                format=self.contents.format,
                units=MappingProxyType(units),
                weight=fields.scalar(self._weight).astype(float) if self._weight else None,
            )
        if start != self.contents.n_events:
            raise InputDataError(
                f"{self._path} says {self.contents.n_events} rows and holds {start}. "
                "The file is damaged."
            )

    @contextlib.contextmanager
    def _faults(self, where: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, MemoryError, ValueError, TypeError) as error:
            reason = (str(error) or type(error).__name__).split("\n", 1)[0][:200]
            raise InputDataError(
                f"{self._path} cannot be read as Parquet ({where}): {reason}. The file may be "
                "truncated or damaged."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class _Batch:
    what: str
    batch: Any

    @property
    def n(self) -> int:
        return int(self.batch.num_rows)

    def scalar(self, name: str) -> npt.NDArray[Any]:
        column = self.batch.column(name)
        if _is_list(column.type):
            raise ValueError(name)
        return _plain(column, self.what, name)

    def jagged(self, name: str) -> tuple[IntArray, npt.NDArray[Any]]:
        column = self.batch.column(name)
        if not _is_list(column.type) or column.null_count:
            raise InputDataError(
                f"{self.what}: column {name[:60]!r} does not hold a list in every event."
            )
        offsets = np.asarray(column.offsets.to_numpy(zero_copy_only=False), dtype=np.int64)
        values = _plain(column.flatten(), self.what, name)
        offsets = offsets - offsets[0]
        if len(values) != offsets[-1]:
            raise InputDataError(f"{self.what}: the lists of column {name[:60]!r} are damaged.")
        return offsets, values


def _plain(column: Any, what: str, name: str) -> npt.NDArray[Any]:
    if column.null_count:
        column = column.cast(pa.float64())
    values = np.asarray(column.to_numpy(zero_copy_only=False))
    if values.dtype.kind not in "fiub":
        raise InputDataError(f"{what}: column {name[:60]!r} does not hold plain numbers.")
    return values


def _is_list(kind: Any) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_number(kind.value_type)


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    )
