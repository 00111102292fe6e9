"""What all readers share: the description of a file, the wish of a caller, chunks of events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.table import EventTable, Particles

__all__ = [
    "CHUNK_EVENTS",
    "MAX_COLUMNS",
    "MAX_EXPANSION",
    "Contents",
    "Reader",
    "Wish",
    "check_expansion",
    "concatenate",
    "particles_by_pt",
    "ranges",
]

CHUNK_EVENTS = 50_000
MAX_COLUMNS = 2000
"""Most columns of a flat table; files with more hold something else than features."""
MAX_EXPANSION = 500
"""A file that unpacks to more than this many times its size is taken for a bomb."""
_SMALL_BYTES = 256 << 20

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Wish:
    """What a caller needs; readers touch nothing else of the file.

    Attributes:
        columns: names of event columns; None for those of the layout.
        kinds: kinds of particles; None for all that the file has.
    """

    columns: tuple[str, ...] | None = None
    kinds: frozenset[str] | None = None

    def wants_kind(self, kind: str) -> bool:
        """Return whether particles of this kind are needed."""
        return self.kinds is None or kind in self.kinds

    def wants_column(self, name: str) -> bool:
        """Return whether an event column is needed."""
        return self.columns is None or name in self.columns


@dataclass(frozen=True)
class Contents:
    """What a file holds, known without reading its events.

    Attributes:
        format: name of the layout.
        n_events: events of the file.
        columns: event columns that can be read.
        kinds: kinds of particles that can be read.
        truth: columns that stay in the file because they tell the truth, as named there.
        n_unread: further columns that are not read.
        notes: what a user should know about the layout, in sentences.
    """

    format: str
    n_events: int
    columns: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    truth: tuple[str, ...] = ()
    n_unread: int = 0
    notes: tuple[str, ...] = field(default=())


class Reader(Protocol):
    """An opened file of events."""

    contents: Contents

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def ranges(n: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Give the bounds of chunks that cover n rows.

    >>> list(ranges(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, n, chunk):
        yield start, min(start + chunk, n)


def check_expansion(what: str, unpacked: int, stored: int) -> None:
    """Refuse data that unpack to absurdly more than what is stored.

    Args:
        what: file and part of it, as the message names them.
        unpacked: bytes that they claim to become.
        stored: bytes that they take.

    Raises:
        InputDataError: if they do.
    """
    if unpacked < 0 or stored < 0 or unpacked > _SMALL_BYTES + MAX_EXPANSION * stored:
        raise InputDataError(
            f"{what} claims to unpack from {stored} to {unpacked} bytes, which no file of events "
            "does; it is damaged or was made to exhaust the memory."
        )


def particles_by_pt(particles: Particles) -> tuple[Particles, IntArray]:
    """Sort the particles of each event by falling pT, NaN last.

    Returns:
        The sorted particles, and (m,) the old row of each of them.
    """
    key = np.where(np.isnan(particles.pt), np.inf, -particles.pt)
    event = particles.event
    falling = key[1:] >= key[:-1]
    if np.all(falling | (event[1:] > event[:-1])):
        return particles, np.arange(len(key))
    order = np.lexsort((key, event))
    return (
        replace(
            particles,
            pt=particles.pt[order],
            eta=particles.eta[order],
            phi=particles.phi[order],
            mass=particles.mass[order],
            extra=MappingProxyType({name: x[order] for name, x in particles.extra.items()}),
        ),
        order,
    )


def concatenate(tables: Sequence[EventTable]) -> EventTable:
    """Join chunks of one file.

    Raises:
        InputDataError: if there is none.
    """
    if not tables:
        raise InputDataError("There are no events to join.")
    first = tables[0]
    if len(tables) == 1:
        return first
    weights = [table.weight for table in tables if table.weight is not None]
    return EventTable(
        columns=_joined([table.columns for table in tables]),
        format=first.format,
        units=first.units,
        particles=MappingProxyType(
            {
                kind: _join_particles([table.particles[kind] for table in tables])
                for kind in first.particles
            }
        ),
        triggers=_joined([table.triggers for table in tables]),
        weight=np.concatenate(weights) if weights else None,
    )


def _joined(parts: Sequence[Any]) -> Any:
    names: Collection[str] = parts[0]
    return MappingProxyType({n: np.concatenate([part[n] for part in parts]) for n in names})


def _join_particles(parts: Sequence[Particles]) -> Particles:
    counts = np.concatenate([part.counts for part in parts])
    return Particles(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        pt=np.concatenate([part.pt for part in parts]),
        eta=np.concatenate([part.eta for part in parts]),
        phi=np.concatenate([part.phi for part in parts]),
        mass=np.concatenate([part.mass for part in parts]),
        extra=_joined([part.extra for part in parts]),
    )
