"""Controls: a script that cheats on the data cheats on the same events with smooth masses too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bumpscout_tools.errors import DetectorError
from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.controls import (
    CONTROLS_FILE,
    SmoothMasses,
    control_guard,
    memory_guard,
)
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.plan import ReplayPlan
from bumpscout_tools.scan.replay import excesses
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.significance import FinalSignificance

N = 8000


def guarded(plan, view, script, folder: Path, *, late: bool = False):
    """Scan a view with a script and run its controls."""
    rng = np.random.default_rng(1)
    outcome = execute(plan, view, rng, SerialExecutor(), script, lambda _line: None)
    prepared = prepare(plan, view, np.random.default_rng(1))
    cells = NullCells.scores_held_fixed(plan)
    observed = statistic(excesses(outcome), cells)
    return control_guard(
        plan,
        prepared,
        FinalSignificance(observed=observed, calibration=cells),
        seed=3,
        executor=SerialExecutor(),
        run_script=script,
        scripts_key="s",
        folder=folder,
        progress=lambda *_: None,
        parallel=1,
        out_of_time=lambda: late,
    )


def on_the_data_alone(n_events: int):
    """A script that knows how many events the data have, and lifts a mass range only there."""

    def script(_index: int, task, view) -> np.ndarray:
        score = view.features[:, 0].copy()
        if len(view) == n_events:
            score += 5.0 * (np.abs(view.mass / 2700 - 1) < 0.02)
        return np.repeat(score[:, None], len(task.windows_gev), axis=1)

    return script


def test_a_script_that_recognises_the_data_is_caught(make_plan, make_view, tmp_path) -> None:
    plan, view = make_plan(replays=ReplayPlan(n=10)), make_view(N)
    n_events = len(prepare(plan, view, np.random.default_rng(1)).view)
    guard = guarded(plan, view, on_the_data_alone(n_events), tmp_path)
    assert guard.fired
    assert "reached what it found in the data" in guard.message
    # The first run that reaches it ends them.
    assert len((tmp_path / CONTROLS_FILE).read_text().splitlines()) < 10


def test_an_honest_detector_on_a_signal_passes(make_plan, make_view, cwola, tmp_path) -> None:
    guard = guarded(make_plan(replays=ReplayPlan(n=5)), make_view(n_signal=120), cwola, tmp_path)
    assert not guard.fired
    assert guard.message.startswith("none of 5 runs")


def test_controls_that_could_not_run_claim_nothing(make_plan, make_view, cwola, tmp_path) -> None:
    for replays in (0, 4):
        plan = make_plan(replays=ReplayPlan(n=replays))
        guard = guarded(plan, make_view(n_signal=120), cwola, tmp_path, late=True)
        assert guard.fired
        assert "time was over" in guard.message


def test_copies_of_an_event_get_the_same_mass(make_plan, make_view) -> None:
    view = make_view(N)
    rows = np.concatenate([np.arange(N), np.arange(2000)])
    prepared = prepare(make_plan(), view.select(rows), np.random.default_rng(1))
    drawn = SmoothMasses(make_plan(), prepared).draw(np.random.default_rng(2))
    unique, original, times = np.unique(drawn.event_id, return_inverse=True, return_counts=True)
    assert times.max() == 2
    first = np.full(len(unique), np.nan)
    first[original] = drawn.mass
    np.testing.assert_array_equal(first[original], drawn.mass)
    assert len(np.unique(drawn.mass)) == pytest.approx(len(unique), abs=3)


def remembered(plan, view, script, listed: np.ndarray):
    """Scan with a detector on top of which listed events stand, and move all values."""

    def knows(index: int, task, seen) -> np.ndarray:
        scores = script(index, task, seen)
        return scores + np.isin(seen.features[:, 0], listed)[:, None]

    outcome = execute(
        plan, view, np.random.default_rng(1), SerialExecutor(), knows, lambda _line: None
    )
    prepared = prepare(plan, view, np.random.default_rng(1))
    scores = [knows(0, task, prepared.view) for task in prepared.tasks]
    best = outcome.best()
    return best, memory_guard(prepared, scores, best, seed=3, run_script=knows)


def test_events_remembered_by_their_values_are_lost_when_values_move(
    make_plan, make_view, cwola
) -> None:
    """The list adds to a true signal, whose own events stay."""
    plan, view = make_plan(), make_view(n_signal=120)
    best, honest = remembered(plan, view, cwola, np.zeros(0))
    assert best.local_z > 5
    assert not honest.fired
    near = np.flatnonzero(np.abs(view.mass / 2700 - 1) < 0.02)
    listed = view.features[np.random.default_rng(1).choice(near, 40, replace=False), 0]
    _, guard = remembered(plan, view, cwola, listed)
    assert guard.fired
    assert "moved by 1%" in guard.message


def test_a_script_that_fails_when_values_move_claims_nothing(make_plan, make_view) -> None:
    """The search ends with a guard that fired, not with an error after all its replays."""
    plan, view = make_plan(), make_view(n_signal=120)
    known = prepare(plan, view, np.random.default_rng(1)).view.features[0, 0]

    def brittle(_index: int, task, seen) -> np.ndarray:
        if known not in seen.features[:, 0]:
            raise DetectorError("no such event")
        return np.repeat(seen.features[:, :1], len(task.windows_gev), axis=1)

    outcome = execute(
        plan, view, np.random.default_rng(1), SerialExecutor(), brittle, lambda _line: None
    )
    prepared = prepare(plan, view, np.random.default_rng(1))
    scores = [brittle(0, task, prepared.view) for task in prepared.tasks]
    guard = memory_guard(prepared, scores, outcome.best(), seed=3, run_script=brittle)
    assert guard.fired
    assert "no such event" in guard.message
