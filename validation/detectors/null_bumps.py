"""How often each detector makes a bump of scan p < 0.01 on background alone.

Data sets of 20 000 events, none with an event twice and none sharing one with another: disjoint
parts of a simulated pool (`make_pool.py`), then draws from a smooth truth density that no fit knows
(`false_alarms.py`). Detectors that are trained for each window but cost minutes (flows) get one
window, the lowest; the others scan all windows. Every data set is scanned and gets one replay from
the null generator fitted to it; null mean and width of the cells come from the replays of all data
sets, as a search takes them from its own, and the scan p of each data set from its own refitted
toys. Finished data sets are kept in DIR, so the script resumes.

    python validation/detectors/null_bumps.py --pool DIR --work DIR [--only NAME] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "searches"))

import false_alarms

from bumpscout_tools.errors import BumpscoutError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.null import fit_null
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import Replay, excesses, replay_once
from bumpscout_tools.scan.scan_p import scan_p_value
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.trials import KeptScores
from bumpscout_tools.scripts import run_vetted
from bumpscout_tools.statistics import clopper_pearson

N_EVENTS, FILES_IN_A_SET = 20_000, 4
LEVELS = (0.05, 0.01)
ONE_WINDOW = {"width_bins": 6, "step_bins": 50}


@dataclass(frozen=True)
class Study:
    """A detector, whether it scans every window, and on how many data sets."""

    detector: dict[str, Any]
    all_windows: bool
    n: int

    def plan(self) -> SearchPlan:
        """Return the plan that is carried out on each data set."""
        windows = {} if self.all_windows else {"windows": ONE_WINDOW}
        content = {"detectors": [self.detector], "replays": {"n": 0}, **windows}
        return SearchPlan.model_validate(content)


STUDIES = {
    "cwola": Study({"name": "cwola"}, all_windows=True, n=100),
    "autoencoder": Study({"name": "autoencoder"}, all_windows=True, n=100),
    "isolation-forest": Study({"name": "isolation-forest"}, all_windows=True, n=100),
    "tag-n-train": Study({"name": "tag-n-train"}, all_windows=False, n=30),
    "cathode": Study({"name": "cathode"}, all_windows=False, n=30),
    "lacathode": Study({"name": "cathode", "settings": {"latent": True}}, all_windows=False, n=30),
    "anode": Study({"name": "anode"}, all_windows=False, n=30),
    "r-anode": Study({"name": "r-anode"}, all_windows=False, n=30),
}


def data_set(pool: Path, number: int) -> View:
    """Return one background-only data set."""
    files = sorted((pool / "background").glob("chunk_*.npz"))
    mine = files[number * FILES_IN_A_SET : (number + 1) * FILES_IN_A_SET]
    rng = np.random.default_rng((number, 40))
    if len(mine) == FILES_IN_A_SET:
        table = np.concatenate([np.load(file)["events"] for file in mine])
        return false_alarms.table_view(table, rng)
    view = false_alarms.smooth_truth(10_000 + number)
    return view.select(np.sort(rng.permutation(len(view))[:N_EVENTS]))


def scan(name: str, number: int, pool: Path, kept: Path) -> dict[str, Any]:
    """Scan one data set, keep its scores, and replay the plan once."""
    plan, view, seed = STUDIES[name].plan(), data_set(pool, number), 3000 + number
    scores = KeptScores(lambda _index, task, events: run_vetted(task, events))
    row: dict[str, Any] = {"number": number, "n_events": len(view)}
    try:
        outcome = execute(
            plan, view, np.random.default_rng(seed), SerialExecutor(), scores, lambda _test: None
        )
        np.save(kept, scores.scores[0].astype(np.float64))
        best = outcome.best()
        prepared = prepare(plan, view, np.random.default_rng(seed))
        if best is not None:
            null = fit_null(plan, prepared, best.window_gev, seed)
            replay = replay_once(plan, null, 0, seed, false_alarms.vetted)
            row |= {
                "replay": replay.model_dump(mode="json"),
                "local_z": best.local_z,
                "guards": [g.name for one in outcome.guards.values() for g in one if g.fired],
            }
    except BumpscoutError as error:
        row["error"] = str(error)[:300]
    return row


def scan_p(name: str, number: int, pool: Path, kept: Path, replays: list[Replay]) -> float:
    """Return the scan p of one data set, cells calibrated by the replays of all."""
    plan, view, seed = STUDIES[name].plan(), data_set(pool, number), 3000 + number
    scores = [np.load(kept)]
    outcome = execute(
        plan,
        view,
        np.random.default_rng(seed),
        SerialExecutor(),
        lambda _index, _task, _view: scores[0],
        lambda _test: None,
        ask_guards=False,
    )
    prepared = prepare(plan, view, np.random.default_rng(seed))
    calibration = NullCells.estimate(plan, excesses(outcome), replays)
    found = scan_p_value(
        plan,
        prepared,
        scores,
        outcome,
        calibration,
        seed,
        SerialExecutor(),
        lambda _stage, _said, _done, _total: None,
    )
    return float(found.value)


def carry_out(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Carry out, or finish, the study of one detector."""
    study, folder = STUDIES[name], options.work / name
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sets.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = {row["number"]: row for row in map(json.loads, lines)}
    n = min(study.n, options.n or study.n)
    missing = [] if options.report else [k for k in range(n) if k not in rows]
    with ProcessPoolExecutor(options.workers) as pool:
        futures = [pool.submit(scan, name, k, options.pool, folder / f"{k}.npy") for k in missing]
        for done, future in enumerate(as_completed(futures), 1):
            row = future.result()
            rows[row["number"]] = row
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            print(f"{name}: {done} of {len(futures)}", file=sys.stderr, flush=True)
        replays = [Replay.model_validate(r["replay"]) for r in rows.values() if "replay" in r]
        good = sorted(k for k, row in rows.items() if "replay" in row)
        p = list(
            pool.map(
                scan_p,
                [name] * len(good),
                good,
                [options.pool] * len(good),
                [folder / f"{k}.npy" for k in good],
                [replays] * len(good),
            )
        )
    return {"name": name, "study": study, "rows": rows, "p": np.array(p), "good": good}


