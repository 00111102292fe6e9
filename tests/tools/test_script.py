"""What a script in the sandbox reads and writes, and the vetted scripts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bumpscout_tools import script as script_module
from bumpscout_tools.detectors.settings import DETECTOR_NAMES
from bumpscout_tools.detectors.settings_density import SignalPrior
from bumpscout_tools.errors import ConfigurationError, DetectorError, InputDataError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import DetectorPlan
from bumpscout_tools.script import ScriptTask, read_task, read_view, write_scores, write_summary
from bumpscout_tools.scripts import render, run_vetted


def make_view(n: int = 3000) -> View:
    rng = np.random.default_rng(1)
    return View(
        rng.integers(0, 2**63, n, dtype=np.uint64),
        2000 + rng.exponential(500, n),
        rng.normal(size=(n, 2)),
        ("a", "b"),
    )


def make_jets() -> View:
    """Two jets of two constituents each, which two numbers describe."""
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 12))
    view = make_view()
    return View(view.event_id, view.mass, inputs, tuple("abcdefghijkl"))


def make_pairs() -> View:
    """Two features of each of two jets."""
    view = make_view()
    features = np.random.default_rng(5).normal(size=(3000, 4))
    names = ("tau1_light", "tau1_heavy", "tau2_light", "tau2_heavy")
    return View(view.event_id, view.mass, features, names)


def make_task(**changes: object) -> ScriptTask:
    content: dict[str, object] = {
        "detector": "cwola",
        "windows_gev": [[2500.1234567890123, 2800.0], [2700.0, 3000.0]],
        "features": ["a", "b"],
        "parameters": {"folds": 2, "members": 1, "trees": 10},
        "seed": 4,
    }
    return ScriptTask.model_validate(content | changes)


def test_a_task_survives_its_file(tmp_path: Path) -> None:
    task = make_task()
    (tmp_path / "task.json").write_text(task.model_dump_json())
    assert read_task(tmp_path) == task


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"detector": 5}',
        make_task().model_dump_json()[:-1] + ', "more": 1}',
        make_task().model_dump_json().replace('"seed":4', '"seed":-4'),
    ],
)
def test_a_file_that_is_no_task_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "task.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"task\.json"):
        read_task(tmp_path)


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"task\.json"):
        read_task(tmp_path)
    with pytest.raises(InputDataError, match=r"view\.parquet"):
        read_view(tmp_path)


def test_scores_are_plain_float64(tmp_path: Path) -> None:
    write_scores(np.arange(6).reshape(3, 2), tmp_path)
    loaded = np.load(tmp_path / "scores.npy", allow_pickle=False)
    assert loaded.dtype == np.float64
    np.testing.assert_array_equal(loaded, [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    "scores", [np.zeros(5), np.full((5, 2), np.nan), np.array([[np.inf]]), np.zeros((2, 2, 2))]
)
def test_wrong_scores_are_not_written(tmp_path: Path, scores: np.ndarray) -> None:
    with pytest.raises(DetectorError, match="finite"):
        write_scores(scores, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_summary_is_strict_json(tmp_path: Path) -> None:
    write_summary({"events": 3, "names": ["a"]}, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == {"events": 3, "names": ["a"]}
    with pytest.raises(ValueError, match="JSON"):
        write_summary({"x": float("nan")}, tmp_path)


PRIOR = SignalPrior.of("a.h5", "0" * 64, ("a", "b"), np.random.default_rng(3).normal(size=(300, 2)))
PARAMETERS: dict[str, dict[str, object]] = {
    "cwola": {"folds": 2, "members": 1, "trees": 10},
    "cathode": {"folds": 2, "members": 1, "trees": 10, "steps": 20},
    "anode": {"folds": 2, "steps": 20, "inner_steps": 20, "trainings": 1},
    "r-anode": {"folds": 2, "steps": 20, "signal_steps": 20, "trainings": 1},
    "quak": {"folds": 2, "steps": 20, "signal_steps": 20, "priors": [PRIOR.model_dump()]},
    "tag-n-train": {"folds": 2, "members": 1, "trees": 10, "steps": 20, "rich": 0.4},
    "combination": {
        "members": [
            {"name": "cwola", "settings": {"folds": 2, "members": 1, "trees": 10}},
            {"name": "isolation-forest", "settings": {"folds": 2, "trees": 20}},
        ]
    },
    "column": {"anomalous": "low"},
    "isolation-forest": {"folds": 2, "trees": 20},
    "autoencoder": {"folds": 2, "hidden": [8, 1], "epochs": 5},
    "vae": {"folds": 2, "latent": 3, "width": 8, "epochs": 5, "kl_weight": 0.01},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_rendered_script_computes_what_run_vetted_computes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = ("a",) if name == "column" else ("a", "b")
    view = make_view()
    if name in ("vae", "tag-n-train"):
        view = make_jets() if name == "vae" else make_pairs()
        features = view.feature_names
    task = make_task(detector=name, parameters=PARAMETERS[name], features=features, n_jobs=2)
    view.write(tmp_path / "view.parquet")
    (tmp_path / "task.json").write_text(task.model_dump_json())
    for function in (read_task, read_view, write_scores, write_summary):
        monkeypatch.setattr(function, "__defaults__", (tmp_path,))
    script = render(DetectorPlan(name=name, features=features))
    exec(compile(script, "script.py", "exec"), {"__name__": "__main__"})
    scores = np.load(tmp_path / "scores.npy", allow_pickle=False)
    assert scores.shape == (3000, 2)
    np.testing.assert_array_equal(scores, run_vetted(task, view))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == {"detector": name, "events": 3000, "windows": 2}


def test_there_is_a_script_for_every_detector() -> None:
    assert set(PARAMETERS) == set(DETECTOR_NAMES)


def test_the_script_does_not_depend_on_the_settings() -> None:
    other = DetectorPlan(settings={"trees": 7}, features=("a",))
    assert render(other) == render(DetectorPlan())


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="settings of cwola"):
        run_vetted(make_task(parameters={"depth": 4}), make_view(100))


def test_the_front_door_is_complete() -> None:
    public = {
        name
        for name, value in vars(script_module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == script_module.__name__
    }
    assert set(script_module.__all__) == public
