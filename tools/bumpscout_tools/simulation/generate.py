"""Simulated events in the LHC Olympics feature layout, chunk by independently seeded chunk."""

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.events.lhco import LABEL
from bumpscout_tools.simulation.card import SignalCard, SimulationCard
from bumpscout_tools.simulation.detector import smear
from bumpscout_tools.simulation.errors import GenerationError
from bumpscout_tools.simulation.generator import ParticleSource
from bumpscout_tools.simulation.jets import LeadingJets, leading_jets, subjettiness
from bumpscout_tools.simulation.layout import Table, empty_table

__all__ = [
    "BACKGROUND",
    "Chunk",
    "SimulatedEvents",
    "chunks",
    "simulate",
    "simulate_chunk",
    "simulate_events",
]

BACKGROUND = -1
BATCH_SIZE = 200
MAX_BATCHES_WITHOUT_EVENT = 20
PYTHIA_MAX_SEED = 900_000_000


class Chunk(NamedTuple):
    """A piece of a simulation that can be made on its own.

    Attributes:
        process: ``BACKGROUND`` or the index of a signal of the card.
        number: its place within its process, from 0.
        n_events: accepted events in it.
    """

    process: int
    number: int
    n_events: int


class SimulatedEvents(NamedTuple):
    """Accepted events: their jets, and where wanted all that the detector saw.

    Attributes:
        table: (n,) structured float32 table with the fields of ``LAYOUT_COLUMNS``.
        counts: (n,) measured particles of each event; empty where they were not wanted.
        particles: (sum of counts, 4) px, py, pz, E in GeV of massless particles.
    """

    table: Table
    counts: NDArray[np.int64]
    particles: NDArray[np.float64]


def chunks(card: SimulationCard) -> Iterator[Chunk]:
    """Divide a simulation into chunks: background first, then the signals in order.

    Args:
        card: what to simulate.

    Yields:
        The chunks; the last one of each process may be smaller.
    """
    wanted = [(BACKGROUND, card.n_background)]
    wanted += [(index, signal.n_events) for index, signal in enumerate(card.signals)]
    for process, total in wanted:
        for number, start in enumerate(range(0, total, card.chunk_size)):
            yield Chunk(process, number, min(card.chunk_size, total - start))


def simulate_chunk(card: SimulationCard, chunk: Chunk) -> Table:
    """Simulate one chunk; the same card and chunk always give the same events.

    Args:
        card: what to simulate.
        chunk: which piece of it.

    Returns:
        (chunk.n_events,) structured float32 table with the fields of ``LAYOUT_COLUMNS``: momenta
        and masses in GeV, j1 the jet with the larger pT, label 0 for background and 1 for signal.

    Raises:
        MissingExtraError: Pythia or FastJet is not installed.
        GenerationError: Pythia refuses the card, or hardly any event passes the cuts.
    """
    return simulate_events(card, chunk).table


