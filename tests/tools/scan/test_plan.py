"""The plan: unknown and impossible settings are refused, and its hash names what will be done."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bumpscout_tools.scan.plan import SearchPlan


@pytest.mark.parametrize(
    "wrong",
    [
        {"detector": []},
        {"windows": {"width": 6}},
        {"detectors": []},
        {"detectors": [{"name": "salad"}]},
        {"detectors": [{"settings": {"folds": 1}}]},
        {"working_points": {"efficiencies": []}},
        {"working_points": {"efficiencies": [0.01, 0.1]}},
        {"working_points": {"efficiencies": [0.1, 0.1]}},
        {"working_points": {"efficiencies": [0.1, 0.0]}},
        {"working_points": {"efficiencies": [1.5, 0.1]}},
        {"background": {"orders": []}},
        {"background": {"orders": [1, 2]}},
        {"background": {"orders": [3, 2]}},
        {"background": {"orders": [5, 7]}},
        {"background": {"alpha": 0.0}},
        {"spectrum": {"min_gev": 3000, "max_gev": 3000}},
        {"spectrum": {"min_gev": -5}},
        {"bump_bins": [0, 4]},
        {"bump_bins": [5, 4]},
        {"bump_bins": [7, 9]},
        {"replays": {"n": -1}},
        {"toys": 0},
        {"schema_version": "bumpscout.plan/2"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SearchPlan.model_validate(wrong)


def test_a_bump_may_be_allowed_wider_than_the_window() -> None:
    plan = SearchPlan.model_validate({"bump_bins": [2, 60]})
    assert plan.bump_bins == (2, 60)


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        SearchPlan().toys = 5


def test_hash_survives_json_and_the_order_of_keys() -> None:
    plan = SearchPlan()
    assert SearchPlan.model_validate_json(plan.model_dump_json()).sha256() == plan.sha256()
    content = plan.model_dump(mode="json")
    assert SearchPlan.model_validate(dict(reversed(content.items()))).sha256() == plan.sha256()
    assert len(plan.sha256()) == 64


def test_hash_sees_every_setting() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"detectors": [{"settings": {"trees": 41}}]},
        {"detectors": [{"features": ["mj_light"]}]},
        {"detectors": [{}, {}]},
        {"spectrum": {"min_gev": 3000}},
        {"spectrum": {"bin_log_width": 0.021}},
        {"windows": {"step_bins": 2}},
        {"windows": {"min_expected": 6}},
        {"working_points": {"efficiencies": [0.1, 0.01]}},
        {"working_points": {"refine_rounds": 0}},
        {"background": {"orders": [2, 3, 4]}},
        {"background": {"alpha": 0.06}},
        {"bump_bins": [2, 5]},
        {"toys": 10_001},
        {"cell_toys": 201},
        {"replays": {"n": 199}},
        {"replays": {"stop_after_reached": 9}},
        {"luminosity_fb": 139},
        {"significance_for_claim": 3.1},
        {"blinding": "staged"},
    ]
    assert len({SearchPlan.model_validate(change).sha256() for change in changes}) == len(changes)
