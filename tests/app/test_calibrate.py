"""The command `calibrate`: false alarms and injected signals of a plan, resumable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

PLAN = {"toys": 200, "cell_toys": 50, "replays": {"n": 0}}
QUICK = ["--n-null", "3", "--n-signal", "1", "--strength", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def inputs(trial_inputs) -> Path:
    """A folder with a configuration and a signal of equal masses."""
    return trial_inputs(PLAN)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory, inputs: Path, run_once) -> Path:
    """The folder of one finished calibration."""
    folder = tmp_path_factory.mktemp("calibration") / "out"
    arguments = (inputs / "plan.yaml", "--signal", inputs / "signal.h5", "--out", folder, *QUICK)
    done = run_once("calibrate", *arguments)
    assert done.returncode == 0, done.stderr
    assert "procedure p <= 0.05" in done.stdout
    return folder


def test_record_text_and_figures_are_there(calibrated):
    report = json.loads((calibrated / "calibration.json").read_text())
    assert report["alarms"]["n_data_sets"] == 3
    assert len(report["null_p"]) == 3
    (at,) = report["signal"]["strengths"]
    assert (at["strength"], at["n"]) == (2.0, 1)
    assert report["signal"]["mass_gev"] == pytest.approx(2600, rel=0.05)
    for verdicts in (report["alarms"]["verdicts"], at["verdicts"]):
        rates = verdicts["verdicts"].values()
        assert sum(rate["k"] for rate in rates) == next(iter(rates))["n"]
    assert len(report["alarms"]["closures"]["auc"]) == 3
    lines = (calibrated / "injected.jsonl").read_text().splitlines()
    trials = {line["name"]: line["trial"] for line in map(json.loads, lines)}
    contaminated = {
        t["strength"]: (len(t["replays"]), t["record"]["null"]) for t in trials.values()
    }
    assert contaminated[0.0] == (0, None)
    assert contaminated[2.0][0] == 4
    assert contaminated[2.0][1]["closure"]["events"] > 1000
    text = (calibrated / "calibration.md").read_text()
    assert "null generators, each against the data that it was fitted to" in text
    for name in ("false-alarms", "detection", "verdicts", "closure"):
        assert (calibrated / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"figures/{name}.png" in text


def test_it_goes_on_where_it_was_and_refuses_another_calibration(calibrated, inputs, bumpscout):
    before = (calibrated / "nulls.jsonl").read_text().splitlines()
    (calibrated / "nulls.jsonl").write_text("\n".join(before[:2]) + "\n" + before[2][:50])
    arguments = [inputs / "plan.yaml", "--signal", inputs / "signal.h5", "--out", calibrated]
    first = json.loads((calibrated / "calibration.json").read_text())
    done = bumpscout("calibrate", *arguments, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == first
    after = (calibrated / "nulls.jsonl").read_text().splitlines()
    assert after[:2] == before[:2]
    assert after[-1] == before[2]
    other = bumpscout("calibrate", *arguments, *QUICK, "--seed", "9")
    assert other.returncode == 2
    assert "another plan, data" in other.stderr


def test_a_signal_that_is_not_there_is_an_input_error(inputs, bumpscout):
    done = bumpscout("calibrate", inputs / "plan.yaml", "--signal", "none.h5", "--out", "x")
    assert done.returncode == 3
    assert "none.h5" in done.stderr
    assert "--signal" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--mass", "nan"), 2, "--mass must be a finite number"),
        (("--strength", "nan"), 2, "--strength must be a finite number"),
        (("--mass", "4000"), 3, "is that its mass"),
    ],
)
def test_a_signal_that_cannot_be_injected_is_refused_before_any_trial(
    inputs, bumpscout, tmp_path, options, code, said
):
    arguments = [inputs / "plan.yaml", "--signal", inputs / "signal.h5", "--out", "x"]
    done = bumpscout("calibrate", *arguments, "--n-null", "2", "--workers", "1", *options)
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "x" / "nulls.jsonl").exists()


def test_blinded_data_are_not_calibrated_on(bumpscout, events, tmp_path):
    content = {"data": str(events), "plan": {**PLAN, "blinding": "staged"}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = bumpscout("calibrate", "plan.yaml", "--out", "x")
    assert done.returncode == 2
    assert "staged" in done.stderr
    assert not (tmp_path / "x").exists()
