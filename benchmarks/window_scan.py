"""Time and memory of a CWoLa window scan on 80 000 events, and of the replays of a search.

    python benchmarks/window_scan.py --pool DIR > benchmarks/window_scan.txt

The events are simulated background (`validation/boxes/make_pool.py`), the plan is the default one.
A window scan trains all windows and folds, fits every cell with its toys and refines; a replay
draws a pseudo-experiment first. Replays run in processes, as in a search. `naive` is the same
training one window and fold after the other with scikit-learn-like defaults of LightGBM (all
threads of the machine in each training), what a plain script does. CPU seconds count all threads
and processes.

Exit code 1 if a full window scan with four workers takes 20 s or more.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm
import numpy as np

from bumpscout_tools.detectors.folds import fold_of
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.events.view import View
from bumpscout_tools.features.dijet import dijet_view
from bumpscout_tools.scan.execute import Prepared, execute, prepare
from bumpscout_tools.scan.null import NullModel, fit_null
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import replay_once
from bumpscout_tools.script import ScriptTask
from bumpscout_tools.scripts import run_vetted

N_EVENTS, N_REPLAYS, MOST_SECONDS = 80_000, 16, 20.0
PLAN = SearchPlan()


def events(pool: Path) -> View:
    """Return the first 80 000 events of the pool."""
    files = sorted((pool / "background").glob("chunk_*.npz"))
    table = np.concatenate([np.load(file)["events"] for file in files[: N_EVENTS // 4000]])
    table = table[:N_EVENTS]
    columns = {name: table[name].astype(np.float64) for name in FEATURE_COLUMNS}
    view, _ = dijet_view(EventTable(columns, "lhco"))
    return view


def vetted(_index: int, task: ScriptTask, view: View) -> np.ndarray:
    """Score a replay with the vetted detector."""
    return run_vetted(task, view)


def replay(null: NullModel, index: int) -> float:
    """Carry out one replay and return its CPU seconds."""
    start = time.process_time()
    replay_once(PLAN, null, index, 1, vetted)
    return time.process_time() - start


def naive(prepared: Prepared) -> None:
    """Train the same windows and folds one after the other, with all threads in each training."""
    task, view = prepared.tasks[0], prepared.view
    fold = fold_of(view.event_id, 5, task.seed)
    for low, high in task.windows_gev:
        inside = (view.mass >= low) & (view.mass < high)
        near = (view.mass >= low * low / high) & (view.mass < high * high / low)
        for number in range(5):
            rows = near & (fold != number)
            for member in range(2):
                model = lightgbm.LGBMClassifier(
                    n_estimators=40,
                    num_leaves=16,
                    learning_rate=0.08,
                    random_state=member,
                    verbosity=-1,
                )
                model.fit(view.features[rows], inside[rows])
                model.predict_proba(np.ascontiguousarray(view.features[fold == number]))


def scan(view: View, pool: ThreadPoolExecutor, workers: int) -> None:
    """Carry out the plan once."""
    execute(
        PLAN,
        view,
        np.random.default_rng(0),
        pool,
        lambda _index, task, inner: run_vetted(task, inner, workers),
        lambda _line: None,
    )


def measured(name: str, run: Callable[[], object]) -> float:
    """Print wall and CPU seconds of one step, and the largest memory so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<46}{wall:>9.2f}{cpu:>9.2f}{peak:>9.0f}", flush=True)
    return wall


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start")
    print(f"LightGBM {version('lightgbm')}, numpy {version('numpy')}\n")
    view = events(options.pool)
    prepare(PLAN, view, np.random.default_rng(0))  # compiles
    prepared = prepare(PLAN, view, np.random.default_rng(0))
    print(
        f"{len(view)} events, {len(prepared.view)} in the fitted range, "
        f"{len(prepared.layout.windows)} windows\n"
    )
    print(f"{'':<46}{'wall s':>9}{'CPU s':>9}{'MiB':>9}")
    slowest = 0.0
    for workers in (1, 2, 4):
        with ThreadPoolExecutor(workers) as pool:
            slowest = measured(
                f"window scan, {workers} threads", partial(scan, view, pool, workers)
            )
    measured("trainings of a plain script alone", lambda: naive(prepared))
    nulls: list[NullModel] = []
    window = prepared.layout.windows_gev[2]
    measured("null generator fitted", lambda: nulls.append(fit_null(PLAN, prepared, window, 1)))
    measured("one replay in this process", lambda: replay(nulls[0], 0))
    for workers in (1, 2, 4):
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(replay, nulls * workers, range(workers)))  # imports and compiles
            start = time.perf_counter()
            cpu = list(pool.map(replay, nulls * N_REPLAYS, range(N_REPLAYS)))
            wall = time.perf_counter() - start
        print(
            f"{f'{N_REPLAYS} replays, {workers} processes':<46}{wall:>9.2f}{sum(cpu):>9.2f}"
            f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:>9.0f}",
            flush=True,
        )
    print(
        f"\n{200 * wall / N_REPLAYS / 60:.1f} minutes for the 200 replays of a search, 4 processes"
    )
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    sys.exit(slowest >= MOST_SECONDS)


if __name__ == "__main__":
    main()