def simulate_events(
    card: SimulationCard, chunk: Chunk, *, particles: bool = False
) -> SimulatedEvents:
    """Simulate one chunk and keep, where wanted, the measured particles beside the jets.

    Args:
        card: what to simulate.
        chunk: which piece of it.
        particles: keep all measured particles of the accepted events.

    Returns:
        chunk.n_events events; the same ones with and without particles.

    Raises:
        MissingExtraError: Pythia or FastJet is not installed.
        GenerationError: Pythia refuses the card, or hardly any event passes the cuts.
    """
    signal = None if chunk.process == BACKGROUND else card.signals[chunk.process]
    pythia_seed, rng = _seeds(card, signal, chunk)
    source = ParticleSource(card, signal, pythia_seed)
    parts: list[SimulatedEvents] = [_no_events()]
    accepted = 0
    barren = 0
    while accepted < chunk.n_events:
        counts, momentum = smear(source.next_batch(BATCH_SIZE), card.detector, rng)
        jets = leading_jets(counts, momentum, card.jets, card.leading_jet_pt_min_gev)
        barren = 0 if len(jets.momentum) else barren + 1
        if barren >= MAX_BATCHES_WITHOUT_EVENT:
            process = "background" if signal is None else f"signals[{chunk.process}]"
            raise GenerationError(
                f"none of {barren * BATCH_SIZE} events of {process} has a leading jet above "
                f"leading_jet_pt_min_gev = {card.leading_jet_pt_min_gev:g} GeV; lower the cut"
            )
        if len(jets.momentum):
            seen = np.zeros(len(counts), dtype=bool)
            seen[jets.event] = particles
            parts.append(
                SimulatedEvents(
                    _features(jets, card.jets.radius),
                    counts[jets.event] if particles else np.zeros(0, dtype=np.int64),
                    momentum[np.repeat(seen, counts)],
                )
            )
            accepted += len(jets.momentum)
    table = np.concatenate([part.table for part in parts])[: chunk.n_events]
    table[LABEL] = 0.0 if signal is None else 1.0
    kept = np.concatenate([part.counts for part in parts])[: chunk.n_events]
    momenta = np.concatenate([part.particles for part in parts])[: kept.sum()]
    return SimulatedEvents(table, kept, momenta)


def simulate(card: SimulationCard, executor: Executor | None = None) -> Table:
    """Simulate a whole card and shuffle background and signals together.

    The number of workers does not change the events: each chunk has its own seed. An event is
    independent of all others, so chunks may also be made on different machines.

    Args:
        card: what to simulate.
        executor: runs the chunks, such as a ``ProcessPoolExecutor``; None runs them here.

    Returns:
        (n_background + sum of the signals' n_events,) structured float32 table, rows in random
        order; GeV.

    Raises:
        MissingExtraError: Pythia or FastJet is not installed.
        GenerationError: Pythia refuses the card, or hardly any event passes the cuts.
    """
    wanted = list(chunks(card))
    cards = [card] * len(wanted)
    mapped = (
        map(simulate_chunk, cards, wanted)
        if executor is None
        else executor.map(simulate_chunk, cards, wanted)
    )
    parts = list(mapped)
    table = np.concatenate(parts) if parts else empty_table(0)
    order = np.random.default_rng(np.random.SeedSequence([card.seed])).permutation(len(table))
    return table[order]


def _seeds(
    card: SimulationCard, signal: SignalCard | None, chunk: Chunk
) -> tuple[int, np.random.Generator]:
    # Masses, not the position in the card, so that adding a signal does not change the others.
    masses = (
        (0.0, 0.0, 0.0)
        if signal is None
        else (signal.resonance_mass_gev, *signal.daughter_masses_gev)
    )
    entropy = [card.seed, chunk.number, *(round(1000 * mass) for mass in masses)]
    pythia_sequence, smearing = np.random.SeedSequence(entropy).spawn(2)
    seed = 1 + int(pythia_sequence.generate_state(1, np.uint64)[0] % PYTHIA_MAX_SEED)
    return seed, np.random.default_rng(smearing)


def _no_events() -> SimulatedEvents:
    return SimulatedEvents(empty_table(0), np.zeros(0, dtype=np.int64), np.zeros((0, 4)))


def _features(jets: LeadingJets, radius: float) -> Table:
    table = empty_table(len(jets.momentum))
    tau = subjettiness(jets.counts, jets.constituents, radius).reshape(-1, 2, 3)
    energy2 = np.square(jets.momentum[..., 3])
    mass = np.sqrt(np.maximum(energy2 - np.square(jets.momentum[..., :3]).sum(axis=2), 0.0))
    for which, jet in enumerate(("j1", "j2")):
        for axis, name in enumerate(("px", "py", "pz")):
            table[f"{name}{jet}"] = jets.momentum[:, which, axis]
        table[f"m{jet}"] = mass[:, which]
        for n in range(3):
            table[f"tau{n + 1}{jet}"] = tau[:, which, n]
    return table
