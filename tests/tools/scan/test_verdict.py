"""The verdict: every row of the rule in the design."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors.density import Closure
from bumpscout_tools.detectors.guards import GuardReport
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.execute import execute
from bumpscout_tools.scan.outcome import ProcedureP, ScanOutcome, ScanP
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.significance import FinalSignificance, NullSummary
from bumpscout_tools.scan.verdict import decide

THREE_SIGMA = 1.3498980316e-3
SMALL, LARGE = 1e-4, 0.2


@pytest.fixture
def outcome(make_plan, make_view, at_random) -> ScanOutcome:
    """Some scan whose guards are silent."""
    found = execute(
        make_plan(),
        make_view(8000),
        np.random.default_rng(1),
        SerialExecutor(),
        at_random,
        lambda _line: None,
    )
    return found.model_copy(update={"guards": {}})


def significance(
    plan,
    scan_p: float | None,
    procedure: float | None = None,
    *,
    n: int = 200,
    reached: int = 0,
    stopped: bool = False,
    calibrated: bool = True,
) -> FinalSignificance:
    scan = procedure_p = None
    if scan_p is not None:
        scan = ScanP(value=scan_p, low=scan_p / 2, high=2 * scan_p, method="toys", n_toys=1000)
    if procedure is not None:
        procedure_p = ProcedureP(
            value=procedure,
            low=procedure / 2,
            high=min(1.0, 2 * procedure),
            n_replays=n,
            n_reached=reached,
            stopped_early=stopped,
        )
    calibration = NullCells.scores_held_fixed(plan)
    if calibrated:
        calibration = calibration.model_copy(update={"n_replays": min(n, 20)})
    return FinalSignificance(scan_p=scan, procedure_p=procedure_p, calibration=calibration)


@pytest.mark.parametrize(
    ("scan_p", "procedure", "options", "expected"),
    [
        (LARGE, 0.3, {}, "no-excess"),
        (LARGE, None, {"calibrated": False}, "no-excess"),
        (THREE_SIGMA * 1.001, 0.005, {}, "no-excess"),
        (THREE_SIGMA * 0.999, 0.005, {}, "excess"),
        (SMALL, 0.005, {"n": 200}, "excess"),
        (SMALL, 0.01, {"n": 200, "reached": 1}, "excess"),
        (SMALL, 0.0101, {"n": 200, "reached": 2}, "undecided"),
        (SMALL, 0.05, {"n": 200, "reached": 9}, "undecided"),
        (SMALL, 0.0501, {"n": 200, "reached": 10}, "no-excess"),
        (SMALL, 0.2, {"n": 50, "reached": 10, "stopped": True}, "no-excess"),
        (SMALL, 0.03, {"n": 150, "reached": 5, "stopped": True}, "undecided"),
        (SMALL, 0.005, {"n": 199}, "candidate"),
        (SMALL, 1 / 21, {"n": 20}, "candidate"),
        (SMALL, 2 / 200, {"n": 199, "reached": 1}, "undecided"),
        (SMALL, 1 / 6, {"n": 5, "calibrated": False}, "undecided"),
        (SMALL, None, {"calibrated": False}, "undecided"),
        (None, None, {"calibrated": False}, "undecided"),
    ],
)
def test_the_table(make_plan, outcome, scan_p, procedure, options, expected: str) -> None:
    plan = make_plan()
    verdict = decide(plan, outcome, significance(plan, scan_p, procedure, **options))
    assert verdict.verdict == expected


def guard(*, fired: bool) -> GuardReport:
    return GuardReport(name="g", fired=fired, value=1.0, threshold=0.5, message="the guard speaks")


def test_a_guard_on_the_best_bump_leaves_it_undecided(make_plan, outcome) -> None:
    plan = make_plan()
    best = outcome.best()
    assert best is not None
    for fired, expected in ((True, "undecided"), (False, "excess")):
        guarded = outcome.model_copy(update={"guards": {best.test_id: (guard(fired=fired),)}})
        verdict = decide(plan, guarded, significance(plan, SMALL, 0.005))
        assert verdict.verdict == expected
        assert ("the guard speaks" in verdict.reasons) == fired


def test_objections_leave_it_undecided_and_are_said(make_plan, outcome) -> None:
    plan = make_plan()
    for scan_p in (SMALL, LARGE):
        verdict = decide(
            plan, outcome, significance(plan, scan_p, 0.005), objections=("something else",)
        )
        assert verdict.verdict == "undecided"
        assert verdict.reasons[0] == "something else"


def test_a_spectrum_that_is_not_described_is_undecided_either_way(make_plan, outcome) -> None:
    plan = make_plan()
    misfit = outcome.model_copy(update={"described": False})
    for scan_p in (SMALL, LARGE):
        verdict = decide(plan, misfit, significance(plan, scan_p, 0.005))
        assert verdict.verdict == "undecided"
        assert any("describes the inclusive spectrum" in reason for reason in verdict.reasons)


def test_scores_held_fixed_claim_nothing(make_plan, outcome) -> None:
    plan = make_plan()
    verdict = decide(plan, outcome, significance(plan, SMALL, 0.005, calibrated=False))
    assert verdict.verdict == "undecided"
    assert any("scores held fixed" in reason for reason in verdict.reasons)


def test_no_believable_cell_is_undecided(make_plan, outcome) -> None:
    plan = make_plan()
    nothing = outcome.model_copy(update={"ranking": ()})
    verdict = decide(plan, nothing, significance(plan, LARGE, 0.5))
    assert verdict.verdict == "undecided"
    assert verdict.reasons


def test_the_threshold_is_the_plans(make_plan, outcome) -> None:
    plan = make_plan(significance_for_claim=2.0)
    verdict = decide(plan, outcome, significance(plan, 0.02, 0.005))
    assert verdict.verdict == "excess"


@pytest.mark.parametrize("claim", ["confirmatory", "exploratory"])
def test_the_claim_is_carried(make_plan, outcome, claim) -> None:
    plan = make_plan()
    verdict = decide(plan, outcome, significance(plan, SMALL, 0.005), claim=claim)
    assert verdict.claim == claim


def null_summary(auc: float = 0.5, auc_top: float = 0.5, fit_p: float = 0.5) -> NullSummary:
    closure = Closure(
        auc=auc,
        auc_error=0.002,
        auc_top=auc_top,
        auc_top_error=0.02,
        top_share=0.5,
        top_share_error=0.02,
        score_share=0.5,
        events=40_000,
    )
    return NullSummary(
        masked_gev=(3000.0, 4000.0), order=3, fit_p=fit_p, expected_events=4e4, closure=closure
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"null": null_summary()}, "excess"),
        ({"null": null_summary(auc=0.52)}, "excess"),
        ({"null": null_summary(auc=0.6)}, "undecided"),
        ({"null": null_summary(auc_top=0.7)}, "undecided"),
        ({"null": null_summary(fit_p=1e-5)}, "undecided"),
        ({"failure": "no null generator could be made"}, "undecided"),
    ],
)
def test_a_null_generator_that_does_not_close_claims_nothing(
    make_plan, outcome, changes: dict[str, object], expected: str
) -> None:
    plan = make_plan()
    found = significance(plan, SMALL, 0.005).model_copy(update=changes)
    assert decide(plan, outcome, found).verdict == expected
