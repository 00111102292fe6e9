"""False alarms of the whole procedure on background-only data sets, and of broken nulls.

Data sets: draws from a smooth truth density that the procedure never sees, disjoint parts of an
independent simulation, and thinnings of LHC Olympics background without replacement. Each is
scanned and gets replays from the null generator fitted to it; it is ranked in the pool of the other
data sets' replays. Four wrong nulls must fail the same test:

- `shifted`: the fitted spectrum of the generator is bent by 30%, with a period of 0.25 in the
  logarithm of the mass, which the refits of a replay cannot follow (`shifted-15`: by 15%, which
  few data sets do not tell);
- `bootstrap`: replays resample the data's events, so each replay holds copies of events and the
  data's own fluctuations enter twice; copies keep apart, so training sees its own test events;
- `one-fold`: the same with copies kept in one fold;
- `sculpting`: the detector is a function of the mass, and replays shuffle the mass.

Finished data sets are kept in DIR, so the script resumes.

    python validation/searches/false_alarms.py --work DIR [--lhco FILE] [--pool DIR]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from bumpscout_tools.detectors import cross_fit, make_detector
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.events.view import View
from bumpscout_tools.features.dijet import dijet_view
from bumpscout_tools.scan.alarms import NullTrial, alarm_rates, null_trial
from bumpscout_tools.scan.execute import Prepared, execute
from bumpscout_tools.scan.null import fit_null
from bumpscout_tools.scan.plan import DetectorPlan, ReplayPlan, SearchPlan
from bumpscout_tools.scan.replay import Replay, excesses, replay_once
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.script import ScriptTask
from bumpscout_tools.scripts import run_vetted
from bumpscout_tools.simulation import read_features_h5

FEATURES = DetectorPlan().features
PLAN = SearchPlan(replays=ReplayPlan(n=0))
N_EVENTS = 50_000
FILES_IN_A_BOX, SIMULATED_REPLAYS = 5, 5


def smooth_truth(seed: int) -> View:
    """Draw a data set from an analytic density outside the background family.

    The mass follows exp(-a t - b t^2 - c t^3) in t = ln(m / 2.2 TeV); the features are a Gaussian
    copula with gamma and beta margins whose parameters move smoothly with the mass.
    """
    rng = np.random.default_rng((seed, 20))
    n = int(rng.poisson(N_EVENTS))
    t = np.linspace(0.0, np.log(9.0 / 2.2), 4001)
    density = np.exp(-5.2 * t - 1.1 * t**2 - 0.9 * t**3) * 2.2 * np.exp(t)
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(t)
    cumulative = np.append(0.0, np.cumsum(steps)) / steps.sum()
    position = np.interp(rng.random(n), cumulative, t)
    mass = 2200.0 * np.exp(position)
    correlation = np.array(
        [[1, 0.5, -0.3, -0.1], [0.5, 1, -0.1, -0.3], [-0.3, -0.1, 1, 0.1], [-0.1, -0.3, 0.1, 1]]
    )
    u = stats.norm.cdf(rng.multivariate_normal(np.zeros(4), correlation, n))
    features = np.column_stack(
        [
            stats.gamma.ppf(u[:, 0], 2.0 + 0.3 * position, scale=60.0 + 25.0 * position),
            stats.gamma.ppf(u[:, 1], 1.2 + 0.2 * position, scale=110.0 + 60.0 * position),
            stats.beta.ppf(u[:, 2], 5.0 - 0.6 * position, 3.0),
            stats.beta.ppf(u[:, 3], 4.5 - 0.5 * position, 3.2),
        ]
    )
    return View(rng.integers(2**64, size=n, dtype=np.uint64), mass, features, FEATURES)


def table_view(table: np.ndarray, rng: np.random.Generator) -> View:
    """Make the view of a feature table, with opaque identifiers."""
    view, _ = dijet_view(
        EventTable({name: table[name].astype(np.float64) for name in FEATURE_COLUMNS}, "lhco")
    )
    ids = rng.integers(2**64, size=len(view), dtype=np.uint64)
    columns = [view.feature_names.index(name) for name in FEATURES]
    return View(ids, view.mass, view.features[:, columns], FEATURES)


def simulated(pool: Path, number: int) -> View:
    """Return one of the disjoint boxes of 25 000 simulated background events."""
    files = sorted((pool / "background").glob("chunk_*.npz"))
    mine = files[number * FILES_IN_A_BOX : (number + 1) * FILES_IN_A_BOX]
    table = np.concatenate([np.load(file)["events"] for file in mine])
    return table_view(table, np.random.default_rng((number, 21)))


def thinned(lhco: Path, seed: int) -> View:
    """Return 60% of the background of the LHC Olympics R&D file, drawn without replacement."""
    table = read_features_h5(lhco)
    background = table[table["label"] == 0]
    rng = np.random.default_rng((seed, 22))
    rows = rng.choice(len(background), int(0.6 * len(background)), replace=False)
    return table_view(background[rows], rng)


def vetted(_index: int, task: ScriptTask, view: View) -> np.ndarray:
    """Score with the vetted detector."""
    return run_vetted(task, view)


def vetted_with_copies(_index: int, task: ScriptTask, view: View) -> np.ndarray:
    """Score with the vetted detector, which would refuse copies in several folds."""
    return cross_fit(
        make_detector(task.detector, task.parameters),
        view,
        task.windows_gev,
        features=task.features,
        seed=task.seed,
        allow_copies=True,
    )


def of_mass(_index: int, task: ScriptTask, view: View) -> np.ndarray:
    """Score by closeness to the middle of each window: a detector that sculpts."""
    middle = np.array([np.sqrt(low * high) for low, high in task.windows_gev])
    noise = np.random.default_rng(task.seed).normal(0.0, 0.3, (len(view), len(middle)))
    return noise - np.abs(np.log(view.mass[:, None] / middle))


def _replay_on(plan: SearchPlan, view: View, seed: int, run_script: Callable) -> Replay:
    rng = np.random.default_rng((seed, 23))
    outcome = execute(plan, view, rng, SerialExecutor(), run_script, lambda _test: None)
    return Replay(index=0, n_events=len(view), cells=excesses(outcome))


def shifted_null(
    plan: SearchPlan, prepared: Prepared, window: tuple[float, float], seed: int, *, bend: float
) -> list[Replay]:
    """Replay on draws from a generator whose spectrum is bent."""
    null = fit_null(plan, prepared, window, seed)
    middle = np.sqrt(null.masses[1:] * null.masses[:-1])
    pieces = np.diff(null.cumulative) * (1.0 + bend * np.sin(2 * np.pi * np.log(middle) / 0.25))
    bent = replace(null, cumulative=np.append(0.0, np.cumsum(pieces)) / pieces.sum())
    return [replay_once(plan, bent, 0, seed, vetted)]


def bootstrap(
    plan: SearchPlan,
    prepared: Prepared,
    _window: tuple[float, float],
    seed: int,
    *,
    one_fold: bool,
) -> list[Replay]:
    """Replay on events of the data drawn with replacement."""
    rng = np.random.default_rng((seed, 24))
    view = prepared.view.select(rng.integers(len(prepared.view), size=len(prepared.view)))
    if one_fold:
        return [_replay_on(plan, view, seed, vetted)]
    ids = rng.integers(2**64, size=len(view), dtype=np.uint64)
    apart = View(ids, view.mass, view.features, view.feature_names)
    return [_replay_on(plan, apart, seed, vetted_with_copies)]


def shuffled(
    plan: SearchPlan, prepared: Prepared, _window: tuple[float, float], seed: int
) -> list[Replay]:
    """Replay on the data with masses shuffled against the scores: a null without the sculpting."""
    rng = np.random.default_rng((seed, 25))

    def score(_index: int, task: ScriptTask, view: View) -> np.ndarray:
        return of_mass(0, task, view)[rng.permutation(len(view))]

    return [_replay_on(plan, prepared.view, seed, score)]


def trial(kind: str, number: int, lhco: Path | None, pool: Path | None) -> NullTrial:
    """Carry out one trial of a kind."""
    source, _, broken = kind.partition("/")
    if source == "simulated" and pool is not None:
        view = simulated(pool, number)
    elif source == "thinned" and lhco is not None:
        view = thinned(lhco, number)
    else:
        view = smooth_truth(number)
    makers = {
        "shifted": partial(shifted_null, bend=0.3),
        "shifted-15": partial(shifted_null, bend=0.15),
        "bootstrap": partial(bootstrap, one_fold=False),
        "one-fold": partial(bootstrap, one_fold=True),
        "sculpting": shuffled,
    }
    return null_trial(
        PLAN,
        view,
        name=f"{kind}-{number}",
        seed=1000 + number,
        run_script=of_mass if broken == "sculpting" else vetted,
        n_replays=SIMULATED_REPLAYS if source == "simulated" else 1,
        make_replays=makers.get(broken),
    )


def load(path: Path) -> list[NullTrial]:
    """Return the finished trials of one kind."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [NullTrial.model_validate_json(line) for line in lines]


