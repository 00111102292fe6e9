"""The parsers of event files in the confined child: for the vault, and for a look at a file.

Heavy imports stay inside the functions: a child loads only what it needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_tools.errors import InputDataError

if TYPE_CHECKING:
    from bumpscout_tools.events.reader import Contents, Reader
    from bumpscout_tools.events.table import EventTable, Particles
    from bumpscout_tools.features.catalogue import Inputs

__all__ = ["MAX_LISTED", "parse_events", "parse_format", "parse_inspection"]

Arrays = dict[str, npt.NDArray[np.generic]]
FloatArray = npt.NDArray[np.float64]

MAX_LISTED = 64
"""Most columns, triggers or truth names that are told of a file; the others are counted."""
NAME_LENGTH = 80
_SAMPLE = 200_000
_RAW_CHUNK = 2000
_EQUAL_WEIGHTS = 1e-5


def parse_events(
    path: str, name: str, seed: int, *, explored_only: bool = False, inputs: Inputs = "dijet"
) -> tuple[dict[str, JsonValue], Arrays]:
    """Read a file of events and return the view without anything that could betray the truth.

    Labels are not read. All values are brought to single precision first, so that precision tells
    nothing; rows are permuted; identifiers are keyed hashes of the content of an event, so copies
    of one event share theirs. `explored_only` keeps the summaries of the columns to the events
    that staged blinding lets exploration see. Events without jets of their own are clustered.
    `inputs` says whether the features are those of two jets, the rapidity-mass matrix, or those and
    the constituents of two jets.
    """
    from bumpscout_sandbox.blinding import explored_events
    from bumpscout_tools.events.open import open_reader
    from bumpscout_tools.features.views import view_of

    try:
        with open_reader(Path(path)) as reader:
            contents = reader.contents
            table = _read(reader, inputs)
        view, report = view_of(table, inputs)
    except InputDataError as error:
        raise InputDataError(str(error).replace(path, name)) from error
    rows = view.event_id.astype(np.int64)
    identifiers = _identify(table, rows, seed)
    shown = rows[explored_events(identifiers)] if explored_only else None
    order = np.random.default_rng(seed).permutation(len(view))
    data: dict[str, JsonValue] = {
        "format": table.format,
        "n_events": table.n_events,
        "feature_names": list(view.feature_names),
        "feature_units": [
            table.units.get(key, "") if key in table.columns else None for key in view.feature_names
        ],
        "drops": report.model_dump(mode="json"),
        "columns": list(_summaries(table, shown)),
        "n_columns": len(table.columns) + sum(4 + len(p.extra) for p in table.particles.values()),
        "weights": _weights(table.weight),
        "n_unread": contents.n_unread,
        "notes": list(contents.notes),
    }
    arrays: Arrays = {
        "event_id": identifiers[order],
        "mass": view.mass[order],
        "features": np.ascontiguousarray(view.features[order]),
    }
    if view.spectra is not None:
        spectra = view.spectra.select(order)
        data["mass_names"] = list(spectra.mass_names)
        data["category_names"] = list(spectra.category_names)
        arrays["masses"] = np.ascontiguousarray(spectra.masses)
        arrays["categories"] = spectra.categories
    return data, arrays


def parse_format(path: str, name: str) -> tuple[dict[str, JsonValue], Arrays]:
    """Return the layout of a file of events, without reading any event."""
    from bumpscout_tools.events.open import open_reader

    try:
        with open_reader(Path(path)) as reader:
            return {"format": reader.contents.format}, {}
    except InputDataError as error:
        raise InputDataError(str(error).replace(path, name)) from error


def parse_inspection(path: str, name: str) -> tuple[dict[str, JsonValue], Arrays]:
    """Read a file of any size chunk by chunk and return what a person may know of it.

    Extremes and counts are exact; medians are those of at most 200,000 values of a column, taken at
    equal distances.
    """
    from bumpscout_tools.events.open import open_reader
    from bumpscout_tools.events.reader import CHUNK_EVENTS, Wish

    columns: dict[str, _Running] = {}
    counts: dict[str, int] = {}
    fired: dict[str, int] = {}
    weights: list[FloatArray] = []
    hashes: list[npt.NDArray[np.uint64]] = []
    n_events = 0
    try:
        with open_reader(Path(path)) as reader:
            contents = reader.contents
            stride = max(1, contents.n_events // _SAMPLE)
            for table in reader.iterate(Wish(), CHUNK_EVENTS):
                n_events += table.n_events
                for key, (unit, values) in _quantities(table).items():
                    columns.setdefault(key, _Running(key, unit, stride)).add(values)
                for kind, particles in table.particles.items():
                    counts[kind] = counts.get(kind, 0) + len(particles.pt)
                for key, decisions in table.triggers.items():
                    fired[key] = fired.get(key, 0) + int(decisions.sum())
                if table.weight is not None:
                    weights.append(table.weight)
                hashes.append(_identify(_unified(table), np.arange(table.n_events), 0))
    except InputDataError as error:
        raise InputDataError(str(error).replace(path, name)) from error
    weight = np.concatenate(weights) if weights else None
    often = sorted(fired, key=lambda key: (-fired[key], key))[:MAX_LISTED]
    data: dict[str, JsonValue] = {
        "format": contents.format,
        "n_events": n_events,
        "columns": [running.summary() for running in list(columns.values())[:MAX_LISTED]],
        "n_columns": len(columns),
        "particles": {kind: number for kind, number in counts.items()},
        "triggers": [{"name": key[:200], "n_fired": fired[key]} for key in often],
        "n_triggers": len(fired),
        "weights": _weights(weight),
        "n_duplicates": n_events - len(np.unique(np.concatenate(hashes))),
        **_kept_back(contents),
    }
    return data, {}


def _read(reader: Reader, inputs: Inputs) -> EventTable:
    from bumpscout_tools.events.reader import Wish, concatenate
    from bumpscout_tools.features.constituents import jet_table
    from bumpscout_tools.features.views import constituent_table

    contents = reader.contents
    if contents.kinds == ("constituents",):
        # Particles of all events at once would not fit; jets are made chunk by chunk.
        made = constituent_table if inputs == "constituents" else jet_table
        chunks = [made(_unified(t)) for t in reader.iterate(Wish(), _RAW_CHUNK)]
        return _unified(concatenate(chunks))
    return _unified(concatenate(list(reader.iterate(Wish(), contents.n_events))))


def _unified(table: EventTable) -> EventTable:
    """Return the table with the precision that float32 has, and one zero."""

    def single(values: FloatArray) -> FloatArray:
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float32).astype(np.float64) + 0.0

    def particles(part: Particles) -> Particles:
        return replace(
            part,
            pt=single(part.pt),
            eta=single(part.eta),
            phi=single(part.phi),
            mass=single(part.mass),
            extra=MappingProxyType({key: single(x) for key, x in part.extra.items()}),
        )

    return replace(
        table,
        columns=MappingProxyType({key: single(x) for key, x in table.columns.items()}),
        particles=MappingProxyType({k: particles(part) for k, part in table.particles.items()}),
    )


def _identify(table: EventTable, rows: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint64]:
    columns = list(table.columns.values()) or [np.zeros(table.n_events)]
    raw = np.column_stack([column[rows] for column in columns]).astype("<f4")
    raw[np.isnan(raw)] = np.nan
    key = seed.to_bytes(32, "little", signed=True)
    width, content = raw.shape[1] * 4, raw.tobytes()
    parts = []
    for particles in table.particles.values():
        packed = np.column_stack([particles.pt, particles.eta, particles.phi, particles.mass])
        packed = packed.astype("<f4")
        packed[np.isnan(packed)] = np.nan
        parts.append((packed.tobytes(), 16 * particles.offsets))
    if not parts:
        digests = b"".join(
            hashlib.blake2b(content[start : start + width], digest_size=8, key=key).digest()
            for start in range(0, len(content), width)
        )
        return np.frombuffer(digests, dtype="<u8")
    out = []
    for index, row in enumerate(rows):
        digest = hashlib.blake2b(
            content[index * width : (index + 1) * width], digest_size=8, key=key
        )
        for packed_bytes, bounds in parts:
            # The separator keeps a particle from moving from one kind to the next.
            digest.update(b"|" + packed_bytes[bounds[row] : bounds[row + 1]])
        out.append(digest.digest())
    return np.frombuffer(b"".join(out), dtype="<u8")


def _quantities(table: EventTable) -> Mapping[str, tuple[str, FloatArray]]:
    """Return unit and values of every column, those of particles with their kind in front."""
    out = {key: (table.units.get(key, ""), x) for key, x in table.columns.items()}
    for kind, part in table.particles.items():
        out[f"{kind}.pt"] = ("GeV", part.pt)
        out[f"{kind}.eta"] = ("", part.eta)
        out[f"{kind}.phi"] = ("rad", part.phi)
        out[f"{kind}.mass"] = ("GeV", part.mass)
        for key, values in part.extra.items():
            out[f"{kind}.{key}"] = ("GeV" if key == "softdrop_mass" else "", values)
    return out


def _summaries(
    table: EventTable, shown: npt.NDArray[np.int64] | None
) -> Iterator[dict[str, JsonValue]]:
    seen = np.ones(table.n_events, dtype=bool)
    if shown is not None:
        seen[:] = False
        seen[shown] = True
    for index, (key, (unit, values)) in enumerate(_quantities(table).items()):
        if index == MAX_LISTED:
            return
        kind = key.partition(".")[0]
        particles = table.particles.get(kind) if key not in table.columns else None
        chosen = seen if particles is None else np.repeat(seen, particles.counts)
        running = _Running(key, unit, 1)
        running.add(values[chosen])
        yield running.summary()


def _weights(weight: FloatArray | None) -> JsonValue:
    if weight is None:
        return None
    finite = weight[np.isfinite(weight)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    scale = max(abs(low), abs(high))
    equal = len(finite) == len(weight) and high - low <= _EQUAL_WEIGHTS * scale
    return {
        "equal": bool(equal),
        "min": low,
        "max": high,
        "sum": float(finite.sum()),
        "n_negative": int((finite < 0).sum()),
        "n_unusable": int(len(weight) - len(finite)),
    }


def _kept_back(contents: Contents) -> dict[str, JsonValue]:
    return {
        "truth": [item[:200] for item in contents.truth[:MAX_LISTED]],
        "n_truth": len(contents.truth),
        "n_unread": contents.n_unread,
        "notes": list(contents.notes),
    }


class _Running:
    """Extremes, unusable values and a sample of one column, chunk after chunk."""

    def __init__(self, name: str, unit: str, stride: int) -> None:
        self._name, self._unit, self._stride = name, unit, stride
        self._low, self._high, self._unusable = np.inf, -np.inf, 0
        self._some: list[FloatArray] = []

    def add(self, values: FloatArray) -> None:
        finite = values[np.isfinite(values)]
        self._unusable += len(values) - len(finite)
        if len(finite):
            self._low = min(self._low, float(finite.min()))
            self._high = max(self._high, float(finite.max()))
            self._some.append(finite[:: self._stride].copy())

    def summary(self) -> dict[str, JsonValue]:
        some = np.concatenate(self._some) if self._some else np.zeros(1)
        empty = not self._some
        return {
            "name": self._name[:200],
            "unit": self._unit,
            "min": 0.0 if empty else self._low,
            "median": float(np.median(some)),
            "max": 0.0 if empty else self._high,
            "n_unusable": self._unusable,
        }
