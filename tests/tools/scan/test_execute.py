"""The executor of a plan: the ledger first, the same answer anywhere, bumps where they are."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from bumpscout_tools.errors import ConfigurationError, DetectorError, InputDataError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan import execute as execute_module
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.plan import DetectorPlan, SpectrumPlan, WorkingPointPlan
from bumpscout_tools.scan.serial import SerialExecutor


def ignore(_line: dict) -> None:
    """Keep no ledger."""


def run(plan, view, script, executor=None, record=ignore, seed: int = 1):
    rng = np.random.default_rng(seed)
    return execute(plan, view, rng, executor or SerialExecutor(), script, record)


def test_every_test_is_recorded_before_it_is_carried_out(
    make_plan, make_view, at_random, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fit_cell = execute_module.fit_cell

    def spy(*args, test_id: str, **options):
        events.append(("tested", test_id))
        return fit_cell(*args, test_id=test_id, **options)

    monkeypatch.setattr(execute_module, "fit_cell", spy)
    lines: list[dict] = []

    def record(line: dict) -> None:
        events.append(("recorded", line["test_id"]))
        lines.append(line)

    plan = make_plan()
    outcome = run(plan, make_view(), at_random, record=record)
    tested = [test_id for kind, test_id in events if kind == "tested"]
    assert [line["test_id"] for line in lines] == [cell.test_id for cell in outcome.cells]
    assert len(set(tested)) == len(tested) == len(outcome.cells)
    for test_id in tested:
        assert events.index(("recorded", test_id)) < events.index(("tested", test_id))
    for line, cell in zip(lines, outcome.cells, strict=True):
        assert line["window_gev"] == list(cell.window_gev)
        assert line["efficiency"] == cell.efficiency
        assert line["stage"] == cell.stage
        assert line["plan_sha256"] == plan.sha256()
    assert {cell.stage for cell in outcome.cells} == {"coarse", "refined"}


def test_a_ledger_that_refuses_ends_the_scan_before_the_test(
    make_plan, make_view, at_random, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_line: dict) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(execute_module, "fit_cell", lambda *_args, **_options: pytest.fail("ran"))
    with pytest.raises(RuntimeError, match="disk full"):
        run(make_plan(), make_view(), at_random, record=refuse)


def test_the_result_does_not_depend_on_the_executor(make_plan, make_view, cwola) -> None:
    plan, view = make_plan(), make_view(8000, n_signal=80)
    serial = run(plan, view, cwola)
    with ThreadPoolExecutor(3) as threads:
        assert run(plan, view, cwola, threads) == serial
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        assert run(plan, view, cwola, processes) == serial


def test_seeds_decide_everything(make_plan, make_view, cwola) -> None:
    plan, view = make_plan(), make_view(8000)
    assert run(plan, view, cwola, seed=4) == run(plan, view, cwola, seed=4)
    assert run(plan, view, cwola, seed=4) != run(plan, view, cwola, seed=5)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_signal_is_found_at_its_mass(make_plan, make_view, cwola, seed: int) -> None:
    view = make_view(seed=seed, n_signal=120, signal_gev=2700.0)
    best = run(make_plan(), view, cwola, seed=seed).best()
    assert best is not None
    low, high = best.interval_gev
    assert 0.5 * (low + high) == pytest.approx(2700, rel=0.05)
    assert best.local_z > 5
    assert best.n_observed > best.n_expected


def test_background_alone_is_no_discovery(make_plan, make_view, cwola) -> None:
    excesses = [run(make_plan(), make_view(seed=s), cwola, seed=s).best() for s in range(4)]
    assert all(cell is not None and cell.local_z < 5 for cell in excesses)


def test_cells_repeat_what_their_scores_select(make_plan, make_view, at_random) -> None:
    plan, view = make_plan(), make_view()
    outcome = run(plan, view, at_random)
    prepared = prepare(plan, view, np.random.default_rng(1))
    scores = at_random(0, prepared.tasks[0], prepared.view)
    edges = np.array(outcome.edges_gev)
    for cell in outcome.cells:
        column = outcome.windows_gev.index(cell.window_gev)
        n = round(cell.efficiency * len(prepared.view))
        mass = prepared.view.mass[np.argsort(scores[:, column])[-n:]]
        assert cell.n_selected == np.histogram(mass, edges)[0].sum()
        low, high = cell.interval_gev
        assert cell.n_observed == ((mass >= low) & (mass < high)).sum()
        assert cell.window_gev[0] <= low < high <= cell.window_gev[1]
    assert len(outcome.spectra) == min(12, len(outcome.ranking))


def test_ranking_falls_among_believable_cells(make_plan, make_view, cwola) -> None:
    outcome = run(make_plan(), make_view(n_signal=60), cwola)
    ranked = [outcome.cells[index] for index in outcome.ranking]
    assert all(cell.believable for cell in ranked)
    assert [c.excess for c in ranked] == sorted((c.excess for c in ranked), reverse=True)
    assert len(ranked) == sum(cell.believable for cell in outcome.cells)
    assert all(cell.reason for cell in outcome.cells if not cell.believable)
    for cell in ranked:
        assert cell.excess == pytest.approx((cell.local_z - cell.null_mean) / cell.null_width)
    assert set(outcome.guards) == {ranked[0].test_id}


def test_scripts_get_only_what_the_plan_declares(make_plan, make_view, at_random) -> None:
    seen: list[tuple[int, object, View]] = []

    def script(index: int, task, view: View) -> np.ndarray:
        seen.append((index, task, view))
        return at_random(index, task, view)

    plan = make_plan(
        detectors=(
            DetectorPlan(features=("tau21_light",)),
            DetectorPlan(features=("mj_delta", "tau21_light")),
        )
    )
    view = make_view()
    outcome = run(plan, view, script)
    assert [index for index, _, _ in seen] == [0, 1]
    assert [task.features for _, task, _ in seen] == [
        ("tau21_light",),
        ("mj_delta", "tau21_light"),
    ]
    for _, task, given in seen:
        assert given.feature_names == ("tau21_light", "mj_delta")
        assert given.mass.min() >= outcome.fit_range_gev[0]
        assert given.mass.max() < outcome.fit_range_gev[1]
        assert task.windows_gev == outcome.windows_gev
        kept = np.isin(view.event_id, given.event_id)
        np.testing.assert_array_equal(view.mass[kept], given.mass)
        np.testing.assert_array_equal(view.features[kept, 2], given.features[:, 0])
    assert seen[0][1].seed != seen[1][1].seed
    assert {cell.detector_index for cell in outcome.cells} == {0, 1}


def test_prepare_gives_the_tasks_of_execute(make_plan, make_view, at_random) -> None:
    tasks: list[object] = []

    def script(index: int, task, view: View) -> np.ndarray:
        tasks.append(task)
        return at_random(index, task, view)

    run(make_plan(), make_view(), script, seed=9)
    assert list(prepare(make_plan(), make_view(), np.random.default_rng(9)).tasks) == tasks


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s[:-1],
        lambda s: s[:, :-1],
        lambda s: s.ravel(),
        lambda s: s.T,
        lambda s: np.where(np.arange(len(s))[:, None] == 7, np.nan, s),
        lambda s: np.where(np.arange(len(s))[:, None] == 7, np.inf, s),
    ],
    ids=["row short", "column short", "flat", "transposed", "NaN", "infinite"],
)
def test_unusable_scores_are_refused(make_plan, make_view, at_random, spoil) -> None:
    with pytest.raises(DetectorError, match="Scores of shape"):
        run(make_plan(), make_view(), lambda i, t, v: spoil(at_random(i, t, v)))


def test_constant_scores_do_not_crash_and_fire_the_guards(make_plan, make_view) -> None:
    outcome = run(make_plan(), make_view(), lambda _i, t, v: np.zeros((len(v), len(t.windows_gev))))
    best = outcome.best()
    assert best is not None
    fired = {report.name for report in outcome.guards[best.test_id] if report.fired}
    assert fired >= {"mass dependence", "feature consistency"}


def test_a_score_with_the_mass_in_it_makes_a_bump_and_fires_the_guards(
    make_plan, make_view
) -> None:
    def script(_index: int, task, view: View) -> np.ndarray:
        hit = (view.mass > 2600) & (view.mass < 2750)
        noise = np.random.default_rng(task.seed).normal(size=len(view))
        return np.repeat((noise + hit)[:, None], len(task.windows_gev), axis=1)

    outcome = run(make_plan(), make_view(), script)
    best = outcome.best()
    assert best is not None
    assert best.local_z > 5
    assert any(report.fired for report in outcome.guards[best.test_id])


def test_unknown_features_are_a_configuration_error(make_plan, make_view, at_random) -> None:
    for name in ("tau99", "m_jj", "label"):
        plan = make_plan(detectors=(DetectorPlan(features=(name,)),))
        with pytest.raises(ConfigurationError, match=name):
            run(plan, make_view(1000), at_random)


def test_too_few_events_are_an_input_error(make_plan, make_view, at_random) -> None:
    with pytest.raises(InputDataError, match="Only 300 events"):
        run(make_plan(), make_view(300), at_random)


def test_an_error_of_a_script_comes_through(make_plan, make_view) -> None:
    def script(_index: int, _task, _view: View) -> np.ndarray:
        raise DetectorError("no classes")

    with pytest.raises(DetectorError, match="no classes"):
        run(make_plan(), make_view(), script)


def test_one_window_is_enough(make_plan, make_view, at_random) -> None:
    low, high = 1000 * np.exp(0.02 * 38), 1000 * np.exp(0.02 * 58)
    plan = make_plan(spectrum=SpectrumPlan(min_gev=low, max_gev=high))
    outcome = run(plan, make_view(), at_random)
    assert len(outcome.windows_gev) == 1
    assert {cell.window_gev for cell in outcome.cells} == set(outcome.windows_gev)


def test_cells_with_almost_no_events_are_tested_but_not_believed(
    make_plan, make_view, at_random
) -> None:
    plan = make_plan(working_points=WorkingPointPlan(efficiencies=(1e-4, 1e-6)))
    outcome = run(plan, make_view(), at_random)
    assert outcome.best() is None
    assert outcome.guards == {}
    assert all("expected" in (cell.reason or "") for cell in outcome.cells)
    assert all(np.isfinite(cell.excess) for cell in outcome.cells)


def test_efficiency_one_tests_the_inclusive_spectrum(make_plan, make_view, at_random) -> None:
    plan = make_plan(working_points=WorkingPointPlan(efficiencies=(1.0,), refine_rounds=0))
    outcome = run(plan, make_view(), at_random)
    assert all(cell.n_selected == outcome.n_events for cell in outcome.cells)


def test_outcomes_survive_json(make_plan, make_view, cwola) -> None:
    outcome = run(make_plan(), make_view(8000), cwola)
    assert type(outcome).model_validate_json(outcome.model_dump_json()) == outcome
