"""Detectors on the LHC Olympics R&D data: how much signal they find, flatness, time and memory.

Three settings; truth labels are used here alone, to inject and to count:

- `search`: all background of the first 70k events of v1 with 250 signal events in 3.3-3.7 TeV (and
  as large a share of the signal outside), one window, cross-fitted as in a search. Each repetition
  draws other signal events and trains anew.
- `shifted`: the same with 0.1 m_jj added to the mass of the lighter jet and to the difference of
  the masses, as in arXiv:2109.00546: what looks for differences in mass alone collapses.
- `reference`: classifiers that know more than a search can, on the v2 signal region: `supervised`
  learns truth (train, val and extra signal against the background of train and val), `idealised`
  the mixture of `train` against the true background of `val`; both are tested on `test`. They are
  no detectors of the library.

Significance improvement SIC = eps_S / sqrt(eps_B), inside the window; the maximum is taken where at
least 25 background events pass. Finished repetitions are kept in WORK by content, so the script
resumes.

    python benchmarks/lhco_detectors.py --data DIR --work WORK [--repeat N] [--report]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bumpscout_tools.detectors import cross_fit, make_detector
from bumpscout_tools.detectors.boosting import train_ensemble
from bumpscout_tools.detectors.guards import guard_score
from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.events.lhco import read_features, read_labels
from bumpscout_tools.events.view import View
from bumpscout_tools.features.dijet import dijet_view

HERE = Path(__file__).parent
FEATURES = ("mj_light", "mj_delta", "tau21_light", "tau21_heavy")
WINDOW = (3300.0, 3700.0)
N_SIGNAL = 250
MIN_BACKGROUND = 25
CURVE = np.logspace(-4, 0, 81)
CUTS = (0.1, 0.05, 0.01)
SIDE = (2700.0, 4500.0)
DETECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "CWoLa": ("cwola", {}),
    "CATHODE": ("cathode", {}),
    "LaCATHODE": ("cathode", {"latent": True}),
    "isolation forest": ("isolation-forest", {}),
    "autoencoder": ("autoencoder", {}),
}
REFERENCES = {
    "supervised": {"members": 5, "trees": 200, "leaves": 31, "learning_rate": 0.05},
    "idealised": {"members": 40, "trees": 60, "leaves": 31, "learning_rate": 0.05},
}


def search_data(path: Path, number: int, shifted: bool) -> tuple[View, np.ndarray]:
    """Return one thinning and which of its events are signal."""
    view, _ = dijet_view(read_features(path))
    signal = read_labels(path)[view.event_id.astype(int)] > 0.5
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    rng = np.random.default_rng((number, 30))
    within, beyond = np.flatnonzero(signal & inside), np.flatnonzero(signal & ~inside)
    n_beyond = round(N_SIGNAL / len(within) * len(beyond))
    rows = np.sort(
        np.concatenate(
            [
                np.flatnonzero(~signal),
                rng.choice(within, N_SIGNAL, replace=False),
                rng.choice(beyond, n_beyond, replace=False),
            ]
        )
    )
    features = view.features[rows][:, [view.feature_names.index(name) for name in FEATURES]]
    if shifted:
        features[:, :2] += 0.1 * view.mass[rows, None] / 1000.0
    return View(view.event_id[rows], view.mass[rows], features, FEATURES), signal[rows]


def improvement(score: np.ndarray, signal: np.ndarray) -> dict[str, Any]:
    """Return the largest SIC, SIC at 1e-2 and the curve, None where too few events pass."""
    ordered = signal[np.argsort(-score, kind="stable")]
    passed_s, passed_b = np.cumsum(ordered), np.cumsum(~ordered)
    eps_s, eps_b = passed_s / passed_s[-1], passed_b / passed_b[-1]
    enough = passed_b >= MIN_BACKGROUND
    sic = eps_s / np.sqrt(np.maximum(eps_b, 1e-12))
    at = np.searchsorted(eps_b, CURVE).clip(max=len(sic) - 1)
    curve = [float(sic[i]) if enough[i] else None for i in at]
    hundredth = int(np.searchsorted(eps_b, 1e-2))
    return {
        "max_sic": float(sic[enough].max()),
        "sic_1e-2": float(sic[hundredth]),
        "curve": curve,
    }


def flatness(score: np.ndarray, view: View, signal: np.ndarray) -> dict[str, float]:
    """Return chi2 p-values of background selected at each cut against all, in bins of the mass."""
    near = ~signal & (view.mass >= SIDE[0]) & (view.mass < SIDE[1])
    edges = np.linspace(np.log(SIDE[0]), np.log(SIDE[1]), 13)
    position = np.clip(np.digitize(np.log(view.mass[near]), edges) - 1, 0, 11)
    found = {}
    for cut in CUTS:
        kept = score[near] > np.quantile(score[near], 1 - cut)
        table = [
            np.bincount(position[kept], minlength=12),
            np.bincount(position[~kept], minlength=12),
        ]
        found[f"{cut:g}"] = float(stats.chi2_contingency(np.array(table)).pvalue)
    return found


def run_search(data: Path, name: str, number: int, shifted: bool) -> dict[str, Any]:
    """Cross-fit one detector on one thinning."""
    path = data / "lhco" / "events_anomalydetection_v1_first70k.features.h5"
    view, signal = search_data(path, number, shifted)
    detector = make_detector(*DETECTORS[name])
    wall, cpu = time.perf_counter(), time.process_time()
    score = cross_fit(detector, view, [WINDOW], features=FEATURES, seed=100 + number)[:, 0]
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    cut = 0.01
    kept = score > np.quantile(score, 1 - cut)
    expected = float(kept[~inside & (view.mass > SIDE[0]) & (view.mass < SIDE[1])].mean())
    reports = guard_score(score, view, WINDOW, WINDOW, cut, expected * inside.sum())
    return {
        **improvement(score[inside], signal[inside]),
        "n_background": int((inside & ~signal).sum()),
        "flatness_p": flatness(score, view, signal),
        "guards": [report.name for report in reports if report.fired],
        "cpu_s": cpu,
        "wall_s": wall,
    }


def run_reference(data: Path, name: str, number: int) -> dict[str, Any]:
    """Train one classifier that knows more than a search, on the v2 signal region."""
    train, val, test, extra = (
        np.load(data / "lhco" / f"sr_v2_{part}.npy").astype(np.float64)
        for part in ("train", "val", "test", "extra_signal")
    )
    if name == "supervised":
        events = np.concatenate([train, val, extra])
        positive = events[:, -1] > 0.5
    else:
        events = np.concatenate([train, val[val[:, -1] < 0.5]])
        positive = np.arange(len(events)) < len(train)
    weight = np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))
    settings = CwolaSettings(**REFERENCES[name])
    wall, cpu = time.perf_counter(), time.process_time()
    ensemble = train_ensemble(events[:, 1:5], positive, weight, settings, 1000 * (number + 1))
    score = ensemble.score(test[:, 1:5])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {**improvement(score, test[:, -1] > 0.5), "cpu_s": cpu, "wall_s": wall}


def run_job(data: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run one repetition in a process of its own."""
    if job["setting"] == "reference":
        result = run_reference(data, job["name"], job["number"])
    else:
        shifted = job["setting"] == "shifted"
        result = run_search(data, job["name"], job["number"], shifted)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def jobs(repeat: int) -> list[dict[str, Any]]:
    """Return all repetitions, setting by setting, the first of every detector first."""
    wanted: list[dict[str, Any]] = []
    for setting in ("search", "shifted", "reference"):
        for number in range(repeat):
            names = REFERENCES if setting == "reference" else DETECTORS
            wanted += [{"setting": setting, "name": name, "number": number} for name in names]
    return wanted


