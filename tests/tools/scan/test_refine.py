"""The rule that refines working points: the same answer for the same cells, on its ladder."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bumpscout_tools.scan.plan import DetectorPlan, WorkingPointPlan
from bumpscout_tools.scan.refine import all_efficiencies, coarse_points, refined_points

LADDER = WorkingPointPlan(efficiencies=(0.1, 0.01, 0.001))


def known(plan, n_windows: int, hot: tuple[int, int, float]) -> dict:
    return {p: 5.0 if p == hot else 1.0 for p in coarse_points(plan, n_windows)}


def test_coarse_points_are_every_cell_once(make_plan) -> None:
    plan = make_plan(working_points=LADDER, detectors=(DetectorPlan(), DetectorPlan()))
    points = coarse_points(plan, 4)
    assert len(points) == len(set(points)) == 2 * 4 * 3


def test_both_neighbours_in_three_windows(make_plan) -> None:
    plan = make_plan(working_points=LADDER)
    points = refined_points(plan, 4, known(plan, 4, (0, 2, 0.01)))
    between = (math.sqrt(0.1 * 0.01), math.sqrt(0.01 * 0.001))
    assert {point[1] for point in points} == {1, 2, 3}
    assert sorted({point[2] for point in points}, reverse=True) == pytest.approx(between, rel=1e-5)
    assert len(points) == len(set(points)) == 6


def test_nothing_beyond_the_ends(make_plan) -> None:
    plan = make_plan(working_points=LADDER)
    points = refined_points(plan, 4, known(plan, 4, (0, 0, 0.1)))
    assert {point[1] for point in points} == {0, 1}
    assert [point[2] for point in points] == pytest.approx([0.0316228] * 2, rel=1e-5)
    last = refined_points(plan, 1, known(plan, 1, (0, 0, 0.001)))
    assert [point[:2] for point in last] == [(0, 0)]
    assert last[0][2] == pytest.approx(0.00316228, rel=1e-5)


def test_the_order_in_which_cells_became_known_does_not_matter(make_plan) -> None:
    plan = make_plan(working_points=LADDER)
    rng = np.random.default_rng(1)
    values = {p: float(rng.integers(3)) for p in coarse_points(plan, 5)}
    expected = refined_points(plan, 5, values)
    items = list(values.items())
    for _ in range(10):
        rng.shuffle(items)
        shuffled = {(int(p[0]), int(p[1]), float(p[2])): float(z) for p, z in items}
        assert refined_points(plan, 5, shuffled) == expected


def test_each_detector_has_its_own_hottest_point(make_plan) -> None:
    plan = make_plan(working_points=LADDER, detectors=(DetectorPlan(), DetectorPlan()))
    values = known(plan, 4, (0, 0, 0.1)) | {(1, 3, 0.001): 9.0}
    points = refined_points(plan, 4, values)
    assert {point[1] for point in points if point[0] == 0} == {0, 1}
    assert {point[1] for point in points if point[0] == 1} == {2, 3}


def test_nothing_is_refined_where_nothing_can_be_believed(make_plan) -> None:
    plan = make_plan(working_points=LADDER)
    values = dict.fromkeys(coarse_points(plan, 4), -math.inf)
    assert refined_points(plan, 4, values) == []
    assert refined_points(plan, 4, {}) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_every_refinement_is_one_that_the_toys_foresee(make_plan, seed: int, rounds: int) -> None:
    points = WorkingPointPlan(efficiencies=(0.2, 0.05, 0.007, 0.001), refine_rounds=rounds)
    plan = make_plan(working_points=points)
    rng = np.random.default_rng(seed)
    values = {p: float(rng.normal()) for p in coarse_points(plan, 5)}
    for _ in range(rounds):
        added = refined_points(plan, 5, values)
        assert added
        values |= {p: float(rng.normal(1.0)) for p in added}
    ladder = all_efficiencies(plan)
    assert list(ladder) == sorted(set(ladder), reverse=True)
    assert {point[2] for point in values} <= set(ladder)
