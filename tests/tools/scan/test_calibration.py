"""Null mean and width of the cells: data and replays are treated alike."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.plan import DetectorPlan, WorkingPointPlan
from bumpscout_tools.scan.replay import Excess, Replay

POINTS = (0.1, 0.01, 0.001)


@pytest.fixture
def plan(make_plan):
    return make_plan(
        detectors=(DetectorPlan(), DetectorPlan()),
        working_points=WorkingPointPlan(efficiencies=POINTS),
    )


def cells(rng: np.random.Generator, n_windows: int = 9, mean=0.0, width=1.0) -> list[Excess]:
    return [
        Excess(
            detector=detector,
            efficiency=efficiency,
            excess=mean + width * (1 + detector) * (1 + index) * float(rng.normal()),
            local_z=0.0,
            believable=True,
        )
        for detector in range(2)
        for index, efficiency in enumerate(POINTS)
        for _ in range(n_windows)
    ]


def replays(rng: np.random.Generator, n: int = 20, **options) -> list[Replay]:
    return [Replay(index=i, n_events=9, cells=tuple(cells(rng, **options))) for i in range(n)]


def test_mean_and_width_come_out(plan) -> None:
    rng = np.random.default_rng(1)
    null = NullCells.estimate(plan, cells(rng, 40, mean=0.7), replays(rng, n_windows=40, mean=0.7))
    np.testing.assert_allclose(null.means, 0.7, atol=0.7)
    np.testing.assert_allclose(null.widths, [[1, 2, 3], [2, 4, 6]], rtol=0.15)
    assert null.n_replays == 20


def test_data_and_replays_can_change_places(plan) -> None:
    rng = np.random.default_rng(2)
    data, others = cells(rng), replays(rng)
    null = NullCells.estimate(plan, data, others)
    for place in (0, 7, 19):
        swapped = list(others)
        swapped[place] = Replay(index=place, n_events=9, cells=tuple(data))
        assert NullCells.estimate(plan, list(others[place].cells), swapped) == null


def test_a_signal_in_the_data_hardly_matters(plan) -> None:
    rng = np.random.default_rng(3)
    data, others = cells(rng), replays(rng)
    loud = [
        cell.model_copy(update={"excess": 30.0}) if i % 9 == 4 else cell
        for i, cell in enumerate(data)
    ]
    quiet_null = NullCells.estimate(plan, data, others)
    loud_null = NullCells.estimate(plan, loud, others)
    np.testing.assert_allclose(loud_null.widths, quiet_null.widths, rtol=0.06)
    assert statistic(loud, loud_null) > 4


def test_widths_are_never_below_those_of_fixed_scores(plan) -> None:
    rng = np.random.default_rng(4)
    null = NullCells.estimate(plan, cells(rng, width=0.01), replays(rng, width=0.01))
    np.testing.assert_array_equal(null.widths, 1.0)


def test_refined_points_lie_between_their_neighbours(plan) -> None:
    rng = np.random.default_rng(5)
    null = NullCells.estimate(plan, cells(rng), replays(rng))
    middle = null.standardise(1, float(np.sqrt(0.1 * 0.01)), 4.0)
    (m1, m2, _), (w1, w2, _) = null.means[1], null.widths[1]
    assert middle == pytest.approx((4.0 - 0.5 * (m1 + m2)) / (0.5 * (w1 + w2)))
    assert null.standardise(1, 0.1, 4.0) == pytest.approx((4.0 - m1) / w1)


def test_the_statistic_is_the_largest_believable_one(plan) -> None:
    fixed = NullCells.scores_held_fixed(plan)
    some = cells(np.random.default_rng(6))
    assert statistic(some, fixed) == max(cell.excess for cell in some)
    unbelievable = [cell.model_copy(update={"believable": False}) for cell in some]
    assert statistic(unbelievable, fixed) == -np.inf
    assert statistic([*unbelievable, some[3]], fixed) == some[3].excess
    assert statistic([], fixed) == -np.inf