def key_of(job: dict[str, Any], files: str) -> str:
    """Return a hash of what the job computes, apart from the code."""
    name = job["name"]
    what = [REFERENCES[name]] if name in REFERENCES else [*DETECTORS[name], N_SIGNAL, WINDOW]
    if name in DETECTORS:
        what.append(make_detector(*DETECTORS[name]).settings.model_dump(mode="json"))
    text = json.dumps([job, what, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def middle(values: list[float]) -> list[float]:
    """Return median, lowest and highest."""
    return [float(np.median(values)), float(min(values)), float(max(values))]


def summarise(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one row for each setting and detector."""
    rows = []
    for setting in ("search", "shifted", "reference"):
        for name in [*DETECTORS, *REFERENCES]:
            found = [r for job, r in results if job["setting"] == setting and job["name"] == name]
            if not found:
                continue
            row: dict[str, Any] = {"setting": setting, "name": name, "n": len(found)}
            for value in ("max_sic", "sic_1e-2", "cpu_s", "peak_mib"):
                row[value] = middle([r[value] for r in found])
            curves = np.array([r["curve"] for r in found], dtype=float)
            known = np.isfinite(curves).all(axis=0)
            row["eps_b"] = CURVE[known].tolist()
            for share, label in ((16, "curve_low"), (50, "curve"), (84, "curve_high")):
                row[label] = np.percentile(curves[:, known], share, axis=0).round(4).tolist()
            if setting != "reference":
                fired = [guard for r in found for guard in r["guards"]]
                row["guards"] = {guard: fired.count(guard) for guard in sorted(set(fired))}
                row["flatness_p"] = {
                    f"{cut:g}": middle([r["flatness_p"][f"{cut:g}"] for r in found]) for cut in CUTS
                }
            rows.append(row)
    return rows


def as_text(rows: list[dict[str, Any]]) -> str:
    """Return the table for people."""
    lines = [
        (__doc__ or "").split("\n", 1)[0],
        "Median (lowest-highest) of n repetitions. CPU seconds of one cross-fit (5 folds, one",
        "window, 64k events) or training, in one thread; MiB: peak memory of each. Flatness:",
        "median chi2 p of the background kept at 10, 5 and 1% against all, in mass, 2.7-4.5 TeV.",
        "",
        f"{'setting':10}{'detector':18}{'n':>3}  {'max SIC':20}{'SIC(1e-2)':20}{'CPU s':>7}"
        f"{'MiB':>6}  flatness p                guards that fired",
    ]
    for row in rows:
        spread = [
            f"{mid:.2f} ({low:.2f}-{high:.2f})"
            for mid, low, high in (row["max_sic"], row["sic_1e-2"])
        ]
        flat = " ".join(f"{value[0]:.2g}" for value in row.get("flatness_p", {}).values())
        guards = ", ".join(f"{guard} {n}x" for guard, n in row.get("guards", {}).items())
        lines.append(
            f"{row['setting']:10}{row['name']:18}{row['n']:3}  {spread[0]:20}{spread[1]:20}"
            f"{row['cpu_s'][0]:7.1f}{row['peak_mib'][0]:6.0f}  {flat:26}{guards}".rstrip()
        )
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the SIC curves of the three settings."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), sharey=False, layout="constrained")
    for panel, setting in zip(axes, ("search", "shifted", "reference"), strict=True):
        for row in (row for row in rows if row["setting"] == setting):
            (line,) = panel.plot(row["eps_b"], row["curve"], label=f"{row['name']} (n={row['n']})")
            panel.fill_between(
                row["eps_b"], row["curve_low"], row["curve_high"], alpha=0.2, color=line.get_color()
            )
        curve = CURVE[CURVE >= 1e-3]
        panel.plot(curve, np.sqrt(curve), "k:", label="random")
        panel.set(xscale="log", xlabel=r"$\epsilon_B$", ylabel="SIC", title=setting)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run what is missing, and write table, JSON and figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds lhco/")
    parser.add_argument(
        "--work", type=Path, required=True, help="finished repetitions are kept here"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder for table, JSON and figure")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--report", action="store_true", help="run nothing, report the repetitions finished so far"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    files = hashlib.sha256()
    for path in sorted((options.data / "lhco").iterdir()):
        files.update(path.read_bytes())
    done: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    missing = {}
    for job in jobs(options.repeat):
        key = key_of(job, files.hexdigest())
        kept = options.work / f"{key}.json"
        if kept.exists():
            done[key] = (job, json.loads(kept.read_text(encoding="utf-8")))
        else:
            missing[key] = job
    if options.report:
        missing = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, max_tasks_per_child=1) as pool:
        futures = {pool.submit(run_job, options.data, job): key for key, job in missing.items()}
        for future in as_completed(futures):
            key, result = futures[future], future.result()
            (options.work / f"{key}.json").write_text(json.dumps(result), encoding="utf-8")
            done[key] = (missing[key], result)
            print(missing[key], f"{result['max_sic']:.2f} {result['sic_1e-2']:.2f}", flush=True)
    rows = summarise(list(done.values()))
    (options.out / "lhco_detectors.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    (options.out / "lhco_detectors.txt").write_text(as_text(rows), encoding="utf-8")
    draw(rows, options.out / "lhco_detectors.png")
    print(as_text(rows))


if __name__ == "__main__":
    main()
