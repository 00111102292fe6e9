"""Frames that pandas wrote as "fixed" HDF5, decoded with h5py alone.

`pandas.read_hdf` and PyTables unpickle attributes of the file; nothing here looks at an attribute,
follows a link to another file or lets a file name the place of its data.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.reader import check_expansion

__all__ = ["Frame", "check_dataset", "hdf5_faults", "is_own_group", "open_frame", "plain_dataset"]

MAX_ROWS_AND_COLUMNS = 40_000_000_000
MAX_BLOCKS = 5000
MAX_COLUMNS = 5000
_OWN_FILTERS = 256
"""Filters of HDF5 itself have numbers below; those above come from plug-ins."""

FloatArray = npt.NDArray[np.float64]


class Frame:
    """One frame of an opened file: columns of numbers by name.

    Attributes:
        names: of all columns, in the order of the blocks.
        n_rows: of all blocks.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        """Look at the blocks, not at their values.

        Raises:
            InputDataError: if the file has not exactly one frame, or a block is no table of
                numbers.
        """
        frames = [
            name for name in file if is_own_group(file, name) and "block0_values" in file[name]
        ]
        if len(frames) != 1:
            raise InputDataError(
                f"{path} holds {len(frames)} pandas frames; exactly one is expected "
                "(the LHC Olympics layout has one group 'df')."
            )
        self._path = path
        frame = file[frames[0]]
        self._places: dict[str, tuple[Any, int]] = {}
        self.names: list[str] = []
        rows = set()
        for index in range(MAX_BLOCKS):
            if f"block{index}_values" not in frame:
                break
            values = plain_dataset(path, frame, f"block{index}_values")
            items = plain_dataset(path, frame, f"block{index}_items")
            if values.ndim != 2 or items.ndim != 1 or values.shape[1] != items.shape[0]:
                raise InputDataError(
                    f"{path}: block {index} has shape {values.shape}, not (events, columns)."
                )
            if values.dtype.kind not in "fiub" or items.shape[0] > MAX_COLUMNS:
                raise InputDataError(
                    f"{path}: block {index} is no table of numbers ({values.dtype})."
                )
            check_dataset(f"{path}: block {index}", values)
            check_dataset(f"{path}: the column names of block {index}", items)
            rows.add(values.shape[0])
            for position, item in enumerate(items[:]):
                name = _name(item)
                self.names.append(name)
                self._places.setdefault(name, (values, position))
        if len(rows) != 1:
            raise InputDataError(f"{path}: the blocks of the frame have different numbers of rows.")
        self.n_rows = int(rows.pop())

    def missing(self, wanted: Sequence[str]) -> list[str]:
        """Return those of the wanted columns that there are not."""
        return [name for name in wanted if name not in self._places]

    def read(self, wanted: Sequence[str], start: int, stop: int) -> dict[str, FloatArray]:
        """Return (stop - start,) values of each wanted column; every block is read once."""
        blocks: dict[int, tuple[Any, list[tuple[str, int]]]] = {}
        for name in wanted:
            values, position = self._places[name]
            blocks.setdefault(id(values), (values, []))[1].append((name, position))
        columns: dict[str, FloatArray] = {}
        for values, places in blocks.values():
            low = min(position for _, position in places)
            high = max(position for _, position in places) + 1
            table = values[start:stop, low:high]
            for name, position in places:
                columns[name] = np.asarray(table[:, position - low], dtype=np.float64)
        return {name: columns[name] for name in wanted}

    def table(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return (stop - start, columns) of the first block as it is stored."""
        values = self._places[self.names[0]][0]
        return np.asarray(values[start:stop])

    @property
    def one_block(self) -> bool:
        """Whether all columns lie in one block."""
        return len({id(values) for values, _ in self._places.values()}) == 1


@contextlib.contextmanager
def open_frame(path: Path, layout: str) -> Iterator[Frame]:
    """Open the frame of a file.

    Args:
        path: HDF5 file.
        layout: what it should be, for messages.

    Raises:
        InputDataError: if the file is missing or damaged, or holds no such frame.
    """
    if not path.is_file():
        raise InputDataError(f"There is no file {path}; check the path given to --data.")
    with hdf5_faults(path, layout), h5py.File(path, "r") as file:
        yield Frame(path, file)


@contextlib.contextmanager
def hdf5_faults(path: Path, layout: str) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into one sentence.

    Raises:
        InputDataError: naming the file.
    """
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).split("\n", 1)[0]
        raise InputDataError(
            f"{path} cannot be read as HDF5 in {layout}: {reason}. "
            "The file may be truncated or of another format."
        ) from error


def is_own_group(file: h5py.Group, name: str) -> bool:
    """Return whether a member is a group that lies in this file itself."""
    link = file.get(name, getlink=True)
    return isinstance(link, h5py.HardLink) and isinstance(file[name], h5py.Group)


def plain_dataset(path: Path, group: h5py.Group, name: str) -> Any:
    """Return a data set whose data lie in this file.

    Raises:
        InputDataError: if it is none, or lies elsewhere.
        KeyError: if there is no such member.
    """
    link = group.get(name, getlink=True)
    dataset = group[name] if isinstance(link, h5py.HardLink) else None
    if link is None:
        raise KeyError(f"there is no {name}")
    if dataset is not None and not isinstance(dataset, h5py.Dataset):
        raise TypeError(f"{name} is no data set")
    if dataset is None or dataset.is_virtual or dataset.external:
        raise InputDataError(
            f"{path}: {name} lies in another file; only data in the file itself are read."
        )
    return dataset


def check_dataset(what: str, dataset: Any) -> None:
    """Refuse a data set that unpacks to absurdly much; load the plug-in of its compression.

    Raises:
        InputDataError: if it does, or is compressed in a way that cannot be undone here.
    """
    cells = int(np.prod(dataset.shape, dtype=np.float64))
    if cells > MAX_ROWS_AND_COLUMNS:
        raise InputDataError(f"{what} is too large ({dataset.shape}).")
    stored = int(dataset.id.get_storage_size())
    check_expansion(what, cells * dataset.dtype.itemsize, stored)
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(index)[0] for index in range(settings.get_nfilters())]
    foreign = [number for number in filters if number >= _OWN_FILTERS]
    if foreign and not all(h5py.h5z.filter_avail(number) for number in foreign):
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")
        if not all(h5py.h5z.filter_avail(number) for number in foreign):
            raise InputDataError(
                f"{what} is compressed with the HDF5 filters {foreign}, which are not installed; "
                "install them with: pip install hdf5plugin"
            )


def _name(item: object) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