def summary(work: Path, kinds: Sequence[str]) -> str:
    """Return the table of all kinds."""
    lines = [
        "# False alarms on background-only data",
        "",
        "`false_alarms.py`: default plan; each data set gets replays from the null generator "
        "fitted to it and is ranked in the pool of the others' replays. KS compares data sets with "
        "replays; a broken null must fail it. Intervals are 68%.",
        "",
        "| data sets | n | replays | p <= 0.05 | p <= 0.01 | KS p | local z > 3 | guard fired |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        trials = load(work / f"{kind.replace('/', '-')}.jsonl")
        if len(trials) < 5:
            continue
        r = alarm_rates(PLAN, trials, np.random.default_rng(1))
        five, one = (
            f"{x.k} ({x.value:.3f}, {x.low:.3f} to {x.high:.3f})"
            for x in (r.below["0.05"], r.below["0.01"])
        )
        lines.append(
            f"| {kind} | {r.n_data_sets} | {r.n_replays} | {five} | {one} | {r.ks_p:.2g} | "
            f"{r.local_z_above_3.value:.2f} | {r.guard_fired.k} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Carry out the trials that are missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--lhco", type=Path, help="events_anomalydetection_v1_first70k.features.h5")
    parser.add_argument("--pool", type=Path, help="folder that make_pool.py filled")
    parser.add_argument("--n", type=int, default=160, help="draws from the smooth truth")
    parser.add_argument("--n-broken", type=int, default=160)
    parser.add_argument(
        "--only", nargs="*", help="carry out these kinds alone, such as smooth/shifted"
    )
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 2) // 2, 1))
    parser.add_argument("--output", type=Path, help="write the table here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    wanted = {"smooth": options.n}
    if options.pool:
        files = list((options.pool / "background").glob("chunk_*.npz"))
        wanted["simulated"] = len(files) // FILES_IN_A_BOX
    if options.lhco:
        wanted["thinned"] = 30
    for broken in ("bootstrap", "one-fold", "shifted", "shifted-15", "sculpting"):
        wanted[f"smooth/{broken}"] = options.n_broken
    with ProcessPoolExecutor(options.workers) as pool:
        futures = {}
        for kind, n in wanted.items():
            if options.only and kind not in options.only:
                continue
            known = {t.name for t in load(options.work / f"{kind.replace('/', '-')}.jsonl")}
            for number in range(n):
                if f"{kind}-{number}" not in known:
                    future = pool.submit(trial, kind, number, options.lhco, options.pool)
                    futures[future] = kind
        for done, future in enumerate(as_completed(futures), 1):
            with (options.work / f"{futures[future].replace('/', '-')}.jsonl").open("a") as file:
                file.write(json.dumps(future.result().model_dump(mode="json")) + "\n")
            print(f"{done} of {len(futures)}", flush=True)
    text = summary(options.work, list(wanted))
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
