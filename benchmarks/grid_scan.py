"""Time and memory of `bumpscout scan` on a grid: 63 spectra x 100 working points, 1M events.

    python benchmarks/grid_scan.py [--toys 256] [--quick] > benchmarks/grid_scan.txt

What is timed is what the command does once the file is read: bins and slices of the events, the
start of each fit by the rule of the plan, orders p2 to p5 chosen in each cell, p2 to p6 for every
cell, believability, then toys of the scan and replays of the whole plan. Toys are counted in
seconds a toy, because their number is the user's choice: 100 that reach the data end a scan of
background alone, 10000 are made for an excess.

The events are resampled from a made-up background: 9 masses (jj, jb, bb, je, be, jm, bm, jg, bg) in
7 overlapping triggers, each event with one to nine masses that are equal or differ by some 10%,
and a score that knows nothing of them. Spectra begin at 1 TeV with bins of 2%, working points run
in equal steps of the logarithm from all events to 100.

Rows of `grid_scan.jsonl` beside this file are not measured again. CPU seconds are of all threads;
wall seconds depend on what else the machine does (`load`). Each row runs in a process of its own,
whose largest resident size is `MB`, the making of the events (`events MB`) included. `digest` is of
all cells, toys and replays: equal for equal sizes, whatever the threads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

KEPT = Path(__file__).with_suffix(".jsonl")
MASSES = ("jj", "jb", "bb", "je", "be", "jm", "bm", "jg", "bg")
TRIGGERS = (0.95, 0.7, 0.5, 0.4, 0.3, 0.3, 0.2)
OBJECTS = (("b", 0.4), ("e", 0.2), ("m", 0.2), ("g", 0.15))
LOWEST_GEV = 1000.0


@dataclass(frozen=True)
class Size:
    """Size of a run; `spectra` is a multiple of nine."""

    events: int
    spectra: int
    points: int
    workers: int
    toys: int


def view_of(n: int) -> Any:
    """Return n background events with a mass above 1 TeV."""
    import numpy as np

    from bumpscout_tools.events.spectra import SpectraTable
    from bumpscout_tools.events.view import View

    rng = np.random.default_rng(1)
    lead = LOWEST_GEV * np.exp(rng.exponential(0.25, n))
    there = {
        name: rng.random(n) < p for name, p in (("b", 0.4), ("e", 0.2), ("m", 0.2), ("g", 0.15))
    }

    def near(mass: Any) -> Any:
        return np.where(rng.random(n) < 0.6, mass, mass * np.exp(0.1 * rng.random(n)))

    masses = [lead, np.where(there["b"], near(lead), np.nan)]
    masses.append(np.where(rng.random(n) < 0.25, near(masses[1]), np.nan))
    for name in ("e", "m", "g"):
        masses.append(np.where(there[name], near(lead), np.nan))
        masses.append(np.where(there["b"], near(masses[-1]), np.nan))
    bits = np.zeros(n, dtype=np.uint64)
    for bit, share in enumerate(TRIGGERS):
        bits |= (rng.random(n) < share).astype(np.uint64) << np.uint64(bit)
    names = tuple(f"t{bit}" for bit in range(len(TRIGGERS)))
    table = SpectraTable(np.stack(masses, axis=1), MASSES, bits, names)
    ids = np.arange(n, dtype=np.uint64)
    return View(ids, lead, rng.random(n)[:, None], ("score",), table)


def measure(size: Size) -> dict[str, Any]:
    """Scan one grid and make its toys."""
    from bumpscout_tools.scan.grid_layout import grid_events, grid_scores, resolve_grid
    from bumpscout_tools.scan.grid_scan import scan_grid
    from bumpscout_tools.scan.grid_toys import ToyStore, null_grid, toy_blocks
    from bumpscout_tools.scan.plan import SearchPlan
    from bumpscout_tools.scan.serial import SerialExecutor

    def plan_of(n_events: int, spectra: int, points: int) -> SearchPlan:
        triggers = [f"t{bit}" for bit in range(spectra // len(MASSES))]
        entry = {"masses": MASSES, "categories": triggers, "min_gev": LOWEST_GEV}
        cuts = {"from": 1.0, "to": 100.0 / n_events, "n": points}
        return SearchPlan.model_validate(
            {
                "detectors": [{"name": "column", "features": ["score"]}],
                "spectra": [entry],
                "working_points": {"efficiencies": cuts},
            }
        )

    def carry_out(plan: SearchPlan, view: Any, executor: Any, toys: int) -> dict[str, Any]:
        clock: list[tuple[float, float]] = [(time.perf_counter(), time.process_time())]

        def tick() -> tuple[float, float]:
            clock.append((time.perf_counter(), time.process_time()))
            return clock[-1][0] - clock[-2][0], clock[-1][1] - clock[-2][1]

        events = grid_events(view, grid_scores(plan, view, 1))
        plan = resolve_grid(plan, events).plan
        scan = scan_grid(plan, events, executor, list)
        row: dict[str, Any] = {
            "tests": len(scan.outcome.cells),
            "cells": scan.grid.cells.n_cells,
            "scan": tick(),
        }
        digest = hashlib.sha256(scan.outcome.model_dump_json().encode())
        null = null_grid(plan, scan)
        with tempfile.TemporaryDirectory() as folder:
            for kind, n in (("scan", toys), ("replay", toys // 2)):
                store = ToyStore(
                    Path(folder) / kind,
                    "benchmark",
                    len(null.columns) * null.cells.n_levels if kind == "scan" else 0,
                )
                blocks = toy_blocks(null, kind, 1, n // 32, executor, store, 8)
                digest.update(repr([block.largest for block in blocks]).encode())
                wall, cpu = tick()
                row[f"{kind} toy"] = (wall / n, cpu / n)
        return row | {"digest": digest.hexdigest()[:12]}

    warm = view_of(20_000)
    carry_out(plan_of(20_000, 9, 3), warm, SerialExecutor(), 64)  # compiles
    view = view_of(size.events)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with ThreadPoolExecutor(size.workers) as executor:
        row = carry_out(plan_of(size.events, size.spectra, size.points), view, executor, size.toys)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**asdict(size), **row, "events MB": before, "MB": most, "load": os.getloadavg()[0]}


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    (wall, cpu), toy, replay = row["scan"], row["scan toy"], row["replay toy"]
    return (
        f"{row['events']:8d} {row['spectra']:7d} {row['points']:6d} {row['workers']:7d} "
        f"{row['tests']:6d} {row['cells']:7d} {wall:8.1f} {cpu:7.1f} {toy[0]:9.3f} {toy[1]:8.3f} "
        f"{replay[0]:9.3f} {replay[1]:8.3f} {row['events MB']:6.0f} {row['MB']:6.0f} "
        f"{row['load']:5.1f} {row['digest']}"
    )


def main() -> int:
    """Measure the rows that are missing and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=256, help="of each row; a multiple of 64")
    parser.add_argument("--quick", action="store_true", help="small sizes alone")
    parser.add_argument("--kept", action="store_true", help="print what was measured so far")
    parser.add_argument("--one", help="measure one row (JSON) and print it")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Size(**json.loads(options.one)))))
        return 0
    small = Size(100_000, 9, 20, 1, options.toys)
    sizes = [
        small,
        *(
            Size(**asdict(small) | change)
            for change in (
                {"events": 200_000},
                {"spectra": 18},
                {"points": 40},
                {"workers": 2},
                {"workers": 4},
            )
        ),
    ]
    if not options.quick:
        sizes += [Size(1_000_000, 63, 100, workers, options.toys) for workers in (4, 2, 1)]
    kept = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []
    known = {tuple(row[key] for key in asdict(small)): row for row in map(json.loads, kept)}
    rows = []
    for size in sizes:
        key = tuple(asdict(size).values())
        if key not in known and options.kept:
            continue
        if key not in known:
            command = [sys.executable, __file__, "--one", json.dumps(asdict(size))]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            known[key] = json.loads(done.stdout)
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[key]) + "\n")
        rows.append(known[key])
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba"))
    print(f"Python {platform.python_version()}, {packages}, {platform.machine()}")
    print(f"{len(os.sched_getaffinity(0))} cores; {options.toys} toys, half as many replays a row")
    print(
        "                                                     the data (s)    a toy (s)         "
        " a replay (s)      memory"
    )
    print(
        "  events spectra points workers  tests   cells     wall     CPU      wall      CPU      "
        "wall      CPU before   most  load digest"
    )
    print("\n".join(line(row) for row in rows))
    by_size: dict[tuple[int, int, int], set[str]] = {}
    for row in rows:
        by_size.setdefault((row["events"], row["spectra"], row["points"]), set()).add(row["digest"])
    same = all(len(digests) == 1 for digests in by_size.values())
    print(f"results identical on any number of workers: {same}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
