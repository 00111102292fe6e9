"""Detectors on the LHC Olympics R&D data: how much signal they find, flatness, time and memory.

Three settings; truth labels are used here alone, to inject and to count:

- `search`: all background of the first 70k events of v1 with 250 signal events in 3.3-3.7 TeV (and
  as large a share of the signal outside), one window, cross-fitted as in a search. Each repetition
  draws other signal events and trains anew.
- `shifted`: the same with 0.1 m_jj added to the mass of the lighter jet and to the difference of
  the masses, as in arXiv:2109.00546: what looks for differences in mass alone collapses.
- `reference`: classifiers that know more than a search can, on the v2 signal region: `supervised`
  learns truth (signal of train and val against their background), `supervised+` the same with the
  extra signal, `idealised` the mixture of `train` against the true background of `val`; all are
  tested on `test`. They are no detectors of the library.
- `few-signal`: the idealised classifier where the mixture holds 200 or 100 signal events, drawn
  from those of `train` and the extra ones: trees, perceptrons, and what the data prefer.

Significance improvement SIC = eps_S / sqrt(eps_B), inside the window; the maximum is taken where at
least 25 background events pass. Finished repetitions are kept in WORK by content, so the script
resumes.

    python benchmarks/lhco_detectors.py --data DIR --work WORK [--repeat N] [--report]
        [--setting NAME ...] [--only NAME ...]
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
from lhco_priors import EVENTS, PAIRS, RESONANCE_GEV, priors
from lhco_tables import CURVE, CUTS, as_text, draw, summarise
from scipy import stats

from bumpscout_tools.detectors import cross_fit, make_detector
from bumpscout_tools.detectors.classifier import TrainedClassifier, train_classifier
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
MOST = 50
"""Repetitions of which finished ones are reported, however many are asked for."""
SIDE = (2700.0, 4500.0)
DETECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "CWoLa": ("cwola", {}),
    "CATHODE": ("cathode", {}),
    "LaCATHODE": ("cathode", {"latent": True}),
    "ANODE": ("anode", {}),
    "R-ANODE": ("r-anode", {}),
    "QUAK": ("quak", {}),
    "Tag N' Train": ("tag-n-train", {}),
    "isolation forest": ("isolation-forest", {}),
    "autoencoder": ("autoencoder", {}),
}
REFERENCES = {
    "supervised": {"members": 5, "trees": 200, "leaves": 31, "learning_rate": 0.05},
    "supervised+": {"members": 5, "trees": 200, "leaves": 31, "learning_rate": 0.05},
    "idealised": {"members": 40, "trees": 60, "leaves": 31, "learning_rate": 0.05},
}
FEW = {"200 signal events": 200, "100 signal events": 100}
FEW_CLASSIFIER: dict[str, Any] = {"members": 20, "trees": 60, "leaves": 31, "learning_rate": 0.05}
SETTINGS = ("search", "shifted", "reference", "few-signal")


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


def run_search(data: Path, work: Path, name: str, number: int, shifted: bool) -> dict[str, Any]:
    """Cross-fit one detector on one thinning."""
    path = data / "lhco" / "events_anomalydetection_v1_first70k.features.h5"
    view, signal = search_data(path, number, shifted)
    given = {"priors": priors(work, FEATURES)} if name == "QUAK" else {}
    detector = make_detector(DETECTORS[name][0], DETECTORS[name][1] | given)
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
    train, val, test, extra = signal_region(data)
    if name == "idealised":
        events = np.concatenate([train, val[val[:, -1] < 0.5]])
        positive = np.arange(len(events)) < len(train)
    else:
        events = np.concatenate([train, val, extra] if name == "supervised+" else [train, val])
        positive = events[:, -1] > 0.5
    settings = CwolaSettings(**REFERENCES[name])
    wall, cpu = time.perf_counter(), time.process_time()
    classifier = train_classifier(
        *(events[:, 1:5], positive, balanced(positive), settings, 1000 * (number + 1))
    )
    score = classifier.score(test[:, 1:5])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {**improvement(score, test[:, -1] > 0.5), "cpu_s": cpu, "wall_s": wall}


def run_few(data: Path, name: str, number: int) -> dict[str, Any]:
    """Train the three classifiers on one draw of few signal events in the mixture of `train`."""
    train, val, test, extra = signal_region(data)
    known = np.concatenate([train[train[:, -1] > 0.5], extra])
    drawn = np.random.default_rng((number, 32)).choice(len(known), FEW[name], replace=False)
    mixture = np.concatenate([train[train[:, -1] < 0.5], known[drawn]])
    events = np.concatenate([mixture, val[val[:, -1] < 0.5]])[:, 1:5]
    positive = np.arange(len(events)) < len(mixture)
    results: dict[str, Any] = {}
    both: dict[str, Any] = {}
    for kind in ("auto", "trees", "mlp"):
        settings = CwolaSettings(classifier=kind, **FEW_CLASSIFIER)
        wall, cpu = time.perf_counter(), time.process_time()
        if kind in both:
            # The same classes and seed: what `auto` has trained is what is trained here.
            classifier = TrainedClassifier((kind,), (both[kind],))
        else:
            classifier = train_classifier(
                *(events, positive, balanced(positive), settings, 1000 * (number + 1))
            )
            both |= dict(zip(classifier.chosen, classifier.ensembles, strict=True))
        found = improvement(classifier.score(test[:, 1:5]), test[:, -1] > 0.5)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        results[kind] = {**found, "cpu_s": cpu, "wall_s": wall}
        if kind == "auto":
            results["chosen"] = classifier.chosen
            results["significance"] = dict(classifier.significance)
    return results


def signal_region(data: Path) -> list[np.ndarray]:
    """Return train, val, test and extra signal of v2: mass, four features, (n, 6) with truth."""
    return [
        np.load(data / "lhco" / f"sr_v2_{part}.npy").astype(np.float64)
        for part in ("train", "val", "test", "extra_signal")
    ]


def balanced(positive: np.ndarray) -> np.ndarray:
    """Return weights (n,) that give both classes the same sum."""
    return np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))


def run_job(data: Path, work: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run one repetition in a process of its own."""
    if job["setting"] == "reference":
        result = run_reference(data, job["name"], job["number"])
    elif job["setting"] == "few-signal":
        result = run_few(data, job["name"], job["number"])
    else:
        shifted = job["setting"] == "shifted"
        result = run_search(data, work, job["name"], job["number"], shifted)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def jobs(repeat: int) -> list[dict[str, Any]]:
    """Return all repetitions, setting by setting, the first of every detector first."""
    return [
        {"setting": setting, "name": name, "number": number}
        for setting in SETTINGS
        for number in range(repeat)
        for name in names_of(setting)
    ]


