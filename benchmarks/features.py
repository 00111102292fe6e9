"""Time and memory of features: the rapidity-mass matrix, subjettiness, soft drop, clustering.

    python benchmarks/features.py [--events 100000] [--jet-events 600] > benchmarks/features.txt

Everything runs on one core. Rates are per second of processor time, median of five runs with the
smallest and largest behind (the clock of a shared machine says little); compilation is not in them.
Memory is the peak of what is allocated on top of the inputs (tracemalloc, in a run of its own).

Matrix, at the published size of 1287 inputs: events with 6 jets and, on average, 0.5 electrons,
0.5 muons and 0.3 photons, half of which pass the selection; in batches of 4096 that are written to
one array again and again, as training does, then into fresh memory, then sparse. The plain script
fills the matrix of an event cell by cell in Python, by the definition; its numbers must agree.

Jets: the two leading ones (R = 1.0) of multijet events from Pythia. The plain script makes
PseudoJets, clusters them with kt to N exclusive jets for each N, and sums with numpy.

Exit code 1 if the matrix is slower than 1e5 events a second, or numbers disagree.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from importlib.metadata import version

os.environ.setdefault("OMP_NUM_THREADS", "1")

import fastjet
import numpy as np
from fastjet._swig import ClusterSequence, PseudoJet
from numpy.typing import NDArray

from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.features.clustering import leading_jets
from bumpscout_tools.features.rmm import rmm, rmm_columns, rmm_sparse
from bumpscout_tools.features.rmm_objects import RmmObjects, select_objects
from bumpscout_tools.features.substructure import mass_of, soft_drop, subjettiness
from bumpscout_tools.simulation import BACKGROUND, Chunk, SimulationCard
from bumpscout_tools.simulation.generate import simulate_events

Array = NDArray[np.float64]
BATCH = 4096
LEAST_EVENTS_A_SECOND = 1e5
RUNS = 5


def rate(what: str, n: int, unit: str, run: Callable[[], object], runs: int = RUNS) -> float:
    """Run, print and return the median rate."""
    rates = []
    for _ in range(runs):
        start = time.process_time()
        run()
        rates.append(n / (time.process_time() - start))
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    middle = float(np.median(rates))
    spread = f"({min(rates):.3g} to {max(rates):.3g})"
    print(f"  {what:<46} {middle:>9.3g} {unit}/s {spread:<24} {peak:8.1f} MB")
    return middle


def make_events(n: int) -> EventTable:
    """Return events with jets, leptons, photons and missing energy."""
    rng = np.random.default_rng(1)
    parts = {}
    for kind, mean in (("jets", 6.0), ("electrons", 0.5), ("muons", 0.5), ("photons", 0.3)):
        counts = rng.poisson(mean, n)
        m = int(counts.sum())
        parts[kind] = Particles(
            np.concatenate([[0], np.cumsum(counts)]),
            20 + rng.exponential(80, m),
            rng.normal(0, 1.2, m),
            rng.uniform(-np.pi, np.pi, m),
            rng.exponential(10, m),
            {"btag": rng.random(m) ** 3},
        )
    columns = {"met_pt": rng.exponential(40, n), "met_phi": rng.uniform(-np.pi, np.pi, n)}
    return EventTable(columns, format="benchmark", particles=parts)


def batches(objects: RmmObjects) -> list[RmmObjects]:
    """Cut objects into batches of events."""
    cut = []
    for first in range(0, len(objects) - BATCH + 1, BATCH):
        rows = slice(first, first + BATCH)
        ends = objects.offsets[first : first + BATCH + 1]
        cut.append(
            RmmObjects(
                objects.multiplicity[rows],
                objects.kept[rows],
                ends - ends[0],
                objects.momentum[ends[0] : ends[-1]],
                objects.met[rows],
            )
        )
    return cut


def plain_matrix(objects: RmmObjects, n: int) -> Array:
    """Fill matrices cell by cell, by the definition."""
    columns = rmm_columns()
    types = ("j", "b", "mu", "e", "gamma")
    out = np.zeros((n, len(columns)))
    for event in range(n):
        start, named = int(objects.offsets[event]), {}
        for kind, name in enumerate(types):
            for rank in range(int(objects.kept[event, kind])):
                pt, px, py, pz, mass = objects.momentum[start]
                energy = np.sqrt(pt**2 + pz**2 + mass**2)
                y = 0.5 * np.log((energy + pz) / (energy - pz))
                named[f"{name}{rank + 1}"] = (px, py, pz, energy, np.sqrt(pt**2 + mass**2), y)
                start += 1
        met, met_x, met_y = objects.met[event]
        for k, column in enumerate(columns):
            if not set(column.objects) <= set(named):
                continue
            of = [named[name] for name in column.objects]
            value = 0.0
            if column.quantity == "met":
                value = met / 13000
            elif column.quantity == "mt" and met > 0:
                square = (of[0][4] + met) ** 2 - (of[0][0] + met_x) ** 2 - (of[0][1] + met_y) ** 2
                value = np.sqrt(max(square, 0)) / 13000
            elif column.quantity == "hl":
                value = 0.15 * (np.cosh(of[0][5]) - 1)
            elif column.quantity == "et":
                value = of[0][4] / 13000
            elif column.quantity == "imbalance":
                name = column.objects[0]
                of_kind = name.rstrip("0123456789")
                before = named[f"{of_kind}{int(name[len(of_kind) :]) - 1}"][4]
                value = (before - of[0][4]) / (before + of[0][4])
            elif column.quantity == "m":
                p = np.add(of[0][:4], of[1][:4])
                value = np.sqrt(max(p[3] ** 2 - p[:3] @ p[:3], 0)) / 13000
            elif column.quantity == "h":
                value = 0.15 * (np.cosh((of[0][5] - of[1][5]) / 2) - 1)
            out[event, k] = value
    return out


def matrix(n: int) -> bool:
    """Time the matrix; return whether it is right and fast."""
    events = make_events(n)
    objects = select_objects(events)
    pieces = batches(objects)
    out = np.zeros((BATCH, 1287), dtype=np.float32)
    rmm(pieces[0], out=out)
    rmm_sparse(pieces[0])
    print(f"matrix: {n} events, {objects.kept.sum() / n:.2f} selected objects an event")

    def in_batches() -> None:
        for piece in pieces:
            rmm(piece, out=out)

    done = BATCH * len(pieces)
    rate("selecting and sorting objects", n, "events", lambda: select_objects(events))
    fast = rate("dense, batches into one array", done, "events", in_batches)
    rate("dense, fresh memory (5.1 kB an event)", n, "events", lambda: rmm(objects))
    rate("sparse", n, "events", lambda: rmm_sparse(objects))

    def both() -> None:
        for piece in batches(select_objects(events)):
            rmm(piece, out=out)

    rate("selecting and dense batches", done, "events", both)
    few = 50
    expected = plain_matrix(objects, few)
    rate("plain script", few, "events", lambda: plain_matrix(objects, few), runs=3)
    right = np.allclose(rmm(objects)[:few], expected, rtol=1e-4, atol=1e-6)
    print(f"  the plain script agrees: {right}")
    return bool(right) and fast >= LEAST_EVENTS_A_SECOND


def plain_subjettiness(counts: NDArray[np.int64], momentum: Array, n_max: int) -> Array:
    """Compute tau_1 to tau_N with PseudoJets and numpy."""
    definition = fastjet.JetDefinition(fastjet.kt_algorithm, 1000.0)
    tau = np.zeros((len(counts), n_max, 3))
    for jet, end in enumerate(np.cumsum(counts)):
        p = momentum[end - counts[jet] : end]
        pt = np.hypot(p[:, 0], p[:, 1])
        eta, phi = np.arcsinh(p[:, 2] / pt), np.arctan2(p[:, 1], p[:, 0])
        sequence = ClusterSequence([PseudoJet(*map(float, row)) for row in p], definition)
        for n in range(1, min(n_max, len(p) - 1) + 1):
            axes = sequence.exclusive_jets(n)
            axis = np.array([[a.eta(), a.phi_std()] for a in axes])
            turn = np.remainder(phi[:, None] - axis[:, 1] + np.pi, 2 * np.pi) - np.pi
            distance = np.hypot(eta[:, None] - axis[:, 0], turn).min(axis=1)
            for b, beta in enumerate((0.5, 1.0, 2.0)):
                tau[jet, n - 1, b] = pt @ distance**beta / pt.sum()
    return tau


def plain_leading(counts: NDArray[np.int64], momentum: Array) -> list[float]:
    """Cluster event by event with PseudoJets."""
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)
    leading = []
    for event, end in enumerate(np.cumsum(counts)):
        rows = momentum[end - counts[event] : end]
        sequence = ClusterSequence([PseudoJet(*map(float, row)) for row in rows], definition)
        leading.append(max(jet.pt() for jet in sequence.inclusive_jets(50.0)))
    return leading


def jets(n_events: int) -> bool:
    """Time what happens inside jets; return whether it is right."""
    card = SimulationCard(seed=3)
    events = simulate_events(card, Chunk(BACKGROUND, 0, n_events), particles=True)
    found = leading_jets(events.counts, events.particles)
    counts, momentum = found.counts, found.constituents
    n = len(counts)
    print(
        f"jets: {n} from {n_events} events of {events.counts.mean():.0f} particles, "
        f"{counts.mean():.0f} constituents a jet"
    )
    subjettiness(counts[:5], momentum[: counts[:5].sum()])
    soft_drop(counts[:5], momentum[: counts[:5].sum()])
    rate("tau_1..9 for beta 0.5, 1, 2", n, "jets", lambda: subjettiness(counts, momentum))
    rate(
        "the same, axes minimised",
        n,
        "jets",
        lambda: subjettiness(counts, momentum, minimise=True),
    )
    few = min(100, n)
    some = momentum[: counts[:few].sum()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = plain_subjettiness(counts[:few], some, 9)
        rate(
            "plain script with FastJet",
            few,
            "jets",
            lambda: plain_subjettiness(counts[:few], some, 9),
            runs=3,
        )
    right = np.allclose(subjettiness(counts[:few], some), expected, rtol=1e-6, atol=1e-9)
    print(f"  the plain script agrees: {right}")
    rate("soft drop", n, "jets", lambda: mass_of(soft_drop(counts, momentum)))
    rate(
        "anti-kt clustering, FastJet on batches",
        n_events,
        "events",
        lambda: leading_jets(events.counts, events.particles),
        runs=3,
    )
    rate(
        "plain script with PseudoJets",
        n_events,
        "events",
        lambda: plain_leading(events.counts, events.particles),
        runs=3,
    )
    return bool(right)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--jet-events", type=int, default=600)
    asked = parser.parse_args()
    names = ("numpy", "numba", "fastjet", "awkward")
    print(f"python {platform.python_version()}, {platform.machine()}, one core")
    print(", ".join(f"{name} {version(name)}" for name in names))
    good = [matrix(asked.events), jets(asked.jet_events)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
