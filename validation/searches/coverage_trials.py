"""Injected signals behind retrained cuts, at the window of their true mass: spectra on disk.

    python validation/searches/coverage_trials.py --pool DIR --work DIR --n 60

Background-only events come from the null generator fitted to one box of the pool, signal events
from the pool; each trial trains the default detector anew on the one window that holds the true
mass, and keeps the spectrum of all events and of the signal events that pass each working point.
Finished trials are kept in DIR, so the script resumes; `yield_coverage.py` makes tables of them.
"""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path

import numpy as np

from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.events.view import View
from bumpscout_tools.features.dijet import dijet_view
from bumpscout_tools.scan.execute import prepare
from bumpscout_tools.scan.injection import inject
from bumpscout_tools.scan.null import NullModel, fit_null
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan
from bumpscout_tools.script import ScriptTask
from bumpscout_tools.scripts import run_vetted

FEATURES = DetectorPlan().features
PLAN = SearchPlan()
CUTS = (None, 0.1, 0.03, 0.01, 0.003)
SIGNALS = {3200.0: "signal_3200_400_400", 3700.0: "signal_3700_450_150"}
SIGNALS[4200.0] = "signal_4200_350_150"
STRENGTHS = (0.0, 1.0, 2.0, 3.0)
FILES_IN_BOX = 16


def view_of(files: list[Path], seed: int) -> View:
    """Make the view of tables of events, with opaque identifiers."""
    table = np.concatenate([np.load(file)["events"] for file in files])
    columns = {name: table[name].astype(np.float64) for name in FEATURE_COLUMNS}
    view, _ = dijet_view(EventTable(columns, "lhco"))
    ids = np.random.default_rng(seed).integers(2**64, size=len(view), dtype=np.uint64)
    wanted = [view.feature_names.index(name) for name in FEATURES]
    return View(ids, view.mass, view.features[:, wanted], FEATURES)


def generator(pool: Path, work: Path) -> NullModel:
    """Return the null generator of one box of the pool; fitted once."""
    kept = work / "null.pickle"
    if kept.exists():
        made: NullModel = pickle.loads(kept.read_bytes())
        return made
    files = sorted((pool / "background").glob("chunk_*.npz"))[:FILES_IN_BOX]
    prepared = prepare(PLAN, view_of(files, 1), np.random.default_rng(1))
    window = prepared.layout.windows_gev[len(prepared.layout.windows) // 2]
    null = fit_null(PLAN, prepared, window, 1)
    kept.write_bytes(pickle.dumps(null))
    return null


def trial(
    null: NullModel, signal: View, mass_gev: float, strength: float, number: int
) -> dict[str, object]:
    """Inject, train on the window of the mass, and return the spectra."""
    about = [5, int(mass_gev), round(10 * strength), number]
    rng = np.random.default_rng(about)
    view = null.draw(rng)
    ids = np.empty(0, dtype=np.uint64)
    if strength > 0:
        view, ids = inject(view, signal, mass_gev, strength, rng)
    prepared = prepare(PLAN, view, rng)
    layout, task = prepared.layout, prepared.tasks[0]
    middle = np.log([low * high for low, high in layout.windows_gev]) / 2
    window = int(np.argmin(np.abs(middle - np.log(mass_gev))))
    one = ScriptTask(
        detector=task.detector,
        windows_gev=(layout.windows_gev[window],),
        features=task.features,
        parameters=CwolaSettings(**task.parameters).model_dump(mode="json"),
        seed=task.seed,
    )
    order = np.argsort(-run_vetted(one, prepared.view)[:, 0], kind="stable")
    mass, is_signal = prepared.view.mass, np.isin(prepared.view.event_id, ids)
    spectra = []
    for cut in CUTS:
        rows = order[: len(mass) if cut is None else max(1, round(cut * len(mass)))]
        counts = layout.histogram(mass[rows])
        true = layout.histogram(mass[rows][is_signal[rows]])
        spectra.append({"cut": cut, "counts": counts.tolist(), "true": true.tolist()})
    return {
        "mass_gev": mass_gev,
        "strength": strength,
        "number": number,
        "n_injected": len(ids),
        "edges": layout.edges.tolist(),
        "window": layout.windows[window],
        "spectra": spectra,
    }


def main() -> None:
    """Carry out the trials that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--n", type=int, default=60, help="trials at each mass and strength")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    null = generator(options.pool, options.work)
    file = options.work / "trials.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    known = {
        tuple(json.loads(line)[k] for k in ("mass_gev", "strength", "number")) for line in lines
    }
    signals = {
        mass: view_of(sorted((options.pool / name).glob("chunk_*.npz")), int(mass))
        for mass, name in SIGNALS.items()
    }
    for number in range(options.n):
        for mass, signal in signals.items():
            for strength in STRENGTHS:
                if (mass, strength, number) not in known:
                    row = trial(null, signal, mass, strength, number)
                    with file.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
