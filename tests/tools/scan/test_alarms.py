"""False alarms: data sets are ranked among the replays of others, and a wrong null is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.alarms import NullTrial, alarm_rates, null_trial, pooled_p, rate
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import Excess, Replay

PLAN = SearchPlan()


def cells(excess: float) -> tuple[Excess, ...]:
    """Cells at one working point around zero, one of which stands out."""
    values = [*np.linspace(-1.5, 1.5, 9), excess]
    return tuple(
        Excess(detector=0, efficiency=0.01, excess=value, local_z=value, believable=True)
        for value in values
    )


def trials(data: np.ndarray, replays: np.ndarray) -> list[NullTrial]:
    return [
        NullTrial(
            name=str(index),
            n_events=1000,
            cells=cells(x),
            replays=(Replay(index=0, n_events=1000, cells=cells(y)),),
            local_z=x,
        )
        for index, (x, y) in enumerate(zip(data, replays, strict=True))
    ]


def test_a_right_null_gives_uniform_p_and_a_wrong_one_does_not():
    rng = np.random.default_rng(4)
    data, right, wrong = 2.0 + rng.gumbel(size=(3, 400))
    rates = alarm_rates(PLAN, trials(data, right), np.random.default_rng(0))
    assert rates.ks_p > 0.01
    assert rates.below["0.05"].low < 0.05 < rates.below["0.05"].high
    assert rates.local_z_above_3.value == np.mean(data > 3)
    broken = alarm_rates(PLAN, trials(data + 0.8, wrong), np.random.default_rng(0))
    assert broken.ks_p < 1e-3
    assert broken.below["0.05"].low > 0.05


def test_a_withheld_detector_takes_part_in_replays_alone():
    rng = np.random.default_rng(2)
    sets = trials(np.full(20, 6.0), rng.normal(0, 1, 20))
    detectors = (PLAN.detectors[0],) * 2
    both = PLAN.model_copy(update={"detectors": detectors})
    withheld = both.model_copy(update={"withheld": (0,)})
    _, data, pool = pooled_p(both, sets, rng)
    _, none, same = pooled_p(withheld, sets, rng)
    assert (data > 3).all()
    assert (none == -np.inf).all()
    np.testing.assert_array_equal(pool, same)


def test_intervals_of_p_know_that_the_pool_is_finite():
    """At a true rate of 5% the 68% interval holds it in 68% or more of experiments."""
    rng = np.random.default_rng(8)
    covered = binomial = 0
    for _ in range(300):
        data, replays = 2.0 + rng.gumbel(size=(2, 60))
        found = alarm_rates(PLAN, trials(data, replays), rng).below["0.05"]
        covered += found.low <= 0.05 <= found.high
        plain = rate(found.k, found.n)
        binomial += plain.low <= 0.05 <= plain.high
        assert found.low <= found.value <= found.high
        assert found.high - found.low > plain.high - plain.low
    assert covered >= 0.68 * 300
    assert binomial < covered


def test_a_data_set_is_never_ranked_among_its_own_replays():
    data, replays = np.array([5.0, 2.0, 2.0]), np.array([9.0, 2.5, 2.5])
    p, _, _ = pooled_p(PLAN, trials(data, replays), np.random.default_rng(0))
    # The largest replay belongs to the largest data set: no other replay reaches that one.
    assert p[0] < 1 / 3
    assert p[1] > 1 / 3


def test_failures_count_as_reaching_everything():
    some = trials(np.array([3.0, 3.0]), np.array([2.5, 2.5]))
    failed = NullTrial(name="x", n_events=5, error="no fit")
    p, data, _ = pooled_p(PLAN, [*some, failed], np.random.default_rng(0))
    assert np.isinf(data[2])
    assert p[2] <= 1 / 3
    reached = some[0].model_copy(update={"replays": (Replay(index=0, n_events=5, error="no fit"),)})
    _, _, pool = pooled_p(PLAN, [reached, some[1]], np.random.default_rng(0))
    assert np.isinf(pool[0])


def test_the_comparison_with_replays_survives_many_equal_values():
    """Where scans fail or find nothing, scipy's exact test gives up with a warning."""
    data, replays = np.random.default_rng(3).gumbel(size=(2, 60))
    rates = alarm_rates(PLAN, trials(data, replays), np.random.default_rng(0))
    assert 0.01 < rates.ks_p <= 1


def test_without_replays_nothing_can_be_ranked():
    with pytest.raises(ConfigurationError, match="replays"):
        pooled_p(PLAN, [NullTrial(name="x", n_events=5)], np.random.default_rng(0))


def test_a_trial_scans_the_data_and_replays_its_own_null(make_plan, make_view, cwola):
    view = make_view(12_000)
    trial = null_trial(make_plan(), view, name="a", seed=3, run_script=cwola, n_replays=1)
    assert trial.error is None
    assert trial.n_events == 12_000
    assert trial.cells
    assert len(trial.replays) == 1
    assert trial.replays[0].cells
    assert trial.replays[0].cells != trial.cells
    again = null_trial(make_plan(), view, name="a", seed=3, run_script=cwola, n_replays=1)
    assert again == trial


def test_data_that_cannot_be_scanned_are_a_failed_trial(make_plan, make_view, cwola):
    trial = null_trial(make_plan(), make_view(100), name="a", seed=3, run_script=cwola)
    assert trial.error is not None
    assert "events" in trial.error
