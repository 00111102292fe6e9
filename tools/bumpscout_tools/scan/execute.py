"""The one function that carries out a plan: on the data, in a nightly scan, and in every replay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_tools.background import select_order
from bumpscout_tools.detectors.guards import GuardReport, guard_score
from bumpscout_tools.errors import ConfigurationError, DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.cells import FittedCell, fit_cell
from bumpscout_tools.scan.layout import Layout, make_layout
from bumpscout_tools.scan.outcome import CellSpectrum, ScanOutcome, Stage
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan
from bumpscout_tools.scan.refine import coarse_points, refined_points
from bumpscout_tools.script import ScriptTask

__all__ = ["Prepared", "Record", "RunScript", "execute", "prepare"]

FloatArray = npt.NDArray[np.float64]
RunScript = Callable[[int, ScriptTask, View], FloatArray]
Record = Callable[[dict[str, JsonValue]], None]

N_SPECTRA_KEPT = 12


@dataclass(frozen=True)
class Prepared:
    """What a plan means for one view: layout, restricted view, and one task a detector."""

    layout: Layout
    view: View
    tasks: tuple[ScriptTask, ...]


@dataclass(frozen=True)
class _Test:
    detector: int
    window: int
    efficiency: float
    stage: Stage
    test_id: str
    counts: FloatArray
    seed: tuple[int, ...]


def prepare(plan: SearchPlan, view: View, rng: np.random.Generator) -> Prepared:
    """Choose the fit range, restrict the view to it, and write the task of each detector.

    Args:
        plan: the search plan.
        view: all events of the vault.
        rng: its first draws seed the detectors, so equal generators give equal tasks.

    Raises:
        ConfigurationError: if a detector asks for a feature that the view does not have.
        InputDataError: if too little is left to search.
    """
    if plan.spectra:
        raise ConfigurationError(
            "This plan scans a grid of spectra, which `bumpscout scan` alone carries out; drop "
            "`spectra` to search windows of the one spectrum."
        )
    wanted = list(dict.fromkeys(name for d in plan.detectors for name in d.features))
    unknown = [name for name in wanted if name not in view.feature_names]
    if unknown:
        raise ConfigurationError(
            f"The plan asks for features {unknown}; the data offer {list(view.feature_names)}."
        )
    layout = make_layout(plan, view.mass)
    inside = (view.mass >= layout.edges[0]) & (view.mass < layout.edges[-1])
    columns = [view.feature_names.index(name) for name in wanted]
    restricted = View(
        view.event_id[inside], view.mass[inside], view.features[inside][:, columns], tuple(wanted)
    )
    tasks = tuple(_task(detector, layout, rng) for detector in plan.detectors)
    return Prepared(layout, restricted, tasks)


def execute(
    plan: SearchPlan,
    view: View,
    rng: np.random.Generator,
    executor: Executor,
    run_script: RunScript,
    record: Record,
    *,
    ask_guards: bool = True,
) -> ScanOutcome:
    """Carry out a plan: score the events, test every cell, refine, rank, run the guards.

    Args:
        plan: what to do; its rules, also those of fit range and refinement, are deterministic.
        view: events from the vault or from a null generator.
        rng: all randomness comes from it.
        executor: runs the tests of one stage side by side; the result does not depend on it.
        run_script: gives the scores of one detector, (n, n_windows), higher is more anomalous.
        record: called with each test before its result is known.
        ask_guards: run the guards on the largest excess; they change no cell, so that a replay,
            of which only the cells count, is spared a sixth of its time.

    Raises:
        ConfigurationError: if plan and view do not fit together.
        InputDataError: if too little is left to search.
        DetectorError: if scores have the wrong shape or are not finite.
    """
    prepared = prepare(plan, view, rng)
    seed = int(rng.integers(2**62))
    scores = [
        _checked(run_script(index, task, prepared.view), prepared)
        for index, task in enumerate(prepared.tasks)
    ]
    order = [np.argsort(-score, axis=0, kind="stable") for score in scores]
    fitted: list[tuple[_Test, FittedCell]] = []
    for round_number in range(plan.working_points.refine_rounds + 1):
        if round_number == 0:
            points = coarse_points(plan, len(prepared.layout.windows))
        else:
            points = refined_points(plan, len(prepared.layout.windows), _known(fitted))
        stage: Stage = "refined" if round_number else "coarse"
        tests = [_test(prepared, order, point, stage, seed) for point in points]
        for test in tests:
            record(_line(plan, prepared.layout, test))
        futures = [executor.submit(_run, plan, prepared.layout, test) for test in tests]
        fitted += [(test, future.result()) for test, future in zip(tests, futures, strict=True)]
    return _outcome(plan, prepared, scores, fitted, ask_guards)


def _task(detector: DetectorPlan, layout: Layout, rng: np.random.Generator) -> ScriptTask:
    return ScriptTask(
        detector=detector.name,
        windows_gev=layout.windows_gev,
        features=detector.features,
        parameters=detector.settings.model_dump(mode="json"),
        decorrelate=detector.decorrelate,
        seed=int(rng.integers(2**31)),
    )


def _checked(scores: FloatArray, prepared: Prepared) -> FloatArray:
    shape = (len(prepared.view), len(prepared.layout.windows))
    if scores.shape != shape or not np.isfinite(scores).all():
        raise DetectorError(
            f"Scores of shape {scores.shape} came back where {shape} finite values were due."
        )
    return scores


def _test(
    prepared: Prepared,
    order: list[npt.NDArray[np.int64]],
    point: tuple[int, int, float],
    stage: Stage,
    seed: int,
) -> _Test:
    detector, window, efficiency = point
    n_selected = max(1, round(efficiency * len(prepared.view)))
    rows = order[detector][:n_selected, window]
    counts = prepared.layout.histogram(prepared.view.mass[rows])
    name = f"{prepared.tasks[detector].detector}/{detector}/{window}/{efficiency:.6g}"
    digest = hashlib.sha256(f"{name}/{prepared.layout.windows_gev[window]}".encode()).hexdigest()
    key = int(digest[:12], 16)
    return _Test(detector, window, efficiency, stage, digest[:16], counts, (seed, key))


def _line(plan: SearchPlan, layout: Layout, test: _Test) -> dict[str, JsonValue]:
    return {
        "test_id": test.test_id,
        "detector": plan.detectors[test.detector].name,
        "spectrum": plan.spectrum.name,
        "window_gev": list(layout.windows_gev[test.window]),
        "efficiency": test.efficiency,
        "stage": test.stage,
        "orders": list(plan.background.orders),
        "plan_sha256": plan.sha256(),
    }


def _run(plan: SearchPlan, layout: Layout, test: _Test) -> FittedCell:
    return fit_cell(
        plan,
        layout,
        counts=test.counts,
        window=test.window,
        efficiency=test.efficiency,
        detector=test.detector,
        stage=test.stage,
        test_id=test.test_id,
        rng=np.random.default_rng(test.seed),
    )


def _known(fitted: list[tuple[_Test, FittedCell]]) -> dict[tuple[int, int, float], float]:
    return {
        (t.detector, t.window, t.efficiency): f.cell.excess if f.cell.believable else -np.inf
        for t, f in fitted
    }


def _outcome(
    plan: SearchPlan,
    prepared: Prepared,
    scores: list[FloatArray],
    fitted: list[tuple[_Test, FittedCell]],
    ask_guards: bool,
) -> ScanOutcome:
    layout = prepared.layout
    cells = tuple(f.cell for _, f in fitted)
    claiming = [
        index
        for index, cell in enumerate(cells)
        if cell.believable and cell.detector_index not in plan.withheld
    ]
    ranking = sorted(claiming, key=lambda index: (-cells[index].excess, index))
    first = {(cells[i].detector_index, cells[i].efficiency): i for i in reversed(ranking)}
    kept = list(dict.fromkeys([*ranking[:N_SPECTRA_KEPT], *first.values()]))
    guards: dict[str, tuple[GuardReport, ...]] = {}
    for index in ranking[: 1 if ask_guards else 0]:
        test = fitted[index][0]
        guards[test.test_id] = guard_score(
            scores[test.detector][:, test.window],
            prepared.view,
            layout.windows_gev[test.window],
            cells[index].interval_gev,
            test.efficiency,
            cells[index].n_expected,
        )
    counts = layout.histogram(prepared.view.mass)
    inclusive = select_order(counts, layout.basis, plan.background.orders, plan.background.alpha)
    return ScanOutcome(
        fit_range_gev=(float(layout.edges[0]), float(layout.edges[-1])),
        described=layout.described,
        edges_gev=tuple(map(float, layout.edges)),
        windows_gev=layout.windows_gev,
        n_events=len(prepared.view),
        cells=cells,
        ranking=tuple(ranking),
        inclusive=_spectrum("inclusive", layout, counts, inclusive.fit.expected),
        spectra=tuple(
            _spectrum(cells[i].test_id, layout, fitted[i][1].observed, fitted[i][1].expected)
            for i in kept
        ),
        guards=guards,
    )


def _spectrum(
    test_id: str, layout: Layout, observed: FloatArray, expected: FloatArray
) -> CellSpectrum:
    return CellSpectrum(
        test_id=test_id,
        edges_gev=tuple(map(float, layout.edges)),
        observed=tuple(int(n) for n in observed),
        expected=tuple(map(float, expected)),
    )
