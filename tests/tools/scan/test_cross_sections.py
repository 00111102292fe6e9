"""Visible cross sections as working points."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bumpscout_tools.scan.cross_sections import resolve_cross_sections
from bumpscout_tools.scan.plan import SearchPlan, WorkingPointPlan


def plan(*cross_sections_pb: float) -> SearchPlan:
    points = WorkingPointPlan(cross_sections_pb=cross_sections_pb)
    return SearchPlan(working_points=points, luminosity_fb=1.0)


def test_efficiencies_are_those_of_the_events_in_the_fitted_range() -> None:
    # 70000 events at 1/fb are 70 pb, so 7 pb are a tenth of them; 0.07 pb are 70 events.
    found = resolve_cross_sections(plan(7, 0.07), 70_000)
    assert found.plan.working_points.efficiencies == (0.1, 0.001)
    assert found.plan.working_points.cross_sections_pb == (7, 0.07)
    assert not found.not_understood
    assert "70 pb" in found.understood[0]


def test_resolving_twice_changes_nothing() -> None:
    once = resolve_cross_sections(plan(7, 0.07), 70_000).plan
    assert resolve_cross_sections(once, 70_000).plan == once


def test_cross_sections_outside_the_data_are_clipped_and_said() -> None:
    found = resolve_cross_sections(plan(700, 1e-6), 70_000)
    efficiencies = found.plan.working_points.efficiencies
    assert efficiencies[0] == 1.0
    assert efficiencies[-1] == pytest.approx(10 / 70_000, rel=1e-3)
    assert any("700 pb" in text and "clipped" in text for text in found.not_understood)
    assert any("1e-06 pb" in text and "10 events" in text for text in found.not_understood)


def test_cross_sections_that_all_lie_outside_give_the_default_cuts() -> None:
    found = resolve_cross_sections(plan(7000, 700), 70_000)
    assert found.plan.working_points == WorkingPointPlan()
    assert any("lie outside" in text for text in found.not_understood)


def test_a_plan_in_efficiencies_stays_as_it_is() -> None:
    assert resolve_cross_sections(SearchPlan(), 70_000).plan == SearchPlan()


def test_cross_sections_need_a_luminosity_and_must_fall() -> None:
    points = WorkingPointPlan(cross_sections_pb=(7.0, 0.07))
    with pytest.raises(ValidationError, match="luminosity_fb"):
        SearchPlan(working_points=points)
    with pytest.raises(ValidationError, match="fall strictly"):
        WorkingPointPlan(cross_sections_pb=(0.07, 7.0))
