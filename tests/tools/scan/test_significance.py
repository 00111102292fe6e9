"""Final significance: replays from a toy null around the true data flow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bumpscout_tools.detectors.density import Closure
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan import significance
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.plan import ReplayPlan, WorkingPointPlan
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.significance import FinalSignificance, final_significance

N = 8000


class ToyDensity:
    """Closes by construction."""

    def closure(self, *_arguments: object) -> Closure:
        return Closure(0.5, 0.01, 0.5, 0.05, 0.5, 0.05, 0.5, N)


class ToyNull:
    """Draws from the toy background itself."""

    order, fit_p, expected = 3, 0.5, float(N)
    density = ToyDensity()

    def __init__(self, make, masked_gev: tuple[float, float]) -> None:
        self.make, self.masked_gev = make, masked_gev

    def draw(self, rng: np.random.Generator) -> View:
        return self.make(N, seed=int(rng.integers(2**31)))


@pytest.fixture
def finish(monkeypatch: pytest.MonkeyPatch, make_view):
    """Scan a view and compute its significance with the toy null."""

    def null(_plan, _prepared, masked, _seed, _progress) -> ToyNull:
        return ToyNull(make_view, masked)

    monkeypatch.setattr(significance, "fit_null", null)

    def run(
        plan, view, script, folder: Path, *, replay_script=None, seed=1, pool=None, parallel=1,
        out_of_time=lambda: False,
    ) -> FinalSignificance:  # fmt: skip
        rng = np.random.default_rng(seed)
        outcome = execute(plan, view, rng, SerialExecutor(), script, lambda _line: None)
        prepared = prepare(plan, view, np.random.default_rng(seed))
        scores = [script(i, task, prepared.view) for i, task in enumerate(prepared.tasks)]
        return final_significance(
            plan,
            prepared,
            scores,
            outcome,
            seed=seed,
            executor=pool or SerialExecutor(),
            run_script=replay_script or script,
            scripts_key="test",
            folder=folder,
            progress=lambda *_arguments: None,
            parallel=parallel,
            out_of_time=out_of_time,
        )

    return run


def test_a_signal_is_reached_by_no_replay(make_plan, make_view, cwola, finish, tmp_path) -> None:
    plan = make_plan(replays=ReplayPlan(n=25))
    found = finish(plan, make_view(n_signal=120), cwola, tmp_path)
    assert found.procedure_p is not None
    assert (found.procedure_p.n_replays, found.procedure_p.n_reached) == (25, 0)
    assert found.procedure_p.value == pytest.approx(1 / 26)
    assert found.scan_p is not None
    assert found.scan_p.value < 2e-3
    assert found.calibration.n_replays == 20
    assert found.observed > max(found.replayed) > 0


def test_background_is_reached_and_the_replays_stop(
    make_plan, make_view, at_random, finish, tmp_path
) -> None:
    plan = make_plan(replays=ReplayPlan(n=60, stop_after_reached=3))
    found = finish(plan, make_view(N, seed=9), at_random, tmp_path)
    procedure = found.procedure_p
    assert procedure is not None
    assert procedure.n_reached == 3
    assert procedure.stopped_early
    assert procedure.value == pytest.approx(3 / procedure.n_replays)
    assert 20 <= len(found.replayed) < 60
    reached = np.array(found.replayed) >= found.observed
    assert reached[: procedure.n_replays].sum() == 3
    assert reached[procedure.n_replays - 1]


def test_workers_and_a_second_run_give_the_same(
    make_plan, make_view, at_random, finish, tmp_path
) -> None:
    plan, view = make_plan(replays=ReplayPlan(n=22)), make_view(N, n_signal=60)
    one = finish(plan, view, at_random, tmp_path)
    (tmp_path / "other").mkdir()
    with ThreadPoolExecutor(3) as pool:
        other = finish(plan, view, at_random, tmp_path / "other", pool=pool, parallel=4)
    assert other == one

    def never(*_arguments: object) -> np.ndarray:
        raise AssertionError("this replay was finished before")

    assert finish(plan, view, at_random, tmp_path, replay_script=never) == one


def test_failed_replays_count_as_reaching(make_plan, make_view, cwola, finish, tmp_path) -> None:
    def broken(*_arguments: object) -> np.ndarray:
        raise DetectorError("no convergence")

    plan = make_plan(replays=ReplayPlan(n=12))
    found = finish(plan, make_view(n_signal=120), cwola, tmp_path, replay_script=broken)
    assert found.procedure_p is not None
    assert found.procedure_p.value == 10 / 10
    assert found.n_failed_replays == 12
    assert found.replayed == (None,) * 12


def test_without_replays_scores_are_held_fixed(
    make_plan, make_view, at_random, finish, tmp_path
) -> None:
    found = finish(make_plan(), make_view(N), at_random, tmp_path)
    assert found.procedure_p is None
    assert found.calibration.n_replays == 0
    assert found.scan_p is not None
    assert "scores held fixed" in found.scan_p.method


def test_time_ends_the_replays_but_not_the_answer(
    make_plan, make_view, at_random, finish, tmp_path
) -> None:
    calls = iter(range(100))
    plan = make_plan(replays=ReplayPlan(n=50))
    found = finish(
        plan, make_view(N, n_signal=60), at_random, tmp_path, out_of_time=lambda: next(calls) == 4
    )
    assert len(found.replayed) == 5
    assert found.calibration.n_replays == 0
    assert found.procedure_p is not None
    assert not found.procedure_p.stopped_early


def test_nothing_believable_has_no_significance(
    make_plan, make_view, at_random, finish, tmp_path
) -> None:
    plan = make_plan(
        working_points=WorkingPointPlan(efficiencies=(1e-5,)), replays=ReplayPlan(n=12)
    )
    found = finish(plan, make_view(N), at_random, tmp_path)
    assert (found.scan_p, found.procedure_p, found.observed) == (None, None, None)
    assert not (tmp_path / "replays.jsonl").exists()


def test_the_answer_survives_json(make_plan, make_view, at_random, finish, tmp_path) -> None:
    found = finish(make_plan(replays=ReplayPlan(n=3)), make_view(N), at_random, tmp_path)
    assert FinalSignificance.model_validate_json(found.model_dump_json()) == found
