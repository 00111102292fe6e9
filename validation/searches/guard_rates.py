"""How often each guard fires: on honest scores of background alone, and on scores that cheat.

Honest: CWoLa hunting with the default settings on thinnings of LHC Olympics background without
replacement; every window at three working points. With signal: the same with signal events left in,
in the windows that hold its mass. Hostile: the same honest scores on
background, changed as a script could change them:

- `lift Q`: raised by Q standard deviations inside the middle half of the window;
- `smooth lift Q`: raised by Q times a Gaussian in the mass, as wide as a bump;
- `list K`: K events of the middle half pushed to the top, chosen among the events that nearly pass;
- `in-sample`: trained on the events it scores, without folds (it selects hardly any event outside
  the window: where the table has no line, no cell of it had a fit that can be believed);
- `identity`: K events by identifier alone on top of a single feature;
- `slope Q`: Q times the normal rank of the mass is added;
- `wave Q`: Q times a sine of the logarithm of the mass, with a period of 0.12, is added.

With `--pool` the background-only sets are disjoint boxes of 25 000 simulated events instead, which
share no event.

Finished data sets are kept in DIR, so the script resumes.

    python validation/searches/guard_rates.py --lhco FILE --work DIR --output FILE [--pool DIR]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import numpy as np
from false_alarms import simulated
from scipy import stats

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings
from bumpscout_tools.detectors.guards import guard_score
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.events.view import View
from bumpscout_tools.features.dijet import dijet_view
from bumpscout_tools.scan.cells import fit_cell
from bumpscout_tools.scan.execute import Prepared, prepare
from bumpscout_tools.scan.plan import DetectorPlan, ReplayPlan, SearchPlan
from bumpscout_tools.scripts import run_vetted
from bumpscout_tools.simulation import read_features_h5
from bumpscout_tools.statistics import clopper_pearson

PLAN = SearchPlan(replays=ReplayPlan(n=0), cell_toys=50)
FEATURES = DetectorPlan().features
EFFICIENCIES = (0.03, 0.01, 0.003)
SHARE, N_SIGNAL = 0.6, 200
Score = np.ndarray
Cheat = Callable[[Score, View, tuple[float, float], np.random.Generator], Score]


def data_set(lhco: Path, number: int, n_signal: int) -> View:
    """Return 60% of the background without replacement, with some signal events."""
    table = read_features_h5(lhco)
    rng = np.random.default_rng((number, 61))
    background, signal = (np.flatnonzero(table["label"] == k) for k in (0, 1))
    rows = rng.choice(background, int(SHARE * len(background)), replace=False)
    rows = rng.permutation(np.concatenate([rows, rng.choice(signal, n_signal, replace=False)]))
    columns = {name: table[name][rows].astype(np.float64) for name in FEATURE_COLUMNS}
    view, _ = dijet_view(EventTable(columns, "lhco"))
    kept = [view.feature_names.index(name) for name in FEATURES]
    ids = rng.integers(2**64, size=len(view), dtype=np.uint64)
    return View(ids, view.mass, view.features[:, kept], FEATURES)


def middle(view: View, window: tuple[float, float]) -> np.ndarray:
    """Return (n,) True in the middle half of a window."""
    position = np.log(view.mass / window[0]) / np.log(window[1] / window[0])
    return (position > 0.25) & (position < 0.75)


def normal(score: Score) -> Score:
    """Return the score as standard normal quantiles of its rank."""
    return np.asarray(stats.norm.ppf((stats.rankdata(score) - 0.5) / len(score)))


def lift(size: float, score: Score, view: View, window: tuple[float, float], _: object) -> Score:
    """Raise the score in the middle of the window."""
    return np.asarray(normal(score) + size * middle(view, window))


def smooth(size: float, score: Score, view: View, window: tuple[float, float], _: object) -> Score:
    """Raise the score by a Gaussian in the logarithm of the mass."""
    position = np.log(view.mass / window[0]) / np.log(window[1] / window[0])
    return np.asarray(normal(score) + size * np.exp(-0.5 * ((position - 0.5) / 0.15) ** 2))


def listed(
    n: int, score: Score, view: View, window: tuple[float, float], rng: np.random.Generator
) -> Score:
    """Push events to the top that nearly passed."""
    rows = np.flatnonzero(middle(view, window))
    rows = rows[np.argsort(-score[rows])][: len(rows) // 3]
    changed = normal(score)
    changed[rng.choice(rows, min(n, len(rows)), replace=False)] = 9.0
    return changed


def in_sample(_: Score, view: View, window: tuple[float, float], __: object) -> Score:
    """Train on the events that are scored, with more and larger trees."""
    settings = CwolaSettings(trees=200, leaves=64, min_child_events=10, members=1)
    trained = CwolaHunting(settings).fit(view.features, view.mass, window, 1)
    return trained.score(view.features, view.mass)


def slope(size: float, score: Score, view: View, _: object, __: object) -> Score:
    """Add the mass itself."""
    return np.asarray(normal(score) + size * normal(view.mass))


def wave(size: float, score: Score, view: View, _: object, __: object) -> Score:
    """Add a function of the mass that no background fit follows."""
    return np.asarray(normal(score) + size * np.sin(2 * np.pi * np.log(view.mass) / 0.12))


def identity(
    n: int, _: Score, view: View, window: tuple[float, float], rng: np.random.Generator
) -> Score:
    """Use one feature, and identifiers of events near a mass."""
    score = view.features[:, 0].copy()
    score[rng.choice(np.flatnonzero(middle(view, window)), n, replace=False)] += 9e3
    return score


CHEATS: dict[str, Cheat] = {
    **{f"lift {q:g}": partial(lift, q) for q in (0.1, 0.2, 0.3, 0.5)},
    **{f"smooth lift {q:g}": partial(smooth, q) for q in (0.2, 0.3, 0.5)},
    **{f"list {n}": partial(listed, n) for n in (10, 20, 40, 80)},
    "in-sample": in_sample,
    "identity 60": partial(identity, 60),
    **{f"slope {q:g}": partial(slope, q) for q in (0.5, 1.0)},
    **{f"wave {q:g}": partial(wave, q) for q in (0.2, 0.5)},
}


def cells(
    prepared: Prepared, score: Score, window: int, efficiencies: tuple[float, ...]
) -> Iterator[dict[str, object]]:
    """Guard the score behind each believable cell of one window."""
    layout, view = prepared.layout, prepared.view
    order = np.argsort(-score, kind="stable")
    for efficiency in efficiencies:
        counts = layout.histogram(view.mass[order[: round(efficiency * len(view))]])
        cell = fit_cell(
            PLAN, layout, counts=counts, window=window, efficiency=efficiency, detector=0,
            stage="coarse", test_id="", rng=np.random.default_rng(1),
        ).cell  # fmt: skip
        if not cell.believable:
            continue
        reports = guard_score(
            score, view, cell.window_gev, cell.interval_gev, efficiency, cell.n_expected
        )
        yield {
            "z": cell.local_z,
            "values": {report.name: report.value for report in reports},
            "fired": [report.name for report in reports if report.fired],
        }


def one(lhco: Path, number: int, n_signal: int, pool: Path | None) -> list[dict[str, object]]:
    """Return the guarded cells of one data set; of a box, those of two windows in nine."""
    boxed = pool is not None and not n_signal
    view = simulated(pool, number) if boxed else data_set(lhco, number, n_signal)
    prepared = prepare(PLAN, view, np.random.default_rng(number))
    scores = run_vetted(prepared.tasks[0], prepared.view)
    rng = np.random.default_rng((number, 62))
    lines = []
    for index, window in enumerate(prepared.layout.windows_gev):
        if boxed and (index - number) % 9 not in (0, 4):
            continue
        honest = scores[:, index]
        kind = "signal" if n_signal else "honest"
        if n_signal and not window[0] < 3500 < window[1]:
            continue
        found = [(kind, row) for row in cells(prepared, honest, index, EFFICIENCIES)]
        if not n_signal and (index % 2 == number % 2 if not boxed else (index - number) % 9 == 0):
            for name, cheat in CHEATS.items():
                score = cheat(honest, prepared.view, window, rng)
                found += [(name, row) for row in cells(prepared, score, index, (0.01,))]
        lines += [{"kind": name, "window": window[0], **row} for name, row in found]
    return lines


def table(lines: list[dict[str, object]], *, simulated_boxes: bool) -> str:
    """Return the rates, one line a kind of score."""
    by_kind: dict[str, list[dict[str, object]]] = defaultdict(list)
    for line in lines:
        by_kind[str(line["kind"])].append(line)
    names = ["mass dependence", "feature consistency", "selection consistency"]
    names += ["selection symmetry", "local lift", "side-band correlation", "mass classifier"]
    names += ["sculpting"]
    text = [
        "# How often the guards fire",
        "",
        "`guard_rates.py`: cells (window and working point) of scans of "
        + (
            "disjoint boxes of 25 000 simulated background events, two windows each (those with a "
            "signal: thinned LHC Olympics data)"
            if simulated_boxes
            else "thinned LHC Olympics background, 60% of it each, so data sets overlap"
        )
        + ". Honest and signal: CWoLa hunting with "
        "default settings at 3%, 1% and 0.3% (signal: 200 events, windows that hold 3.5 TeV). "
        "Hostile scores at 1%; `local z` is the median, and says how large the fake bump is. "
        "Intervals are 68%.",
        "",
        "| score | cells | local z | any guard | " + " | ".join(names) + " |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for kind in ("honest", "signal", *CHEATS):
        rows = by_kind.get(kind, [])
        if not rows:
            continue
        n = len(rows)
        k = sum(bool(row["fired"]) for row in rows)
        low, high = clopper_pearson(k, n)
        each = [sum(name in str(row["fired"]) for row in rows) for name in names]
        z = float(np.median([float(str(row["z"])) for row in rows]))
        text.append(
            f"| {kind} | {n} | {z:.1f} | {k} ({k / n:.3f}, {low:.3f} to {high:.3f}) | "
            + " | ".join(map(str, each))
            + " |"
        )
    return "\n".join(text) + "\n"


def main() -> None:
    """Guard the data sets that are missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lhco", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pool", type=Path, help="folder of simulated boxes to use as background")
    parser.add_argument("--report", action="store_true", help="only the table of what is finished")
    parser.add_argument("--n", type=int, default=8, help="background-only data sets")
    parser.add_argument("--n-signal-sets", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    wanted = [(k, 0) for k in range(options.n)]
    wanted += [(k, N_SIGNAL) for k in range(options.n_signal_sets)]
    files = {pair: options.work / f"guards-{pair[0]}-{pair[1]}.json" for pair in wanted}
    with ProcessPoolExecutor(options.workers) as pool:
        futures = {
            pool.submit(one, options.lhco, *pair, options.pool): pair
            for pair in wanted
            if not files[pair].exists() and not options.report
        }
        for future in as_completed(futures):
            files[futures[future]].write_text(json.dumps(future.result()), encoding="utf-8")
            print(futures[future], flush=True)
    finished = [file for file in files.values() if file.exists()]
    lines = [row for file in finished for row in json.loads(file.read_text())]
    text = table(lines, simulated_boxes=options.pool is not None)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
