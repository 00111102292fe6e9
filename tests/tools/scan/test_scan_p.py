"""The scan p-value: valid on background alone, small on a signal, the same anywhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import binom, kstest

from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.execute import execute, prepare
from bumpscout_tools.scan.plan import WindowPlan, WorkingPointPlan
from bumpscout_tools.scan.scan_p import scan_p_value, sequential_p
from bumpscout_tools.scan.serial import SerialExecutor


def quiet(*_arguments: object) -> None:
    """Say nothing of progress."""


def p_value(plan, view, script, *, executor=None, seed=1, calibration=None):
    outcome = execute(
        plan, view, np.random.default_rng(seed), SerialExecutor(), script, lambda _line: None
    )
    prepared = prepare(plan, view, np.random.default_rng(seed))
    scores = [script(index, task, prepared.view) for index, task in enumerate(prepared.tasks)]
    return scan_p_value(
        plan,
        prepared,
        scores,
        outcome,
        calibration or NullCells.scores_held_fixed(plan),
        seed,
        executor or SerialExecutor(),
        quiet,
    )


def test_p_is_valid_and_not_wasteful_on_background(make_plan, make_view, at_random) -> None:
    """Scores that ignore the mass on 100 smooth spectra: uniform, or larger."""
    plan = make_plan(
        windows=WindowPlan(width_bins=6, step_bins=6, min_events=150),
        working_points=WorkingPointPlan(efficiencies=(0.5, 0.15, 0.05), refine_rounds=0),
        toys=200,
    )
    values = [p_value(plan, make_view(12_000, seed=s), at_random, seed=s).value for s in range(100)]
    assert kstest(values, "uniform", alternative="greater").pvalue > 1e-3
    assert kstest(values, "uniform").pvalue > 1e-3


def test_a_signal_has_a_small_p_and_background_has_not(make_plan, make_view, cwola) -> None:
    signal = p_value(make_plan(), make_view(n_signal=120), cwola)
    assert signal.value == pytest.approx(1 / 1001)
    assert signal.n_toys == 1000
    assert signal.low <= signal.value <= signal.high
    background = p_value(make_plan(), make_view(8000, seed=4), cwola)
    assert background.value > 0.01


def test_the_executor_does_not_matter_and_the_seed_does(make_plan, make_view, at_random) -> None:
    plan, view = make_plan(toys=300), make_view(8000)
    with ThreadPoolExecutor(3) as pool:
        assert p_value(plan, view, at_random, executor=pool) == p_value(plan, view, at_random)
    values = {p_value(plan, make_view(8000), at_random, seed=s).value for s in (2, 3, 4)}
    assert len(values) > 1


def test_wider_nulls_make_p_larger_and_the_method_says_so(make_plan, make_view, cwola) -> None:
    plan, view = make_plan(), make_view(n_signal=30)
    wide = NullCells(
        efficiencies=plan.working_points.efficiencies,
        means=((0.2, 0.2),),
        widths=((1.8, 1.8),),
        n_replays=20,
    )
    fixed, calibrated = (p_value(plan, view, cwola, calibration=one) for one in (None, wide))
    assert calibrated.value > fixed.value
    assert "scores held fixed" in fixed.method
    assert "from replays" in calibrated.method


@pytest.mark.parametrize(
    ("reached", "stop_after", "expected"),
    [
        ([0, 0, 0, 0], 2, (1 / 5, 0, 4)),
        ([0, 1, 0, 0], 2, (2 / 5, 1, 4)),
        ([0, 1, 0, 1], 2, (2 / 4, 2, 4)),
        ([0, 1, 1, 0, 1, 1], 2, (2 / 3, 2, 3)),
        ([1], 1, (1.0, 1, 1)),
        ([1, 1, 1], 10, (1.0, 3, 3)),
    ],
)
def test_sequential_p_of_short_sequences(reached, stop_after, expected) -> None:
    p, k, n = sequential_p(np.array(reached, dtype=bool), stop_after)
    assert (p.value, k, n) == (pytest.approx(expected[0]), *expected[1:])
    assert 0 <= p.low <= p.value <= p.high <= 1


def test_sequential_p_is_valid_for_exchangeable_sequences() -> None:
    """P(p <= a) <= a when data and replays come from one distribution."""
    rng = np.random.default_rng(12)
    n_trials = 6000
    sequences = rng.random((n_trials, 201))
    values = np.array([sequential_p(row[1:] >= row[0], 10)[0].value for row in sequences])
    for level in (0.005, 0.01, 0.05, 0.2, 0.5):
        below = int((values <= level + 1e-12).sum())
        assert binom.sf(below - 1, n_trials, level) > 1e-3
    assert (values <= 0.05).mean() > 0.04
