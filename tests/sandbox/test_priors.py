"""Priors of QUAK: files that the user names become events in the plan, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bumpscout_sandbox.priors import read_priors
from bumpscout_tools.detectors.settings import QuakSettings
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

NAMES = ("mj_light", "mj_delta")
OTHER = "0" * 64


def plan_with(*files: Path | str, features: tuple[str, ...] = NAMES) -> SearchPlan:
    settings = QuakSettings(files=tuple(map(str, files)))
    return SearchPlan(
        detectors=(DetectorPlan(), DetectorPlan(name="quak", settings=settings, features=features))
    )


def test_files_become_events_within_the_plan(events) -> None:
    plan = plan_with(events)
    read = read_priors(plan, OTHER)
    settings = read.detectors[1].settings
    (prior,) = settings.priors
    values = prior.values()
    assert settings.files == ()
    assert (prior.name, prior.features, values.shape) == (events.name, NAMES, (2000, 2))
    assert (np.median(values, axis=0) > 0).all()
    assert read.detectors[0] == plan.detectors[0]
    assert str(events.parent) not in read.model_dump_json()
    assert SearchPlan.model_validate_json(read.model_dump_json()) == read
    assert read_priors(read, OTHER) == read
    assert read_priors(plan, OTHER).sha256() == read.sha256() != plan.sha256()


def test_nothing_of_the_detector_but_its_events_is_changed(events) -> None:
    plan = plan_with(events)
    flat = plan.detectors[1].model_copy(update={"decorrelate": "quantile"})
    (read,) = read_priors(plan.model_copy(update={"detectors": (flat,)}), OTHER).detectors
    assert read.decorrelate == "quantile"
    kept = {name: getattr(read, name) for name in ("name", "features", "decorrelate")}
    assert kept == {name: getattr(flat, name) for name in kept}


def test_another_file_makes_another_plan(events, tmp_path) -> None:
    changed = tmp_path / events.name
    changed.write_bytes(events.read_bytes() + b" ")
    first, second = (read_priors(plan_with(file), OTHER) for file in (events, changed))
    assert first.sha256() != second.sha256()


def test_only_files_that_the_user_named_are_read(events) -> None:
    assert read_priors(plan_with(events), OTHER, [str(events)]).detectors[1].settings.priors
    with pytest.raises(ConfigurationError, match="which the request does not name"):
        read_priors(plan_with(events), OTHER, ["signal.h5"])
    assert read_priors(SearchPlan(), OTHER, []) == SearchPlan()


def test_what_cannot_be_a_prior_is_refused_with_its_name(events, tmp_path) -> None:
    from bumpscout_sandbox.vault import file_sha256

    with pytest.raises(ConfigurationError, match="QUAK needs files of simulated signal events"):
        read_priors(plan_with(), OTHER)
    with pytest.raises(InputDataError, match=r"There is no file .*missing.h5"):
        read_priors(plan_with(tmp_path / "missing.h5"), OTHER)
    with pytest.raises(InputDataError, match="is the file that is searched"):
        read_priors(plan_with(events), file_sha256(events, events.name))
    with pytest.raises(InputDataError, match="lacks no_such, which QUAK uses"):
        read_priors(plan_with(events, features=("mj_light", "no_such")), OTHER)
    few = tmp_path / "few.csv"
    few.write_text("m_jj,mj_light,mj_delta\n" + "3000,100,50\n" * 30)
    with pytest.raises(InputDataError, match=r"few\.csv"):
        read_priors(plan_with(few), OTHER)
