"""Reader of the LHC Olympics feature layout (pandas "fixed" HDF5), decoded with h5py alone.

`pandas.read_hdf` and PyTables unpickle attributes of the file; this reader looks at nothing but
the numeric blocks and the names of their columns.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.table import EventTable

__all__ = ["FEATURE_COLUMNS", "LABEL", "read_features", "read_labels"]

LABEL = "label"
FEATURE_COLUMNS = tuple(
    f"{name}{jet}"
    for jet in ("j1", "j2")
    for name in ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
)
"""Columns of the layout, per jet: momentum and mass in GeV, N-subjettiness tau_1..3."""

MAX_CELLS = 2_000_000_000
MAX_COLUMNS = 5000

FloatArray = npt.NDArray[np.float64]


def read_features(path: Path) -> EventTable:
    """Read the 14 jet columns of an LHC Olympics feature file.

    Args:
        path: HDF5 file with one pandas frame of numeric blocks.

    Returns:
        The columns `FEATURE_COLUMNS`; a truth label in the file is not read.

    Raises:
        InputDataError: if the file is missing, damaged, empty, or has other columns.
    """
    columns = _read_columns(path, FEATURE_COLUMNS)
    if len(columns[FEATURE_COLUMNS[0]]) == 0:
        raise InputDataError(f"{path} holds no events.")
    return EventTable(MappingProxyType(columns), format="lhco-features-h5")


def read_labels(path: Path) -> FloatArray:
    """Read the truth label; for scoring code only, never on the way of a search.

    Raises:
        InputDataError: if the file cannot be read or has no label.
    """
    return _read_columns(path, (LABEL,))[LABEL]


def _read_columns(path: Path, wanted: tuple[str, ...]) -> dict[str, FloatArray]:
    if not path.is_file():
        raise InputDataError(f"There is no file {path}; check the path given to --data.")
    try:
        with h5py.File(path, "r") as file:
            return _decode(path, file, wanted)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputDataError(
            f"{path} cannot be read as HDF5 in the LHC Olympics feature layout: {reason}. "
            "The file may be truncated or of another format."
        ) from error


def _decode(path: Path, file: h5py.File, wanted: tuple[str, ...]) -> dict[str, FloatArray]:
    frames = [name for name in file if isinstance(file.get(name, getlink=False), h5py.Group)]
    frames = [name for name in frames if "block0_values" in file[name]]
    if len(frames) != 1:
        raise InputDataError(
            f"{path} holds {len(frames)} pandas frames; exactly one is expected "
            "(the LHC Olympics layout has one group 'df')."
        )
    frame = file[frames[0]]
    columns: dict[str, FloatArray] = {}
    found: list[str] = []
    for index in range(MAX_COLUMNS):
        if f"block{index}_values" not in frame:
            break
        values, items = frame[f"block{index}_values"], frame[f"block{index}_items"]
        if values.ndim != 2 or items.ndim != 1 or values.shape[1] != items.shape[0]:
            raise InputDataError(
                f"{path}: block {index} has shape {values.shape}, not (events, columns)."
            )
        if values.dtype.kind not in "fiub" or items.shape[0] > MAX_COLUMNS:
            raise InputDataError(f"{path}: block {index} is no table of numbers ({values.dtype}).")
        if values.shape[0] * values.shape[1] > MAX_CELLS:
            raise InputDataError(f"{path}: block {index} is too large ({values.shape}).")
        names = [_name(item) for item in items[:]]
        found += names
        for position, name in enumerate(names):
            if name in wanted:
                columns[name] = np.asarray(values[:, position], dtype=np.float64)
    missing = [name for name in wanted if name not in columns]
    if missing:
        shown = ", ".join(repr(name[:40]) for name in found[:20]) or "none"
        raise InputDataError(
            f"{path} lacks the columns {', '.join(missing)} of the LHC Olympics feature layout; "
            f"found: {shown}."
        )
    if len({len(column) for column in columns.values()}) != 1:
        raise InputDataError(f"{path}: the blocks of the frame have different numbers of rows.")
    return columns


def _name(item: object) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
