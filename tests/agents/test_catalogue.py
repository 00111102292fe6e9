"""The tool catalogue tells planner and coder of every detector that a plan can name."""

from __future__ import annotations

import pytest

from bumpscout_agents.catalogue import tool_catalogue
from bumpscout_agents.offline.words import DETECTORS
from bumpscout_tools.detectors.settings import DETECTOR_NAMES, SETTINGS


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_every_detector_is_described(name: str) -> None:
    catalogue = tool_catalogue()
    assert f"(``{name}``)" in str(catalogue["guide"])
    assert f"'{name}'" in str(catalogue["detectors"])
    assert SETTINGS[name].__name__ in str(catalogue["detectors"])


def test_words_of_requests_lead_to_detectors_that_there_are() -> None:
    named = {words.name for words in DETECTORS if words.name is not None}
    # A column is named by itself, and a combination by the detectors that it combines.
    assert named == set(DETECTOR_NAMES) - {"column", "combination"}
    for words in DETECTORS:
        if words.name is not None:
            SETTINGS[words.name](**words.settings)
