"""Chunks of simulated events on disk: written whole or not at all, read without loading them."""

import io
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.files import write_atomic
from bumpscout_tools.simulation.card import SimulationCard
from bumpscout_tools.simulation.errors import BoxError
from bumpscout_tools.simulation.generate import BACKGROUND, Chunk, SimulatedEvents, simulate_events
from bumpscout_tools.simulation.layout import LAYOUT_COLUMNS, Table

__all__ = ["StoredChunk", "chunk_name", "detector_coordinates", "make_chunk", "open_chunk"]

MAX_PARTICLES = 700
"""Particles of an event in the raw layout of the LHC Olympics; softer ones are left out."""


class StoredChunk(NamedTuple):
    """A finished chunk.

    Attributes:
        table: (n,) structured float32 table with the fields of ``LAYOUT_COLUMNS``.
        offsets: (n + 1,) where the particles of each event begin; all 0 without particles.
        particles: (offsets[-1], 3) float32 pT in GeV, eta, phi, hardest first; not in memory.
        n_cut: particles that were left out beyond ``MAX_PARTICLES``.
    """

    table: Table
    offsets: NDArray[np.int64]
    particles: NDArray[np.float32]
    n_cut: int


def chunk_name(chunk: Chunk) -> str:
    """Name the files of a chunk; the name tells its process and number and no more."""
    process = "background" if chunk.process == BACKGROUND else f"signal{chunk.process + 1}"
    return f"{process}_{chunk.number:05d}_{chunk.n_events}"


def make_chunk(card: SimulationCard, chunk: Chunk, folder: Path, *, particles: bool) -> int:
    """Simulate a chunk into a folder, unless it is there.

    Args:
        card: what to simulate.
        chunk: which piece of it.
        folder: exists; gets ``NAME.json``, ``NAME.events.npy`` and with particles
            ``NAME.particles.npy``. The JSON file comes last: a chunk is there when it is.
        particles: keep all measured particles.

    Returns:
        Events of the chunk.

    Raises:
        MissingExtraError: Pythia or FastJet is not installed.
        GenerationError: Pythia refuses the card, or hardly any event passes the cuts.
        OSError: the disk is full, or the folder cannot be written.
    """
    name = chunk_name(chunk)
    done = folder / f"{name}.json"
    if done.exists():
        return chunk.n_events
    events = simulate_events(card, chunk, particles=particles)
    offsets, coordinates, n_cut = detector_coordinates(events)
    _save(folder / f"{name}.events.npy", events.table)
    if particles:
        _save(folder / f"{name}.offsets.npy", offsets)
        _save(folder / f"{name}.particles.npy", coordinates)
    write_atomic(done, json.dumps({"n_events": len(events.table), "n_cut": n_cut}) + "\n")
    return chunk.n_events


def open_chunk(folder: Path, chunk: Chunk, *, particles: bool) -> StoredChunk:
    """Open a finished chunk.

    Args:
        folder: where ``make_chunk`` wrote it.
        chunk: which piece.
        particles: open its particles too.

    Raises:
        BoxError: a file of the chunk is damaged or missing.
    """
    name = chunk_name(chunk)
    try:
        table = np.load(folder / f"{name}.events.npy", allow_pickle=False)
        n_cut = int(json.loads((folder / f"{name}.json").read_text())["n_cut"])
        offsets = np.zeros(len(table) + 1, dtype=np.int64)
        flat: NDArray[np.float32] = np.zeros((0, 3), dtype=np.float32)
        if particles:
            offsets = np.load(folder / f"{name}.offsets.npy", allow_pickle=False)
            flat = np.load(folder / f"{name}.particles.npy", mmap_mode="r", allow_pickle=False)
        sound = (
            table.dtype.names == LAYOUT_COLUMNS
            and len(table) == chunk.n_events
            and flat.shape == (offsets[-1], 3)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BoxError(_damaged(folder, name)) from error
    if not sound:
        raise BoxError(_damaged(folder, name))
    return StoredChunk(table, offsets, flat, n_cut)


def detector_coordinates(
    events: SimulatedEvents,
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """Write particles as the raw layout has them: pT, eta, phi, hardest first, at most 700.

    Args:
        events: events with particles.

    Returns:
        Offsets (n + 1,), coordinates (offsets[-1], 3) float32, and the particles left out.
    """
    px, py, pz = events.particles[:, :3].T
    pt = np.hypot(px, py)
    event = np.repeat(np.arange(len(events.counts)), events.counts)
    order = np.lexsort((-pt, event))
    start = np.concatenate([[0], np.cumsum(events.counts)])
    rank = np.arange(len(order)) - start[event]
    order = order[rank < MAX_PARTICLES]
    flat = np.stack([pt, np.arcsinh(pz / np.maximum(pt, 1e-300)), np.arctan2(py, px)], axis=1)
    kept = np.minimum(events.counts, MAX_PARTICLES)
    offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return offsets, flat[order].astype(np.float32), int((events.counts - kept).sum())


def _save(path: Path, values: NDArray[np.generic]) -> None:
    partial = path.with_suffix(".part")
    try:
        # numpy's own writing to a file does not tell of a full disk for small arrays.
        data = io.BytesIO()
        np.save(data, values, allow_pickle=False)
        with partial.open("wb") as file:
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _damaged(folder: Path, name: str) -> str:
    return (
        f"the finished chunk {folder / name} is damaged or incomplete; delete its files and run "
        "the same command again"
    )
