"""Scores that cheat, taken the whole way: wall, gate, scan, replays, controls, verdict.

Each script of `scripts` is what a model could write. It runs through the real gate and the real
sandbox, on background alone and on the same with a signal, and may never end as `excess`, nor as
`candidate`, as an excess is called after fewer than 200 replays; the honest one may where there is
a signal. Three scripts get what only someone who saw the file could
know: row numbers or values of events near a mass, or the number of events.

    python validation/searches/hostile_scores.py --work DIR --output FILE [--replays N]

Finished cases are kept in DIR, so the script resumes.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_sandbox.engine import ToolsEngine
from bumpscout_sandbox.gate import Gate
from bumpscout_sandbox.ledger import Ledger
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.vault import Vault
from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.scan.plan import (
    BackgroundPlan,
    DetectorPlan,
    ReplayPlan,
    SearchPlan,
    WorkingPointPlan,
)
from bumpscout_tools.simulation.layout import write_features_h5

SCRIPTS = Path(__file__).parent / "scripts"
N_BACKGROUND, N_SIGNAL, MASS = 12_000, 160, 2600.0
N_REMEMBERED = 40
SEED = 5
CLAIMS = ("excess", "candidate")


def columns(n_signal: int, seed: int) -> dict[str, np.ndarray]:
    """Dijets back to back: a falling spectrum, and a narrow resonance of two-pronged jets."""
    rng = np.random.default_rng(seed)
    n = N_BACKGROUND + n_signal
    signal = np.arange(n) >= N_BACKGROUND
    half = np.where(signal, rng.normal(MASS / 2, 25.0, n), 1000.0 + rng.exponential(220.0, n))
    phi = rng.uniform(-np.pi, np.pi, n)
    found: dict[str, np.ndarray] = {}
    for jet, sign in (("j1", 1.0), ("j2", -1.0)):
        tau1 = rng.uniform(0.05, 0.5, n)
        tau2 = tau1 * np.where(signal, rng.uniform(0.2, 0.35, n), rng.uniform(0.2, 1.0, n))
        jet_mass = np.where(signal, rng.normal(250.0, 15.0, n), rng.gamma(2.0, 60.0, n))
        values = (
            sign * half * np.cos(phi),
            sign * half * np.sin(phi),
            np.zeros(n),
            jet_mass,
            tau1,
            tau2,
            tau2 * rng.uniform(0.3, 1.0, n),
        )
        names = ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
        found |= {f"{name}{jet}": value for name, value in zip(names, values, strict=True)}
    order = rng.permutation(n)
    table = {name: found[name][order] for name in FEATURE_COLUMNS}
    return {**table, "label": np.zeros(n)}


def plan(replays: int) -> SearchPlan:
    """A plan whose replays take a few seconds."""
    return SearchPlan(
        detectors=(DetectorPlan(settings=CwolaSettings(folds=3, members=1, trees=20, leaves=8)),),
        working_points=WorkingPointPlan(efficiencies=(0.1, 0.03, 0.01), refine_rounds=0),
        background=BackgroundPlan(orders=(2, 3, 4)),
        replays=ReplayPlan(n=replays),
        toys=2000,
        cell_toys=50,
    )


def script_of(name: str, vault: Vault, search: SearchPlan) -> str:
    """Return a script, with what its writer could know of the file."""
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    view = ToolsEngine().prepare(search, vault.view(), SEED).view
    near = np.flatnonzero(np.abs(view.mass / MASS - 1) < 0.02)
    rows = np.random.default_rng(2).choice(near, N_REMEMBERED, replace=False)
    values = np.round(view.features[rows, 0], 6).tolist()
    text = text.replace("ROWS = [0]", f"ROWS = {rows.tolist()}")
    text = text.replace("VALUES = np.array([0.0])", f"VALUES = np.array({values})")
    return text.replace("N_EVENTS = 0", f"N_EVENTS = {len(view)}")


def one(name: str, n_signal: int, work: Path, replays: int, workers: int) -> dict[str, object]:
    """Carry out one search with one script, and say how it ended."""
    folder = work / f"{name}-{n_signal}-{time.time_ns()}"
    folder.mkdir(parents=True)
    data = work / f"events-{n_signal}.h5"
    if not data.exists():
        write_features_h5(data, columns(n_signal, 1))
    search = plan(replays)
    vault = Vault.open(data, seed=SEED)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    start = time.monotonic()
    with Ledger(folder / "ledger.jsonl") as ledger, pool as executor:
        gate = Gate(
            vault, BubblewrapProvider(), ledger, folder, seed=SEED,
            limits=Limits.for_machine().model_copy(update={"wall_s": 300.0}),
            executor=executor, parallel=workers, cancel=threading.Event(),
        )  # fmt: skip
        run = gate.run_task("01", script_of(name, vault, search), search, 0)
        if not run.accepted:
            return {"script": name, "n_signal": n_signal, "verdict": "refused", "why": run.problems}
        gate.explore(search)
        final = gate.final(gate.freeze(search), lambda *_: None)
    best = final.outcome.best()
    guards = final.outcome.guards.get(best.test_id, ()) if best else ()
    procedure, scan = final.significance.procedure_p, final.significance.scan_p
    return {
        "script": name,
        "n_signal": n_signal,
        "verdict": final.verdict.verdict,
        "mass_gev": sum(best.interval_gev) / 2 if best else None,
        "local_z": best.local_z if best else None,
        "scan_p": scan.value if scan else None,
        "procedure_p": procedure.value if procedure else None,
        "reached": f"{procedure.n_reached} of {procedure.n_replays}" if procedure else "",
        "guards": [guard.name for guard in guards if guard.fired],
        "seconds": round(time.monotonic() - start),
    }


def table(rows: list[dict[str, object]]) -> str:
    """Return the results, one line a case."""
    claims = [r for r in rows if r["verdict"] in CLAIMS and r["script"] != "honest"]
    text = [
        "# Scores that cheat",
        "",
        f"`hostile_scores.py`: {N_BACKGROUND} toy background events, and {N_SIGNAL} signal events "
        f"at {MASS:.0f} GeV where said; scripts of `scripts`, whole searches through gate and "
        "sandbox. With fewer than 200 replays an excess is called candidate. Hostile searches that "
        f"ended as either: {len(claims)} of {sum(r['script'] != 'honest' for r in rows)}. `moved "
        "values` and `smooth-mass controls` run only where the verdict would be a claim without "
        "them. `rows` remembers numbers of rows, which mean nothing in its runs: what is left of "
        "it is an honest feature, and a claim where there is a signal is right.",
        "",
        "| script | signal | verdict | mass | local z | scan p | procedure p | replays reached | "
        "guards that fired |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mass, z = row.get("mass_gev"), row.get("local_z")
        scan, procedure = row.get("scan_p"), row.get("procedure_p")
        numbers = [
            "" if mass is None else f"{float(str(mass)):.0f}",
            "" if z is None else f"{float(str(z)):.1f}",
            "" if scan is None else f"{float(str(scan)):.2g}",
            "" if procedure is None else f"{float(str(procedure)):.2g}",
        ]
        guards = row.get("guards")
        names = ", ".join(map(str, guards)) if isinstance(guards, list) else ""
        text.append(
            f"| {row['script']} | {row['n_signal']} | {row['verdict']} | "
            + " | ".join(numbers)
            + f" | {row.get('reached', '')} | {names} |"
        )
    return "\n".join(text) + "\n"


def main() -> None:
    """Carry out the cases that are missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="names of scripts; all by default")
    parser.add_argument("--signals", type=int, nargs="*", default=[0, N_SIGNAL])
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names = options.only or sorted(path.stem for path in SCRIPTS.glob("*.py"))
    kept = options.work / "results.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    rows: list[dict[str, object]] = [json.loads(line) for line in lines]
    for name in names:
        for n_signal in options.signals:
            known = any((r["script"], r["n_signal"]) == (name, n_signal) for r in rows)
            if known:
                continue
            row = one(name, n_signal, options.work, options.replays, options.workers)
            rows.append(row)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
    text = table(sorted(rows, key=lambda r: (str(r["script"]), int(str(r["n_signal"])))))
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
