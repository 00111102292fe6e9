"""The VAE on constituents on simulated dijets: what it finds, and what it costs.

    python validation/detectors/vae_constituents.py --work DIR

11,000 QCD dijet events and two signals of 1,500 events (Pythia, the stand-in detector, leading jet
above 1.2 TeV): W'(3.5 TeV) -> X(500 GeV) Y(100 GeV) with two prongs each, and -> X(400 GeV)
Y(300 GeV) with three. Each training sees half of the background and 50 events of each signal
(1%); the other background and 1,450 signal events are scored: SIC = eps_S / sqrt(eps_B), its
maximum where 25 or more background events pass. With them, on the same events, an isolation forest
and a dense autoencoder on the seven features of the two jets, and the VAE trained on the control
sample |delta eta| > 1.4 of that half.

Samples and trainings are kept in DIR, so the script resumes. Writes ``vae_constituents.md`` beside
this file. One process: two minutes of simulation, one or two of each training.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bumpscout_tools.detectors import Fitted, make_detector
from bumpscout_tools.detectors.protocol import NeedsNames
from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.events.view import View
from bumpscout_tools.features.catalogue import FEATURE_SETS
from bumpscout_tools.features.dijet import DIJET_FEATURES
from bumpscout_tools.features.views import view_of
from bumpscout_tools.files import write_atomic
from bumpscout_tools.simulation import BACKGROUND, Chunk, SignalCard, SimulationCard
from bumpscout_tools.simulation.generate import simulate_events
from bumpscout_tools.simulation.store import detector_coordinates

HERE = Path(__file__).parent
N_BACKGROUND, N_SIGNAL, CONTAMINATION = 11_000, 1_500, 50
SEEDS = (1, 2, 3)
MIN_BACKGROUND = 25
CONTROL_DETA = 1.4
CARD = SimulationCard(
    n_background=N_BACKGROUND,
    seed=77,
    chunk_size=N_BACKGROUND,
    signals=(
        SignalCard(resonance_mass_gev=3500, daughter_masses_gev=(500, 100), n_events=N_SIGNAL),
        SignalCard(
            resonance_mass_gev=3500,
            daughter_masses_gev=(400, 300),
            n_events=N_SIGNAL,
            prongs=(3, 3),
        ),
    ),
)
SAMPLES = {
    "bkg": Chunk(BACKGROUND, 0, N_BACKGROUND),
    "sig": Chunk(0, 0, N_SIGNAL),
    "sig3": Chunk(1, 0, N_SIGNAL),
}
SIGNALS = {"sig": "500 + 100 GeV, 2 prongs", "sig3": "400 + 300 GeV, 3 prongs"}


@dataclass(frozen=True)
class Method:
    """A detector with its features, and what its scores are made of."""

    label: str
    name: str
    settings: dict[str, float | str]
    features: tuple[str, ...]


METHODS = (
    Method("VAE", "vae", {}, FEATURE_SETS["constituents"]),
    Method(
        f"VAE, control sample deta > {CONTROL_DETA}",
        "vae",
        {"control_feature": "deta_jj", "control_min": CONTROL_DETA},
        (*FEATURE_SETS["constituents"], "deta_jj"),
    ),
    Method("isolation forest, 7 features", "isolation-forest", {}, tuple(DIJET_FEATURES)),
    Method("dense autoencoder, 7 features", "autoencoder", {}, tuple(DIJET_FEATURES)),
)


def view(name: str, work: Path) -> View:
    """Return the constituents view of a sample, simulated before or now."""
    path = work / f"{name}.npz"
    if not path.exists():
        events = simulate_events(CARD, SAMPLES[name], particles=True)
        offsets, particles, _ = detector_coordinates(events)
        np.savez(work / "part.npz", off=offsets, parts=particles)
        (work / "part.npz").rename(path)
    kept = np.load(path)
    pt, eta, phi = kept["parts"].T.astype(float)
    parts = Particles(kept["off"], pt, eta, phi, np.zeros_like(pt))
    table = EventTable({}, format="simulated", particles={"constituents": parts})
    start = time.process_time()
    made, _ = view_of(table, "constituents")
    per_s = len(made) / (time.process_time() - start)
    print(f"{name}: {len(made)} events, view {per_s:.0f} events/s", flush=True)
    return made


def columns(of: View, features: tuple[str, ...]) -> np.ndarray:
    """Return the features (n, k)."""
    return of.features[:, [of.feature_names.index(name) for name in features]]


def sic(score: np.ndarray, signal: np.ndarray, eps_b: float) -> float:
    """Return the significance improvement at a background efficiency."""
    return float((signal > np.quantile(score, 1 - eps_b)).mean() / np.sqrt(eps_b))


def largest_sic(score: np.ndarray, signal: np.ndarray) -> float:
    """Return the largest one where enough background passes."""
    ranked = np.sort(score)[::-1]
    passing = np.arange(MIN_BACKGROUND, len(ranked))
    eps_s = 1 - np.searchsorted(np.sort(signal), ranked[passing]) / len(signal)
    return float((eps_s / np.sqrt(passing / len(ranked))).max())


def measured(method: Method, seed: int, views: dict[str, View]) -> dict[str, float]:
    """Train once and return what it finds and costs."""
    rng = np.random.default_rng(seed)
    background = columns(views["bkg"], method.features)
    signals = {name: columns(views[name], method.features) for name in SIGNALS}
    order = rng.permutation(len(background))
    half = len(order) // 2
    some = [wanted[:CONTAMINATION] for wanted in signals.values()]
    learn, test = np.concatenate([background[order[:half]], *some]), background[order[half:]]
    start, wall = time.process_time(), time.perf_counter()
    detector = make_detector(method.name, method.settings)
    if isinstance(detector, NeedsNames):
        detector = detector.named(method.features)
    fitted = detector.fit(learn, np.zeros(0), None, seed)
    found: dict[str, float] = {
        "fit_cpu_s": time.process_time() - start,
        "fit_wall_s": time.perf_counter() - wall,
    }
    start = time.process_time()
    of_background = _scores(method, fitted, test)
    found["score_per_s"] = len(test) / (time.process_time() - start)
    for signal, wanted in signals.items():
        for name, score in _scores(method, fitted, wanted[CONTAMINATION:]).items():
            found[f"{signal} {name} sic_1e-2"] = sic(of_background[name], score, 1e-2)
            found[f"{signal} {name} sic_1e-1"] = sic(of_background[name], score, 1e-1)
            found[f"{signal} {name} sic_max"] = largest_sic(of_background[name], score)
    for name in ("epochs", "relative_loss"):
        if hasattr(fitted, name):
            found[name] = float(getattr(fitted, name))
    if method.name == "vae":
        found["active"] = float((fitted.divergence > 0.05).sum())
    found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return found


def _scores(method: Method, fitted: Fitted, rows: np.ndarray) -> dict[str, np.ndarray]:
    if method.name != "vae":
        return {"score": fitted.score(rows, np.zeros(0))}
    losses = fitted.jet_losses(rows)
    return {"min": losses.min(axis=1), "sum": losses.sum(axis=1), "max": losses.max(axis=1)}


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of samples and results")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    path = asked.work / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    views: dict[str, View] = {}
    for seed in SEEDS:
        for method in METHODS:
            key = f"{method.label}|{seed}"
            if key in results:
                continue
            views = views or {name: view(name, asked.work) for name in SAMPLES}
            results[key] = measured(method, seed, views)
            write_atomic(path, json.dumps(results, indent=1))
            print(key, {k: round(v, 3) for k, v in results[key].items()}, flush=True)
    write_atomic(HERE / "vae_constituents.md", report(results))


def report(results: dict[str, dict[str, float]]) -> str:
    """Return the table as Markdown."""

    def spread(label: str, name: str) -> str:
        values = [results[f"{label}|{seed}"][name] for seed in SEEDS]
        return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    lines = [
        "# The VAE on constituents",
        "",
        f"{N_BACKGROUND:,} simulated dijet events, half of them and {CONTAMINATION} events of each "
        f"signal (1%) to learn from, the others and {N_SIGNAL - CONTAMINATION:,} signal events to "
        "score. "
        f"Medians of {len(SEEDS)} trainings with their range; SIC = eps_S / sqrt(eps_B), its "
        f"maximum where {MIN_BACKGROUND} or more background events pass; a random score has 0.1 at "
        "1e-2 and 0.32 at 0.1. Made by `validation/detectors/vae_constituents.py`.",
    ]
    for signal, text in SIGNALS.items():
        lines += ["", f"## W'(3.5 TeV) -> {text}", ""]
        lines += ["| detector | loss of the event | SIC(1e-2) | SIC(0.1) | max SIC |"]
        lines += ["|---|---|---|---|---|"]
        for method in METHODS:
            kinds = ("min", "sum", "max") if method.name == "vae" else ("score",)
            for kind in kinds:
                cells = (
                    spread(method.label, f"{signal} {kind} {what}")
                    for what in ("sic_1e-2", "sic_1e-1", "sic_max")
                )
                shown = "" if kind == "score" else kind
                lines.append(f"| {method.label} | {shown} | " + " | ".join(cells) + " |")
    lines += ["", "## Cost on one CPU thread", ""]
    lines += ["| detector | CPU s to train | epochs | events/s scored |", "|---|---|---|---|"]
    for method in METHODS:
        runs = [results[f"{method.label}|{seed}"] for seed in SEEDS]
        epochs = f"{np.median([r['epochs'] for r in runs]):.0f}" if "epochs" in runs[0] else ""
        cpu = np.median([r["fit_cpu_s"] for r in runs])
        rate = np.median([r["score_per_s"] for r in runs])
        lines.append(f"| {method.label} | {cpu:.0f} | {epochs} | {rate:,.0f} |")
    peak = max(run["peak_gb"] for run in results.values())
    active = [run["active"] for run in results.values() if "active" in run]
    lines += [
        "",
        f"Largest memory of the process, samples included: {peak:.1f} GB. Latents with a mean "
        f"divergence above 0.05: {min(active):.0f} to {max(active):.0f} of 12.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
