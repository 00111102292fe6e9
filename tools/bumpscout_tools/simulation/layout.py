"""The LHC Olympics feature layout: two jets an event, in a pandas 'fixed' HDF5 group.

Files are written with h5py alone and read by ``bumpscout_tools.events.lhco``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS, LABEL, read_features, read_labels

__all__ = [
    "LAYOUT_COLUMNS",
    "describe_column",
    "dijet_mass",
    "empty_table",
    "frame_group",
    "read_features_h5",
    "round_mantissa",
    "storage",
    "write_features_h5",
    "write_unlabelled_h5",
]

LAYOUT_COLUMNS: tuple[str, ...] = (*FEATURE_COLUMNS, LABEL)
"""All columns of a file: those of j1, those of j2, and the truth label."""

_GROUP = "df"

Table = NDArray[np.void]


def empty_table(n_events: int, dtype: type[np.floating] = np.float32) -> Table:
    """Make a structured table with the official columns, filled with zeros.

    Args:
        n_events: number of rows.
        dtype: the one precision of all columns.

    Returns:
        (n_events,) structured array with the fields of ``LAYOUT_COLUMNS``.
    """
    return np.zeros(n_events, dtype=[(name, dtype) for name in LAYOUT_COLUMNS])


def dijet_mass(columns: Table | Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
    """Compute the invariant mass of the two jets, m_jj^2 = (p_1 + p_2)^2.

    Args:
        columns: table with px, py, pz, m of j1 and j2, each (n,) GeV.

    Returns:
        (n,) m_jj in GeV.
    """
    momentum = np.zeros((3, len(columns["mj1"])))
    energy = np.zeros(len(columns["mj1"]))
    for jet in ("j1", "j2"):
        parts = [
            np.asarray(columns[f"{axis}{jet}"], dtype=np.float64) for axis in ("px", "py", "pz")
        ]
        mass = np.asarray(columns[f"m{jet}"], dtype=np.float64)
        momentum += np.stack(parts)
        energy += np.sqrt(np.square(parts).sum(axis=0) + np.square(mass))
    mass2 = np.square(energy) - np.square(momentum).sum(axis=0)
    return np.asarray(np.sqrt(np.maximum(mass2, 0.0)))


def round_mantissa(values: NDArray[np.floating], bits: int) -> NDArray[np.float64]:
    """Round floating-point numbers to a few significant bits, which makes them compress.

    Args:
        values: any shape, any unit.
        bits: significant bits to keep; the relative error is at most 2^-bits.

    Returns:
        Rounded values.

    >>> round_mantissa(np.array([3.14159, -1000.3]), 8).tolist()
    [3.140625, -1000.0]
    """
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits))


def write_features_h5(path: Path, columns: Table | Mapping[str, NDArray[np.floating]]) -> None:
    """Write a feature file in the official layout, gzip and shuffle filters inside.

    All columns share one block of one precision, so that nothing but the label column tells
    signal from background. pandas can read the file too. The same table gives the same bytes.

    Args:
        path: file to write; an existing one is replaced.
        columns: (n,) per column; momenta and masses in GeV.

    Raises:
        InputDataError: a column is missing.
    """
    names = columns.dtype.names or () if isinstance(columns, np.ndarray) else tuple(columns)
    missing = [name for name in LAYOUT_COLUMNS if name not in names]
    if missing:
        raise InputDataError(
            f"cannot write {path}: the table lacks {', '.join(missing)}; give all of "
            f"{', '.join(LAYOUT_COLUMNS)}"
        )
    block = np.stack([np.asarray(columns[name]) for name in LAYOUT_COLUMNS], axis=1)
    _write_frame(path, LAYOUT_COLUMNS, block)


def write_unlabelled_h5(path: Path, columns: Table) -> None:
    """Write a feature file without its truth label; the same table gives the same bytes.

    Args:
        path: file to write; an existing one is replaced.
        columns: (n,) table; momenta and masses in GeV.
    """
    block = np.stack([np.asarray(columns[name]) for name in FEATURE_COLUMNS], axis=1)
    _write_frame(path, FEATURE_COLUMNS, block)


def _write_frame(path: Path, names: tuple[str, ...], block: NDArray[np.floating]) -> None:
    items = np.array([name.encode() for name in names])
    rows = np.arange(len(block), dtype=np.int64)
    # In memory first: HDF5 itself crashes where a write to the disk fails.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        group = frame_group(file)
        for name, values in (
            ("axis0", items),
            ("axis1", rows),
            ("block0_items", items),
            ("block0_values", block),
        ):
            data = group.create_dataset(name, data=values, **storage(values))
            describe_column(data)
        file.flush()
        image = file.id.get_file_image()
    path.write_bytes(image)


def frame_group(file: h5py.File) -> h5py.Group:
    """Begin a pandas frame of one block in an empty HDF5 file.

    Args:
        file: open for writing.

    Returns:
        The group; ``axis0``, ``axis1``, ``block0_items`` and ``block0_values`` belong into it.
    """
    _describe(file, CLASS="GROUP", PYTABLES_FORMAT_VERSION="2.1", TITLE="", VERSION="1.0")
    group = file.create_group(_GROUP, track_order=False)
    _describe(
        group,
        CLASS="GROUP",
        TITLE="",
        VERSION="1.0",
        axis0_variety="regular",
        axis1_variety="regular",
        block0_items_variety="regular",
        encoding="UTF-8",
        errors="strict",
        ndim=2,
        nblocks=1,
        pandas_type="frame",
    )
    return group


def storage(values: NDArray[np.generic]) -> dict[str, Any]:
    """Choose chunks and filters of a data set.

    Args:
        values: (n,) or (n, columns) what is written.

    Returns:
        Arguments of ``create_dataset``.
    """
    if not len(values):
        return {}
    chunks = (min(len(values), 4096), *values.shape[1:])
    return {"chunks": chunks, "compression": "gzip", "compression_opts": 9, "shuffle": True}


def describe_column(data: h5py.Dataset) -> None:
    """Attach the attributes that pandas looks for to a data set of a frame.

    Args:
        data: one-dimensional names or row numbers, or the two-dimensional numbers.
    """
    _describe(data, CLASS="CARRAY", TITLE="", VERSION="1.1")
    if data.dtype.kind == "S":
        _describe(data, kind="string", nan_rep="nan")
    elif data.ndim == 1:
        _describe(data, kind="integer")
    data.attrs["transposed"] = np.uint8(1)


def _describe(node: h5py.HLObject, **attributes: str | int) -> None:
    for name, value in attributes.items():
        if isinstance(value, str):
            # Fixed length and marked UTF-8: what PyTables hands to pandas as str, not bytes.
            text = value.encode()
            kind = h5py.string_dtype("utf-8", max(len(text), 1))
            node.attrs.create(name, np.bytes_(text), dtype=kind)
        else:
            node.attrs[name] = np.int64(value)


def read_features_h5(path: Path) -> Table:
    """Read a feature file with its truth labels.

    Args:
        path: file in the LHC Olympics feature layout.

    Returns:
        (n,) structured array of float64 with the fields of ``LAYOUT_COLUMNS``; GeV.

    Raises:
        InputDataError: the file cannot be read or lacks a column.
    """
    events = read_features(path)
    table = empty_table(events.n_events, np.float64)
    for name in FEATURE_COLUMNS:
        table[name] = events.columns[name]
    table[LABEL] = read_labels(path)
    return table
