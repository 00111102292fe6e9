"""Events a second of the simulation, against a plain loop over Pythia's particles, and its profile.

    python benchmarks/simulate.py [--events 600] [--veto-events 30000] > benchmarks/simulate.txt

The plain loop is what one writes first: `Pythia.next`, a Python loop over the particles of the
event with the same resolutions, PseudoJets, anti-kt, exclusive kt for the axes, tau by numpy. All
ways run one after the other, one core each, in processor time, so that other work on the machine
does not count; rates are accepted events (leading jet above 1200 GeV) a second and core.

The cost of the early veto: events are finished without it while its decision is noted, so that the
share of accepted events that it would have lost is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from bumpscout_tools.simulation import BACKGROUND, Chunk, SignalCard, SimulationCard, simulate_chunk
from bumpscout_tools.simulation.card import DetectorCard
from bumpscout_tools.simulation.detector import smear
from bumpscout_tools.simulation.extra import require
from bumpscout_tools.simulation.generator import NEUTRINOS, ParticleSource, pythia_settings
from bumpscout_tools.simulation.jets import leading_jets, subjettiness
from bumpscout_tools.simulation.veto import early_veto

CUT = 1200.0


def plain_loop(card: SimulationCard, n_events: int) -> None:
    """Simulate events as a first script would."""
    pythia8, fastjet = require("pythia8mc"), require("fastjet")
    pythia = pythia8.Pythia("", False)
    for line in pythia_settings(card, None, 77):
        pythia.readString(line)
    pythia.init()
    rng = np.random.default_rng(1)
    anti_kt = fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)
    kt = fastjet.JetDefinition(fastjet.kt_algorithm, 1000.0)
    accepted = 0
    while accepted < n_events:
        if not pythia.next():
            continue
        particles = []
        for particle in pythia.event:
            if not particle.isFinal() or abs(particle.id()) in NEUTRINOS:
                continue
            seen = measured(particle, card.detector, rng)
            if seen is not None:
                particles.append(fastjet.PseudoJet(*seen))
        sequence = fastjet.ClusterSequence(particles, anti_kt)
        jets = [
            j for j in fastjet.sorted_by_pt(sequence.inclusive_jets(50.0)) if abs(j.eta()) < 2.5
        ]
        if len(jets) < 2 or jets[0].pt() < CUT:
            continue
        for jet in jets[:2]:
            inside = list(jet.constituents())
            for n in (1, 2, 3):
                if len(inside) > n:
                    tau(fastjet.ClusterSequence(inside, kt).exclusive_jets(n), inside)
        accepted += 1


def measured(
    particle: Any, detector: DetectorCard, rng: np.random.Generator
) -> tuple[float, float, float, float] | None:
    """Smear one particle; None where it is not seen."""
    pt, energy, eta, phi = particle.pT(), particle.e(), particle.eta(), particle.phi()
    kind = abs(particle.id())
    angle = 0.0
    if kind in (11, 22):
        resolution = np.hypot(detector.photon_stochastic / energy**0.5, detector.photon_constant)
        angle = detector.photon_angle
    elif particle.isCharged():
        resolution = np.hypot(detector.track_constant, detector.track_slope_per_gev * pt)
    else:
        resolution = np.hypot(detector.hadron_stochastic / energy**0.5, detector.hadron_constant)
        angle = detector.hadron_angle
    pt *= max(0.0, 1 + resolution * rng.standard_normal())
    eta += angle * rng.standard_normal()
    phi += angle * rng.standard_normal()
    if pt < detector.particle_pt_min_gev or abs(eta) > detector.particle_abs_eta_max:
        return None
    return pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)


def tau(axes: Any, inside: list[Any]) -> float:
    """Compute the subjettiness of one jet."""
    pt = np.array([p.pt() for p in inside])
    distance = np.array([[p.delta_R(axis) for axis in axes] for p in inside]).min(axis=1)
    return float((pt * distance).sum() / pt.sum())


def clocked(work: Callable[[], Any]) -> float:
    """Return the processor time of some work, s."""
    start = time.process_time()
    work()
    return time.process_time() - start


def profile(card: SimulationCard, n_tried: int) -> list[tuple[str, float]]:
    """Measure the parts of the pipeline, ms an accepted event."""
    source = ParticleSource(card, None, 99)
    source.next_batch(20)
    spent = {
        "Pythia": 0.0,
        "its record as arrays": 0.0,
        "detector": 0.0,
        "anti-kt": 0.0,
        "tau": 0.0,
    }
    rng = np.random.default_rng(2)
    accepted = 0
    for _ in range(n_tried // 200):
        spent["Pythia"] += clocked(lambda: [source._pythia.next() for _ in range(200)])
        marks = [time.process_time()]
        particles = source.next_batch(200)
        marks.append(time.process_time())
        counts, momentum = smear(particles, card.detector, rng)
        marks.append(time.process_time())
        jets = leading_jets(counts, momentum, card.jets, CUT)
        marks.append(time.process_time())
        subjettiness(jets.counts, jets.constituents)
        marks.append(time.process_time())
        for name, seconds in zip(list(spent)[1:], np.diff(marks), strict=True):
            spent[name] += seconds
        accepted += len(jets.momentum)
    spent["its record as arrays"] -= spent["Pythia"]
    return [(name, 1e3 * seconds / accepted) for name, seconds in spent.items()]


def pythia_parts(card: SimulationCard, n_tried: int) -> list[tuple[str, float]]:
    """Measure what Pythia spends its time on, ms a tried event, without veto."""
    told = []
    for name, lines in (
        ("hard process, showers, hadrons, decays", ()),
        ("without decays", ("HadronLevel:Decay = off",)),
        ("without hadronisation", ("HadronLevel:all = off",)),
        (
            "without final-state radiation either",
            ("HadronLevel:all = off", "PartonLevel:FSR = off"),
        ),
    ):
        pythia = require("pythia8mc").Pythia("", False)
        for line in (*pythia_settings(card, None, 5), *lines):
            pythia.readString(line)
        pythia.init()
        seconds = clocked(lambda pythia=pythia: [pythia.next() for _ in range(n_tried)])
        told.append((name, 1e3 * seconds / n_tried))
    return told


def veto_cost(n_tried: int) -> dict[float, tuple[int, int, float]]:
    """Count accepted events, those that the veto would have lost, and the share that it keeps."""
    fractions = (0.90, 0.94, 0.96, 0.98)
    found = {fraction: [0, 0, 0, 0] for fraction in fractions}
    card = SimulationCard(n_background=1, early_veto_fraction=0.0)
    hooks = {
        fraction: early_veto(card.model_copy(update={"early_veto_fraction": fraction}))
        for fraction in fractions
    }
    noted: dict[float, list[bool]] = {fraction: [] for fraction in fractions}

    def note(_hook: Any, position: int, event: Any) -> bool:
        for fraction, hook in hooks.items():
            noted[fraction].append(hook.doVetoPT(position, event))
        return False

    first = hooks[fractions[0]]
    recorder = type(
        "Recorder",
        (require("pythia8mc").UserHooks,),
        {
            "canVetoPT": lambda _hook: True,
            "scaleVetoPT": lambda _hook: first.scaleVetoPT(),
            "doVetoPT": note,
        },
    )()
    rng = np.random.default_rng(5)
    source = ParticleSource(card, None, 31)
    source._pythia.setUserHooksPtr(recorder)
    source._pythia.init()
    for _ in range(n_tried // 500):
        for each in noted.values():
            each.clear()
        particles = source.next_batch(500)
        if len(noted[fractions[0]]) != len(particles.counts):
            # Pythia tried an event twice, so decisions and events do not pair up.
            continue
        counts, momentum = smear(particles, card.detector, rng)
        passed = leading_jets(counts, momentum, card.jets, CUT).event
        for fraction, decisions in noted.items():
            dropped = np.array(decisions)
            found[fraction][0] += len(passed)
            found[fraction][1] += int(dropped[passed].sum())
            found[fraction][2] += int((~dropped).sum())
            found[fraction][3] += len(dropped)
    return {f: (n, lost, kept / tried) for f, (n, lost, kept, tried) in found.items()}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=600)
    parser.add_argument("--veto-events", type=int, default=30_000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    versions = ", ".join(f"{name} {version(name)}" for name in ("pythia8mc", "fastjet", "numpy"))
    print(f"Python {platform.python_version()}, {versions}, {platform.machine()}")
    print(f"load of the machine before the start {os.getloadavg()[0]:.1f}; processor time\n")
    new = SimulationCard(n_background=10**9)
    old = SimulationCard(n_background=10**9, early_veto_fraction=0.0)
    simulate_chunk(new, Chunk(BACKGROUND, 10**6, 20))
    n_few = max(100, arguments.events // 3)
    rates = {"plain loop": [], "arrays, every event finished": [], "arrays, early veto": []}
    for repeat in range(3):
        rates["plain loop"].append(n_few / clocked(lambda: plain_loop(old, n_few)))
        for name, card in zip(list(rates)[1:], (old, new), strict=True):
            chunk = Chunk(BACKGROUND, repeat, arguments.events)
            seconds = clocked(lambda card=card, chunk=chunk: simulate_chunk(card, chunk))
            rates[name].append(arguments.events / seconds)
    plain = np.median(rates["plain loop"])
    print("background, accepted events a second and core: median (lowest, highest) of 3")
    for name, found in rates.items():
        median = np.median(found)
        print(
            f"  {name:32} {median:6.0f}  ({min(found):.0f}, {max(found):.0f})"
            f"   {median / plain:4.1f} x the plain loop"
        )
    signal = SignalCard(resonance_mass_gev=3500, daughter_masses_gev=(500, 100), n_events=10**6)
    card = SimulationCard(signals=(signal,))
    seconds = clocked(lambda: simulate_chunk(card, Chunk(0, 0, arguments.events)))
    print(f"  {'signal 3500 -> 500 + 100 GeV':32} {arguments.events / seconds:6.0f}")
    print("\nwhere the time goes with the early veto, ms an accepted event")
    parts = profile(new, 2 * arguments.events)
    for name, spent in parts:
        print(f"  {name:32} {spent:6.2f}")
    print(f"  {'all':32} {sum(spent for _, spent in parts):6.2f}")
    print("\nwhat Pythia does, ms a tried event, no veto")
    for name, spent in pythia_parts(old, arguments.events):
        print(f"  {name:44} {spent:5.2f}")
    print("\nearly veto at 20 GeV in the shower: accepted events lost, events finished")
    for fraction, (n, lost, kept) in veto_cost(arguments.veto_events).items():
        error = max(lost, 1) ** 0.5 / n
        print(
            f"  below {fraction:.2f} of the cut   lost {lost:4d} of {n} = {lost / n:.5f} +- "
            f"{error:.5f}   finished {kept:.3f}"
        )


if __name__ == "__main__":
    main()
