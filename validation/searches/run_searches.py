"""Run `bumpscout search` on data sets whose truth is known, and score what it reports.

Cases: LHC Olympics R&D events with few signal events left (also with all masses scaled), background
alone (disjoint parts and thinnings without replacement), and simulated boxes from `make_pool.py`
with other masses. Each case is one search as a user runs it; the truth is used only to make the
files and to score the answers. Finished cases are kept in the results file, so the script resumes.

    python validation/searches/run_searches.py --lhco FILE --pool DIR --work DIR --results FILE
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bumpscout_tools.simulation import (
    LAYOUT_COLUMNS,
    dijet_mass,
    read_features_h5,
    thin_features_file,
    write_features_h5,
)

REQUEST = "Search for a new narrow dijet resonance in this sample"
LHCO_MASS, LHCO_WINDOW, LHCO_SIGNAL = 3500.0, (3300.0, 3700.0), 250
BOX_BACKGROUND = 80_000
BOX_SIGNALS = {
    3200.0: "signal_3200_400_400",
    3500.0: "signal_3500_500_100",
    3700.0: "signal_3700_450_150",
    4200.0: "signal_4200_350_150",
    5000.0: "signal_5000_700_200",
}


@dataclass(frozen=True)
class Case:
    """One data set: its name, the true mass in GeV (None for background alone), and its maker."""

    name: str
    mass: float | None
    replays: int
    make: Callable[[], np.ndarray]


def lhco_cases(path: Path) -> list[Case]:
    """Signal thinned to 250 events in the window, and background alone."""

    def signal(scale: float, seed: int) -> Callable[[], np.ndarray]:
        window = (LHCO_WINDOW[0] * scale, LHCO_WINDOW[1] * scale)
        return lambda: thin_features_file(
            path, LHCO_SIGNAL, window, np.random.default_rng(seed), mass_scale=scale
        )

    def background(part: int | None, seed: int) -> Callable[[], np.ndarray]:
        def make() -> np.ndarray:
            table = read_features_h5(path)
            rows = np.random.default_rng(seed).permutation(np.flatnonzero(table["label"] == 0))
            if part is None:
                return table[np.sort(rows[: int(0.8 * len(rows))])]
            return table[np.sort(rows[part::2])]

        return make

    return [
        *(Case(f"lhco-250-seed{s}", LHCO_MASS, 200, signal(1.0, s)) for s in (1, 2)),
        *(
            Case(f"lhco-250-scaled-{scale}", LHCO_MASS * scale, 20, signal(scale, 3))
            for scale in (1.07, 0.93)
        ),
        *(Case(f"lhco-null-half{p}", None, 200, background(p, 4)) for p in (0, 1)),
        *(Case(f"lhco-null-thinned{s}", None, 200, background(None, s)) for s in range(10, 16)),
    ]


def box_cases(pool: Path) -> list[Case]:
    """Simulated boxes with signal of S/sqrt(B) 3 and 2 within 5% of the mass, and empty ones."""

    def load(process: str) -> np.ndarray:
        return np.concatenate(
            [np.load(file)["events"] for file in sorted((pool / process).glob("chunk_*.npz"))]
        )

    def box(mass: float | None, strength: float, part: int | None, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        background = load("background")
        if part is None:
            chosen = background[rng.choice(len(background), BOX_BACKGROUND, replace=False)]
        else:
            chosen = background[part * BOX_BACKGROUND : (part + 1) * BOX_BACKGROUND]
        if mass is None:
            return rng.permutation(chosen)
        signal = load(BOX_SIGNALS[mass])
        near = [np.abs(dijet_mass(table) / mass - 1) < 0.05 for table in (chosen, signal)]
        wanted = strength * np.sqrt(near[0].sum()) / near[1].mean()
        rows = rng.choice(len(signal), round(wanted), replace=False)
        return rng.permutation(np.concatenate([chosen, signal[rows]]))

    parts = sum(1 for _ in (pool / "background").glob("chunk_*.npz")) * 5000 // BOX_BACKGROUND
    signal = [
        Case(
            f"box-{mass:.0f}-strength{strength}-seed{seed}",
            mass,
            20,
            lambda m=mass, s=strength, x=seed: box(m, s, None, x + int(m)),
        )
        for strength, seeds in ((3, (1,)), (2, (1, 2)))
        for mass in BOX_SIGNALS
        for seed in seeds
    ]
    null = [
        Case(f"box-null-part{p}", None, 200, lambda p=p: box(None, 0, p, 100 + p))
        for p in range(parts)
    ]
    null += [
        Case(f"box-null-drawn{s}", None, 200, lambda s=s: box(None, 0, None, s))
        for s in range(200, 207)
    ]
    return signal + null


def run_case(case: Case, work: Path, seed: int, workers: int) -> dict[str, object]:
    """Make the file, run the search, score the answer."""
    folder = work / case.name
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data.h5"
    if not data.exists():
        table = case.make()
        write_features_h5(data, {name: table[name] for name in LAYOUT_COLUMNS})
    command, run = [sys.executable, "-m", "bumpscout"], folder / "run"
    if (run / "run.json").exists():
        command += ["resume", str(run), "--json"]
    else:
        command += ["search", REQUEST, "--data", str(data), "--out", str(run), "--json"]
        command += ["--model", "offline", "--replays", str(case.replays), "--seed", str(seed)]
        command += ["--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row: dict[str, object] = {
        "case": case.name,
        "true_mass_gev": case.mass,
        "exit": done.returncode,
    }
    if done.returncode != 0:
        return row | {"error": done.stderr[-500:]}
    result = json.loads(done.stdout)
    best = result["bumps"][0] if result["bumps"] else None
    row |= {"verdict": result["verdict"], "wall_s": result["cost"]["wall_s"]}
    row["sha256"] = result["dataset"]["sha256"]
    if best is not None:
        row |= {
            "mass_gev": best["mass_gev"],
            "local_z": best["local_z"],
            "scan_p": best["scan_p"]["value"] if best["scan_p"] else None,
            "procedure_p": best["procedure_p"]["value"] if best["procedure_p"] else None,
            "n_replays": best["procedure_p"]["n_replays"] if best["procedure_p"] else 0,
            "n_reached": best["procedure_p"]["n_reached"] if best["procedure_p"] else 0,
        }
        if case.mass is not None:
            row["mass_error"] = best["mass_gev"] / case.mass - 1
    return row


def run_cases(
    cases: list[Case], work: Path, results: Path, workers: int, side_by_side: int
) -> list[dict[str, object]]:
    """Run the cases that the results file does not hold yet, and return its rows."""

    def rows() -> list[dict[str, object]]:
        if not results.exists():
            return []
        return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]

    def one(case: Case) -> None:
        seed = int(hashlib.sha256(case.name.encode()).hexdigest()[:6], 16)
        row = run_case(case, work, seed, workers)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    known = {row["case"] for row in rows()}
    with ThreadPoolExecutor(side_by_side) as pool:
        list(pool.map(one, [case for case in cases if case.name not in known]))
    return rows()


def main() -> None:
    """Run all cases that are not in the results file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lhco", type=Path, help="events_anomalydetection_v1_first70k.features.h5")
    parser.add_argument("--pool", type=Path, help="folder that make_pool.py filled")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--side-by-side", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    options = parser.parse_args()
    cases = lhco_cases(options.lhco) if options.lhco else []
    cases += box_cases(options.pool) if options.pool else []
    wanted = [case for case in cases if options.only in case.name]
    run_cases(wanted, options.work, options.results, options.workers, options.side_by_side)


if __name__ == "__main__":
    main()
