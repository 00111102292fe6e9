"""The raw layout of the LHC Olympics: 700 zero-padded particles an event, in pandas HDF5.

Files are written with h5py alone, block by block, so that they may be larger than memory.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.simulation.layout import describe_column, frame_group, storage
from bumpscout_tools.simulation.safe_h5 import new_h5
from bumpscout_tools.simulation.store import MAX_PARTICLES

__all__ = ["RAW_COLUMNS", "write_raw_h5"]

RAW_COLUMNS = 3 * MAX_PARTICLES
"""pT in GeV, eta, phi of particle 0, then of particle 1, ..., each (n,)."""

_CHUNK_ROWS = 64
_GZIP_LEVEL = 4


def write_raw_h5(
    path: Path,
    n_events: int,
    blocks: Iterable[NDArray[np.float32]],
    labels: NDArray[np.integer] | None = None,
) -> None:
    """Write events in the raw layout; the same events give the same bytes.

    Args:
        path: file to write; an existing one is replaced.
        n_events: rows of all blocks together.
        blocks: (k, 2100) each, in the order of the rows.
        labels: (n_events,) truth, written as column 2100; None leaves it out.

    Raises:
        OSError: the disk is full, or the file cannot be written.
        ValueError: the blocks hold more or fewer rows than n_events.
    """
    width = RAW_COLUMNS + (labels is not None)
    names = np.arange(width, dtype=np.int64)
    chunk = (min(_CHUNK_ROWS, n_events), width) if n_events else None
    with new_h5(path) as (file, output):
        group = frame_group(file)
        rows = np.arange(n_events, dtype=np.int64)
        for name, index in (("axis0", names), ("axis1", rows), ("block0_items", names)):
            data = group.create_dataset(name, data=index, **storage(index))
            describe_column(data)
        values = group.create_dataset(
            "block0_values",
            (n_events, width),
            np.float32,
            chunks=chunk,
            compression="gzip" if n_events else None,
            compression_opts=_GZIP_LEVEL if n_events else None,
            shuffle=bool(n_events),
        )
        describe_column(values)
        row = 0
        for block in blocks:
            end = row + len(block)
            if end > n_events:
                break
            values[row:end, :RAW_COLUMNS] = block
            if labels is not None:
                values[row:end, RAW_COLUMNS] = labels[row:end]
            row = end
            if output.error is not None:
                return
        if row != n_events:
            raise ValueError(f"{row} rows for a file of {n_events} events")
