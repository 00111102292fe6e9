"""Requests that combine detectors."""

from __future__ import annotations

import pytest

from bumpscout_agents.offline.planner import plan_request
from bumpscout_tools.features.dijet import DIJET_FEATURES

CARD = {
    "n_events": 70_000,
    "n_usable": 70_000,
    "features": [{"name": name} for name in DIJET_FEATURES],
    "mass_range_gev": [1200.0, 9000.0],
}


@pytest.mark.parametrize(
    ("request_", "members", "rule"),
    [
        ("combine CWoLa and the autoencoder", ["cwola", "autoencoder"], "mean"),
        (
            "look for dijet bumps with the maximum of a combination of CATHODE and an isolation "
            "forest",
            ["cathode", "isolation-forest"],
            "maximum",
        ),
        ("combining CWoLa hunting with R-ANODE by the mean", ["cwola", "r-anode"], "mean"),
    ],
)
def test_detectors_are_combined(request_: str, members: list[str], rule: str) -> None:
    reply = plan_request(request_, CARD, {})
    (detector,) = reply.plan.detectors
    assert [member.name for member in detector.settings.members] == members
    assert detector.settings.rule == rule
    assert reply.not_understood == ()
    (said,) = [line for line in reply.understood if "Combined into one score" in line]
    assert said.endswith(f"{' and '.join(members)}.")


def test_what_cannot_be_a_member_is_said_to_stand_beside() -> None:
    request = "combine CWoLa and the autoencoder and QUAK with the priors in prior.h5"
    reply = plan_request(request, CARD, {})
    assert {one.name for one in reply.plan.detectors} == {"combination", "quak"}
    assert any(line.endswith("cwola and autoencoder; quak beside it.") for line in reply.understood)


def test_one_detector_is_no_combination() -> None:
    reply = plan_request("combine CWoLa", CARD, {})
    assert [detector.name for detector in reply.plan.detectors] == ["cwola"]
    assert "at least two" in reply.not_understood[0]


def test_detectors_named_side_by_side_stay_so() -> None:
    reply = plan_request("with CWoLa and an autoencoder, do not combine them", CARD, {})
    assert [detector.name for detector in reply.plan.detectors] == ["cwola", "autoencoder"]
