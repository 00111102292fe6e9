"""Les Houches events (LHE, also gzipped) of signal models: final partons and leptons, by pylhe."""

from __future__ import annotations

import contextlib
import gzip
import io
import warnings
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.reader import Contents, Wish, check_expansion, particles_by_pt, ranges
from bumpscout_tools.events.table import EventTable, Particles

__all__ = ["LheReader", "unpacked"]

_BLOCK = 1 << 20
_MAX_PARTICLES = 1000
_KINDS = ("jets", "electrons", "muons", "photons")
_PARTONS = frozenset((1, 2, 3, 4, 5, 21))
_LEPTONS = {11: "electrons", 13: "muons", 22: "photons"}
_NEUTRINOS = frozenset((12, 14, 16))
_B_QUARK = 5


class LheReader:
    """An LHE file; only particles of the final state (status 1) are read."""

    contents: Contents

    def __init__(self, path: Path) -> None:
        """Count the events.

        Raises:
            InputDataError: if the file is damaged or holds none.
        """
        self._path = path
        n_events, tail = 0, b""
        with self._faults(), unpacked(path) as stream:
            while block := stream.read(_BLOCK):
                text = tail + block
                n_events += sum(text.count(b"<event" + end) for end in (b">", b" ", b"\n", b"\r"))
                # A tag that the next block ends is counted there.
                tail = text[-len(b"<event") :]
        if n_events == 0:
            raise InputDataError(f"{path} holds no events.")
        self.contents = Contents(
            "lhe",
            n_events,
            ("met_pt", "met_phi"),
            _KINDS,
            truth=("particles that decayed or came in", "weights of variations"),
            notes=(
                "Parton level: quarks and gluons of the final state stand for jets, btag is 1 for "
                "b quarks, missing momentum is that of the neutrinos.",
            ),
        )

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time.

        Raises:
            InputDataError: naming the events that cannot be read.
        """
        import pylhe

        n_events = self.contents.n_events
        with unpacked(self._path) as stream:
            with self._faults("before the first event"):
                events = iter(
                    pylhe.LHEFile.frombuffer(stream, with_attributes=False, generator=True).events
                )
            for start, stop in ranges(n_events, chunk):
                with self._faults(f"events {start} to {stop}"):
                    some = list(islice(events, stop - start))
                if len(some) != stop - start:
                    raise InputDataError(
                        f"{self._path} breaks off in event {start + len(some)} of {n_events}. "
                        "The file may be truncated."
                    )
                yield _table(some, wish, f"{self._path}, events {start} to {stop}")

    @contextlib.contextmanager
    def _faults(self, where: str = "its text") -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                yield
            except InputDataError:
                raise
            except (
                OSError, EOFError, zlib.error, SyntaxError, ValueError, LookupError, TypeError,
                AttributeError, MemoryError, RuntimeWarning, StopIteration,
            ) as error:  # fmt: skip
                reason = (str(error) or type(error).__name__).split("\n", 1)[0][:200]
                raise InputDataError(
                    f"{self._path} cannot be read as LHE ({where}): {reason}. The file may be "
                    "truncated or damaged."
                ) from error

    def close(self) -> None:
        """Nothing to close: every pass opens the file anew."""


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked if it is gzipped; reading far more than a file of text holds fails.

    Raises:
        InputDataError: while reading, if the file unpacks to absurdly much.
    """
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    if not packed:
        with path.open("rb") as plain:
            yield plain
        return
    with gzip.open(path) as stream, _Bounded(stream, path) as bounded:
        yield io.BufferedReader(bounded, _BLOCK)


class _Bounded(io.RawIOBase):
    """A stream that refuses to give absurdly more than the file holds."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path, self._given = stream, path, 0
        self._stored = path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self._given += len(content)
        check_expansion(str(self._path), self._given, self._stored)
        buffer[: len(content)] = content
        return len(content)


def _table(events: list[Any], wish: Wish, what: str) -> EventTable:
    rows: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in _KINDS}
    counts = {kind: np.zeros(len(events), dtype=np.int64) for kind in _KINDS}
    met = np.zeros((len(events), 2))
    weight = np.empty(len(events))
    for index, event in enumerate(events):
        if len(event.particles) > _MAX_PARTICLES:
            raise InputDataError(f"{what}: an event with {len(event.particles)} particles.")
        weight[index] = event.eventinfo.weight
        for particle in event.particles:
            if int(particle.status) != 1:
                continue
            code = abs(int(particle.id))
            if code in _NEUTRINOS:
                met[index] += particle.px, particle.py
                continue
            kind = "jets" if code in _PARTONS else _LEPTONS.get(code)
            if kind is None:
                continue
            counts[kind][index] += 1
            rows[kind].append(
                (particle.px, particle.py, particle.pz, particle.m, float(code == _B_QUARK))
            )
    particles = {
        kind: _particles(kind, rows[kind], counts[kind]) for kind in _KINDS if wish.wants_kind(kind)
    }
    columns = {}
    if wish.wants_column("met_pt"):
        columns["met_pt"] = np.hypot(met[:, 0], met[:, 1])
    if wish.wants_column("met_phi"):
        columns["met_phi"] = np.arctan2(met[:, 1], met[:, 0])
    return EventTable(
        MappingProxyType(columns),
        format="lhe",
        units=MappingProxyType({"met_pt": "GeV", "met_phi": "rad"}),
        particles=MappingProxyType(particles),
        weight=weight,
    )


def _particles(kind: str, rows: list[tuple[float, ...]], counts: Any) -> Particles:
    px, py, pz, mass, tag = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    pt = np.hypot(px, py)
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.arcsinh(pz / pt)
    extra = {"btag": np.ascontiguousarray(tag)} if kind == "jets" else {}
    every = Particles(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        pt,
        eta,
        np.arctan2(py, px),
        np.abs(mass),
        MappingProxyType(extra),
    )
    return particles_by_pt(every)[0]
