"""Opens any file of events: the format is told by the content, never by the name.

What to use when:

- `open_events`: all events of a file that fits into memory;
- `iter_events`: chunks of a file of any size;
- `open_reader`: what a file holds, before its events are read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.reader import CHUNK_EVENTS, Reader, Wish, concatenate
from bumpscout_tools.events.table import EventTable

__all__ = ["iter_events", "open_events", "open_reader"]

_PROBE_BYTES = 4096
_TEXT_BYTES = 512
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xfd7zX": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"\x80\x04": "a Python pickle, which is never opened",
    b"\x80\x05": "a Python pickle, which is never opened",
}


def open_events(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    kinds: Collection[str] | None = None,
    column_names: Sequence[str] | None = None,
) -> EventTable:
    """Read all events of a file.

    Args:
        path: of the file.
        columns: event columns that are needed; by default those of the layout.
        kinds: kinds of particles that are needed; by default all.
        column_names: of a .npy file without names, with units in brackets.

    Returns:
        The events in the order of the file, momenta in GeV, without truth labels.

    Raises:
        InputDataError: if the file is missing, damaged, empty, or of no known format.
    """
    with open_reader(path, column_names=column_names) as reader:
        return concatenate(list(reader.iterate(_wish(columns, kinds), reader.contents.n_events)))


def iter_events(
    path: Path,
    chunk: int = CHUNK_EVENTS,
    *,
    columns: Sequence[str] | None = None,
    kinds: Collection[str] | None = None,
    column_names: Sequence[str] | None = None,
) -> Iterator[EventTable]:
    """Read the events of a file in chunks.

    Args:
        path: of the file.
        chunk: most events at a time; wide formats give fewer.
        columns: event columns that are needed; by default those of the layout.
        kinds: kinds of particles that are needed; by default all.
        column_names: of a .npy file without names, with units in brackets.

    Raises:
        InputDataError: as `open_events`.
    """
    with open_reader(path, column_names=column_names) as reader:
        yield from reader.iterate(_wish(columns, kinds), chunk)


@contextlib.contextmanager
def open_reader(path: Path, *, column_names: Sequence[str] | None = None) -> Iterator[Reader]:
    """Open a file and tell its format by its content.

    Raises:
        InputDataError: as `open_events`.
    """
    reader = _reader(path, None if column_names is None else tuple(column_names))
    try:
        yield reader
    finally:
        reader.close()


def _wish(columns: Sequence[str] | None, kinds: Collection[str] | None) -> Wish:
    return Wish(
        None if columns is None else tuple(columns), None if kinds is None else frozenset(kinds)
    )


def _reader(path: Path, names: tuple[str, ...] | None) -> Reader:
    if not path.is_file():
        raise InputDataError(f"There is no file {path}; check the path given to --data.")
    try:
        with path.open("rb") as file:
            head = file.read(_PROBE_BYTES)
    except OSError as error:
        raise InputDataError(f"{path} cannot be read: {error.strerror}.") from error
    if not head:
        raise InputDataError(f"{path} is empty.")
    if head.startswith(b"root"):
        from bumpscout_tools.events.root import RootReader

        return RootReader(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _hdf5(path)
    if head.startswith(b"\x93NUMPY"):
        from bumpscout_tools.events.npy import NpyReader

        return NpyReader(path, names)
    if head.startswith(b"PAR1"):
        from bumpscout_tools.events.parquet_files import ParquetReader

        return ParquetReader(path)
    if head.startswith(b"\x1f\x8b") or b"<LesHouchesEvents" in head:
        from bumpscout_tools.events.lhe import LheReader

        return LheReader(path)
    archive = next((what for magic, what in _ARCHIVES.items() if head.startswith(magic)), None)
    if archive is not None:
        raise InputDataError(f"{path} is {archive}; give the file of events itself.")
    if _is_text(head):
        from bumpscout_tools.events.csv_files import CsvReader

        return CsvReader(path)
    raise InputDataError(
        f"{path} is of no known format. Files of events are ROOT (NanoAOD, PHYSLITE, Delphes, "
        "TreeMaker, ADFilter), HDF5, npy, Parquet, CSV or LHE; the content decides, not the name."
    )


def _hdf5(path: Path) -> Reader:
    import h5py

    from bumpscout_tools.events.aspen import AspenReader, is_aspen
    from bumpscout_tools.events.frames import hdf5_faults
    from bumpscout_tools.events.lhco import FrameReader

    with hdf5_faults(path, "any known layout"), h5py.File(path, "r") as file:
        aspen = is_aspen(file)
    return AspenReader(path) if aspen else FrameReader(path)


def _is_text(head: bytes) -> bool:
    sample = head[:_TEXT_BYTES]
    return b"\x00" not in sample and all(byte >= 32 or byte in b"\t\r\n" for byte in sample)
