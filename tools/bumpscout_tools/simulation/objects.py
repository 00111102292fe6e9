"""Simulated events with objects: jets with b-tags, isolated leptons and photons, missing energy."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.events.table import EventTable
from bumpscout_tools.events.table import Particles as Objects
from bumpscout_tools.features.clustering import cluster_jets
from bumpscout_tools.simulation.detector import measure
from bumpscout_tools.simulation.errors import GenerationError
from bumpscout_tools.simulation.extra import require
from bumpscout_tools.simulation.generator import ELECTRON, NEUTRINOS, PHOTON, Particles
from bumpscout_tools.simulation.object_card import ObjectCard, ObjectSelection, object_settings

__all__ = ["ObjectEvents", "simulate_objects"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

MUON = 13
BATCH_SIZE = 200
MAX_BARREN = 20
PYTHIA_MAX_SEED = 900_000_000
HADRON_PT_MIN_GEV = 5.0
TAG_DR = 0.3
_KINDS = MappingProxyType({"electrons": ELECTRON, "muons": MUON, "photons": PHOTON})


class ObjectEvents(NamedTuple):
    """Accepted events.

    Attributes:
        table: n events with ``jets`` (with ``btag``, 1 where tagged), ``electrons``, ``muons``,
            ``photons``, ``met_pt`` in GeV and ``met_phi``.
        cross_section_pb: of events that pass the cut on the leading jet, at leading order; for a
            signal the one of a W' with the couplings of a W.
    """

    table: EventTable
    cross_section_pb: float


class _Batch(NamedTuple):
    """Measured particles, and the heavy hadrons, event after event."""

    counts: IntArray
    momentum: FloatArray
    code: IntArray
    heavy_event: IntArray
    heavy: FloatArray
    is_bottom: BoolArray


def simulate_objects(card: ObjectCard, n_events: int, number: int = 0) -> ObjectEvents:
    """Simulate events with objects; the same card, number and n_events give the same events.

    Electrons, muons and photons are those that leave the collision, also from hadrons, and
    are isolated in the detector (`ObjectSelection`); jets are made of all that is measured,
    so that one lies on each of them (`RmmConfig.overlap_dr` removes it). A jet is tagged at random,
    by whether a b or a c hadron above 5 GeV lies within 0.3 of it. Missing energy is the opposite
    of all that is measured.

    Args:
        card: what to simulate.
        n_events: accepted events.
        number: which piece of a sample: another number gives other events.

    Raises:
        MissingExtraError: Pythia or FastJet is not installed.
        GenerationError: Pythia refuses the card, or hardly any event passes the cut.
    """
    pythia_sequence, smearing = np.random.SeedSequence([card.seed, number, 0x0B7]).spawn(2)
    rng = np.random.default_rng(smearing)
    seed = 1 + int(pythia_sequence.generate_state(1, np.uint64)[0] % PYTHIA_MAX_SEED)
    pythia = _pythia(card, seed)
    parts: list[EventTable] = []
    accepted = tried = barren = 0
    while accepted < n_events:
        batch = _measured(pythia, card, rng)
        tried += len(batch.counts)
        part = _objects(batch, card, rng)
        barren = 0 if part is not None else barren + 1
        if barren >= MAX_BARREN:
            raise GenerationError(
                f"none of {barren * BATCH_SIZE} events has a leading jet above "
                f"leading_jet_pt_min_gev = {card.leading_jet_pt_min_gev:g} GeV; lower the cut"
            )
        if part is not None:
            parts.append(part)
            accepted += part.n_events
    millibarn = pythia.infoPython().sigmaGen()
    return ObjectEvents(_joined(parts, n_events), millibarn * 1e9 * accepted / tried)


def _pythia(card: ObjectCard, seed: int) -> Any:
    pythia = require("pythia8mc").Pythia("", False)
    for line in object_settings(card, seed):
        if not pythia.readString(line):
            raise GenerationError(f"Pythia does not accept the setting {line!r}")
    if not pythia.init():
        raise GenerationError(
            "Pythia did not initialise; check the energies and masses of the card"
        )
    return pythia


def _measured(pythia: Any, card: ObjectCard, rng: np.random.Generator) -> _Batch:
    ak = require("awkward")
    record = pythia.nextBatch(BATCH_SIZE).prt
    if not record.fields:
        raise GenerationError(
            f"Pythia gave up all of {BATCH_SIZE} events; check the masses and widths of the card"
        )
    n = len(record.id)
    event = np.repeat(np.arange(n), np.asarray(ak.num(record.id), dtype=np.int64))
    code = np.abs(np.asarray(ak.flatten(record.id), dtype=np.int64))
    axes = [np.asarray(ak.flatten(record.p[name])) for name in ("px", "py", "pz")]
    momentum = np.stack(axes, axis=1)
    stable = np.asarray(ak.flatten(record.status)) > 0
    keep = stable & ~np.isin(code, NEUTRINOS)
    heaviest = np.maximum(code // 100 % 10, code // 1000 % 10)
    hard = np.hypot(momentum[:, 0], momentum[:, 1]) > HADRON_PT_MIN_GEV
    heavy = (code > 100) & (code < 1_000_000) & np.isin(heaviest, (4, 5)) & hard
    electromagnetic = np.isin(code[keep], (PHOTON, ELECTRON))
    kinds, kind = np.unique(code[keep], return_inverse=True)
    charges = np.array([pythia.particleData.charge(int(k)) != 0.0 for k in kinds], dtype=bool)
    visible = Particles(
        np.bincount(event[keep], minlength=n),
        momentum[keep],
        electromagnetic,
        charges[kind] & ~electromagnetic,
    )
    seen, measured = measure(visible, card.detector, rng)
    return _Batch(
        np.bincount(event[keep][seen], minlength=n),
        measured,
        code[keep][seen],
        event[heavy],
        momentum[heavy],
        heaviest[heavy] == 5,
    )


def _objects(batch: _Batch, card: ObjectCard, rng: np.random.Generator) -> EventTable | None:
    """Return the events with a hard leading jet; None if there is none."""
    n = len(batch.counts)
    jets = cluster_jets(
        batch.counts,
        batch.momentum,
        radius=card.jets.radius,
        pt_min_gev=card.jets.pt_min_gev,
        abs_eta_max=card.jets.abs_eta_max,
    )
    leading = np.zeros(n)
    np.maximum.at(leading, jets.event, jets.pt)
    keep = leading > card.leading_jet_pt_min_gev
    tags = _tags(jets, batch, card.selection, rng)
    px, py, pz, _ = batch.momentum.T
    event = np.repeat(np.arange(n), batch.counts)
    pt = np.hypot(px, py)
    all_seen = (event, pt, np.arcsinh(pz / pt), np.arctan2(py, px))
    kinds = {"jets": _select(_with(jets, tags), jets.event, keep)}
    for name, code in _KINDS.items():
        rows = _isolated(all_seen, batch.code == code, card.selection)
        kinds[name] = _select(_objects_of(all_seen, rows, n), event[rows], keep)
    if not keep.any():
        return None
    x, y = (-np.bincount(event, axis, n)[keep] for axis in (px, py))
    columns = {"met_pt": np.hypot(x, y), "met_phi": np.arctan2(y, x)}
    units = MappingProxyType({"met_pt": "GeV", "met_phi": "rad"})
    return EventTable(columns, format="simulated", units=units, particles=kinds)


def _isolated(
    seen: tuple[IntArray, FloatArray, FloatArray, FloatArray],
    candidate: BoolArray,
    selection: ObjectSelection,
) -> IntArray:
    """Return the rows of candidates with little else around them, the hardest of an event first."""
    event, pt, eta, phi = seen
    hard = candidate & (pt > selection.pt_min_gev) & (np.abs(eta) < selection.abs_eta_max)
    rows = np.flatnonzero(hard)
    starts = np.searchsorted(event, event[rows])
    ends = np.searchsorted(event, event[rows], side="right")
    length = ends - starts
    which = np.repeat(np.arange(len(rows)), length)
    other = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    other += np.repeat(starts, length)
    near = _distance(eta[rows][which] - eta[other], phi[rows][which] - phi[other]) < selection.cone
    around = np.bincount(which[near], pt[other[near]], len(rows)) - pt[rows]
    rows = rows[around < selection.isolation * pt[rows]]
    return rows[np.lexsort((-pt[rows], event[rows]))]


def _tags(
    jets: Objects, batch: _Batch, selection: ObjectSelection, rng: np.random.Generator
) -> FloatArray:
    px, py, pz = batch.heavy.T
    eta, phi = np.arcsinh(pz / np.hypot(px, py)), np.arctan2(py, px)
    holds = np.zeros((len(jets.pt), 2), dtype=bool)
    first = np.searchsorted(jets.event, batch.heavy_event)
    length = np.searchsorted(jets.event, batch.heavy_event, side="right") - first
    which = np.repeat(np.arange(len(px)), length)
    jet = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    jet += np.repeat(first, length)
    near = _distance(jets.eta[jet] - eta[which], jets.phi[jet] - phi[which]) < TAG_DR
    holds[jet[near], batch.is_bottom[which[near]].astype(int)] = True
    chance = np.where(
        holds[:, 1],
        selection.b_efficiency,
        np.where(holds[:, 0], selection.c_mistag, selection.light_mistag),
    )
    return (rng.random(len(chance)) < chance).astype(float)


def _distance(d_eta: FloatArray, d_phi: FloatArray) -> FloatArray:
    return np.hypot(d_eta, (d_phi + np.pi) % (2 * np.pi) - np.pi)


def _objects_of(
    seen: tuple[IntArray, FloatArray, FloatArray, FloatArray], rows: IntArray, n: int
) -> Objects:
    event, pt, eta, phi = seen
    offsets = np.concatenate([[0], np.cumsum(np.bincount(event[rows], minlength=n))])
    return Objects(offsets, pt[rows], eta[rows], phi[rows], np.zeros(len(rows)))


def _with(jets: Objects, tags: FloatArray) -> Objects:
    extra = MappingProxyType({**jets.extra, "btag": tags})
    return Objects(jets.offsets, jets.pt, jets.eta, jets.phi, jets.mass, extra)


def _select(objects: Objects, event: IntArray, keep: BoolArray) -> Objects:
    rows = keep[event]
    offsets = np.concatenate([[0], np.cumsum(objects.counts[keep])])
    extra = MappingProxyType({name: values[rows] for name, values in objects.extra.items()})
    pt, eta, phi, mass = objects.pt[rows], objects.eta[rows], objects.phi[rows], objects.mass[rows]
    return Objects(offsets, pt, eta, phi, mass, extra)


def _joined(parts: list[EventTable], n_events: int) -> EventTable:
    """Put tables one after another, and take the first n_events."""
    columns = {
        name: np.concatenate([part.columns[name] for part in parts])[:n_events]
        for name in parts[0].columns
    }
    kinds = {}
    for kind in parts[0].particles:
        these = [part.particles[kind] for part in parts]
        offsets = np.concatenate([[0], *(one.counts for one in these)]).cumsum()[: n_events + 1]
        end = int(offsets[-1])
        extra = {
            name: np.concatenate([one.extra[name] for one in these])[:end]
            for name in these[0].extra
        }
        kinds[kind] = Objects(
            offsets,
            np.concatenate([one.pt for one in these])[:end],
            np.concatenate([one.eta for one in these])[:end],
            np.concatenate([one.phi for one in these])[:end],
            np.concatenate([one.mass for one in these])[:end],
            MappingProxyType(extra),
        )
    return EventTable(
        columns, format="simulated", units=parts[0].units, particles=MappingProxyType(kinds)
    )
