"""Settings by name: unknown ones are refused, and a preset is only a set of other defaults."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bumpscout_tools.detectors import AutoencoderSettings, make_detector
from bumpscout_tools.detectors.settings import (
    DETECTOR_NAMES,
    FIXED_DETECTORS,
    SETTINGS,
    settings_of,
)
from bumpscout_tools.errors import ConfigurationError


def test_every_name_has_settings_and_a_detector() -> None:
    assert set(DETECTOR_NAMES) == set(SETTINGS)
    assert set(FIXED_DETECTORS) <= set(DETECTOR_NAMES)
    for name in DETECTOR_NAMES:
        detector = make_detector(name)
        assert detector.settings == SETTINGS[name]()
        assert detector.uses_window == (name not in FIXED_DETECTORS)


def test_unknown_names_and_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no detector 'svdd'; there are cwola"):
        settings_of("svdd")
    with pytest.raises(ConfigurationError, match="settings of autoencoder"):
        make_detector("autoencoder", {"layers": 3})
    with pytest.raises(ConfigurationError, match="settings of isolation-forest"):
        settings_of("isolation-forest", {"train_share": 0.9})


def test_the_rmm_preset_is_the_published_network() -> None:
    rmm = AutoencoderSettings(preset="rmm")
    assert rmm.hidden == (800, 400, 200)
    assert (rmm.activation, rmm.loss, rmm.standardise) == ("leaky-relu", "mae", False)
    assert (rmm.batch, rmm.learning_rate, rmm.train_share) == (100, 1e-3, 0.01)


def test_what_is_given_wins_over_the_preset_and_survives_a_plan() -> None:
    changed = AutoencoderSettings(preset="rmm", hidden=(300, 100), train_share=0.05)
    assert (changed.hidden, changed.train_share, changed.batch) == ((300, 100), 0.05, 100)
    assert AutoencoderSettings.model_validate_json(changed.model_dump_json()) == changed


@pytest.mark.parametrize(
    "wrong", [{"hidden": ()}, {"hidden": (2, 8)}, {"hidden": (8, 0)}, {"device": "tpu"}]
)
def test_impossible_networks_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AutoencoderSettings(**wrong)
