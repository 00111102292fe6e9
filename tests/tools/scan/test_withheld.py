"""Withheld detectors make no bump, but the maximum of scan p and of replays is over them too."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.outcome import ProcedureP, ScanP
from bumpscout_tools.scan.plan import DetectorPlan, ReplayPlan
from bumpscout_tools.scan.replay import excesses, replay_once
from bumpscout_tools.scan.scan_p import scan_p_value
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.significance import FinalSignificance
from bumpscout_tools.scan.verdict import decide

N = 8000
QUIET = DetectorPlan(features=("mj_light",))


class Draws:
    """Draws from the toy background itself."""

    def __init__(self, make) -> None:
        self.make = make

    def draw(self, rng: np.random.Generator):
        return self.make(N, seed=int(rng.integers(2**31)))


@pytest.fixture
def plans(make_plan):
    """A plan with two detectors, and the same with the first one withheld."""
    both = make_plan(detectors=(DetectorPlan(), QUIET), replays=ReplayPlan(n=0))
    return both, both.model_copy(update={"withheld": (0,)})


def loud_first(index: int, task, view) -> np.ndarray:
    """The first detector makes a bump at 2.7 TeV wherever it runs; the second knows nothing."""
    rng = np.random.default_rng(task.seed)
    score = rng.random((len(view), len(task.windows_gev)))
    return score + 0.2 * (index == 0) * (np.abs(view.mass / 2700 - 1) < 0.02)[:, None]


def scanned(plan, view):
    tests: list[dict[str, object]] = []
    outcome = execute(
        plan, view, np.random.default_rng(1), SerialExecutor(), loud_first, tests.append
    )
    return outcome, tests


def test_its_tests_are_in_the_ledger_and_it_makes_no_bump(plans, make_view) -> None:
    both, withheld = plans
    view = make_view(N)
    seen, tests = scanned(both, view)
    found, same_tests = scanned(withheld, view)
    assert seen.best().detector_index == 0
    assert {found.cells[index].detector_index for index in found.ranking} == {1}
    assert [test["test_id"] for test in tests] == [test["test_id"] for test in same_tests]
    assert {cell.detector_index for cell in found.cells} == {0, 1}


def test_replays_take_the_maximum_over_it(plans, make_view) -> None:
    both, withheld = plans
    null = Draws(make_view)
    one, other = (replay_once(plan, null, 0, 7, loud_first) for plan in plans)
    cells = NullCells.scores_held_fixed(both)
    assert statistic(other.cells, cells) == statistic(one.cells, cells) > 5
    outcome, _ = scanned(withheld, make_view(N))
    observed = statistic(excesses(outcome), cells, withheld.withheld)
    assert observed == outcome.best().excess < statistic(excesses(outcome), cells)


def test_scan_p_counts_its_toys(make_plan, make_view, at_random) -> None:
    """With a second, withheld detector scan p is that of two looks."""
    alone = make_plan(detectors=(QUIET,))
    two = alone.model_copy(update={"detectors": (QUIET, QUIET), "withheld": (1,)})
    found = []
    for plan in (alone, two):
        view = make_view(N, seed=4)
        outcome = execute(
            plan, view, np.random.default_rng(1), SerialExecutor(), at_random, lambda _: None
        )
        prepared = prepare(plan, view, np.random.default_rng(1))
        scores = [at_random(i, task, prepared.view) for i, task in enumerate(prepared.tasks)]
        p = scan_p_value(
            plan, prepared, scores, outcome, NullCells.scores_held_fixed(plan), 5,
            SerialExecutor(), lambda *_: None,
        )  # fmt: skip
        found.append(p.value)
    single, double = found
    assert double == pytest.approx(1 - (1 - single) ** 2, abs=0.1)
    assert double > single


def test_a_detector_that_left_no_scores_forbids_the_claim(plans, make_view) -> None:
    both, _ = plans
    lost = both.model_copy(update={"n_lost": 1})
    outcome, _ = scanned(both, make_view(N))
    outcome = outcome.model_copy(update={"guards": {}})
    cells = NullCells.scores_held_fixed(both).model_copy(update={"n_replays": 20})
    significance = FinalSignificance(
        scan_p=ScanP(value=1e-4, low=0.0, high=2e-4, method="toys", n_toys=10_000),
        procedure_p=ProcedureP(value=0.005, low=0.0, high=0.01, n_replays=200, n_reached=0),
        calibration=cells,
    )
    assert decide(both, outcome, significance).verdict == "excess"
    verdict = decide(lost, outcome, significance)
    assert verdict.verdict == "undecided"
    assert any("left no scores" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("withheld", [(0, 1), (2,), (1, 0), (0, 0), (-1,)])
def test_withheld_names_some_detectors_but_not_all(plans, withheld) -> None:
    both, _ = plans
    with pytest.raises(ValidationError, match="withheld"):
        type(both).model_validate(both.model_dump() | {"withheld": withheld})