def names_of(setting: str) -> list[str]:
    """Return what is trained in a setting."""
    return list({"reference": REFERENCES, "few-signal": FEW}.get(setting, DETECTORS))


def key_of(job: dict[str, Any], files: str) -> str:
    """Return a hash of what the job computes, apart from the code."""
    name = job["name"]
    what: list[Any]
    if name in REFERENCES:
        what = [REFERENCES[name]]
    elif name in FEW:
        settings = CwolaSettings(classifier="auto", **FEW_CLASSIFIER)
        what = [FEW[name], settings.model_dump(mode="json")]
    else:
        what = [*DETECTORS[name], N_SIGNAL, WINDOW]
        what.append(make_detector(*DETECTORS[name]).settings.model_dump(mode="json"))
        what += [PAIRS, RESONANCE_GEV, EVENTS] if name == "QUAK" else []
    text = json.dumps([job, what, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def wanted(job: dict[str, Any], options: argparse.Namespace) -> bool:
    """Return whether a repetition is to be run."""
    chosen = job["setting"] in options.setting and job["name"] in options.only
    return chosen and job["number"] < options.repeat


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
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=SETTINGS)
    every = sorted({name for setting in SETTINGS for name in names_of(setting)})
    parser.add_argument(
        "--only", nargs="+", choices=every, default=every, help="run these alone; all are reported"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    files = hashlib.sha256()
    for path in sorted((options.data / "lhco").iterdir()):
        files.update(path.read_bytes())
    done: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    missing = {}
    for job in jobs(max(options.repeat, MOST)):
        key = key_of(job, files.hexdigest())
        kept = options.work / f"{key}.json"
        if kept.exists():
            done[key] = (job, json.loads(kept.read_text(encoding="utf-8")))
        elif wanted(job, options):
            missing[key] = job
    if options.report:
        missing = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, max_tasks_per_child=1) as pool:
        futures = {
            pool.submit(run_job, options.data, options.work, job): key
            for key, job in missing.items()
        }
        for future in as_completed(futures):
            key, result = futures[future], future.result()
            (options.work / f"{key}.json").write_text(json.dumps(result), encoding="utf-8")
            done[key] = (missing[key], result)
            told = result.get("auto", result)
            print(missing[key], f"{told['max_sic']:.2f} {told['sic_1e-2']:.2f}", flush=True)
    rows = summarise(list(done.values()), {setting: names_of(setting) for setting in SETTINGS})
    (options.out / "lhco_detectors.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    (options.out / "lhco_detectors.txt").write_text(as_text(rows), encoding="utf-8")
    draw(rows, options.out / "lhco_detectors.png")
    print(as_text(rows))


if __name__ == "__main__":
    main()