def line(found: dict[str, Any]) -> str:
    """Return a row of the table."""
    p, rows, study = found["p"], found["rows"], found["study"]
    cells = [found["name"], "all" if study.all_windows else "one", str(len(rows))]
    for level in LEVELS:
        if not len(p):
            cells.append("")
            continue
        k = int(np.count_nonzero(p < level))
        low, high = clopper_pearson(k, len(p))
        chance = float(stats.binom.sf(k - 1, len(p), level))
        cells.append(f"{k} ({low:.3f} to {high:.3f}; chance {chance:.2f})")
    loud = sum(rows[k]["local_z"] > 3 for k in found["good"])
    fired = sum(bool(rows[k]["guards"]) for k in found["good"])
    failed = sum("error" in row for row in rows.values())
    cells += [f"{loud}", f"{fired}", f"{failed}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Carry out the studies and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True, help="folder that make_pool.py filled")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=STUDIES)
    parser.add_argument("--n", type=int, help="data sets at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", action="store_true", help="of what is finished")
    parser.add_argument("--output", type=Path, help="write the table here")
    options = parser.parse_args()
    text = "\n".join(
        [
            "# Bumps that detectors make on background alone",
            "",
            "`null_bumps.py`: data sets of 20 000 background events; scan p from refitted toys, "
            "cells calibrated by one replay of each data set. `chance`: probability of so many or "
            "more if p is uniform. Intervals are 68%.",
            "",
            "| detector | windows | n | scan p < 0.05 | scan p < 0.01 | local z > 3 | guard fired "
            "| failed |",
            "|---|---|---|---|---|---|---|---|",
            *(
                line(carry_out(name, options))
                for name in options.only or STUDIES
                if not options.report or (options.work / name / "sets.jsonl").exists()
            ),
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
