"""The command `recast`: a user's signal injected into a plan, resumable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bumpscout.recast_report import RecastReport, recast_json_schema

SCHEMA = Path(__file__).parents[2] / "docs" / "recast.schema.json"
PLAN = {"toys": 200, "cell_toys": 50, "replays": {"n": 0}, "luminosity_fb": 10.0}
PARTONS = (("1", "501", 1), ("-1", "502", -1))
QUICK = ("--n-null", "5", "--n-signal", "1", "--strength", "3", "--workers", "1")


@pytest.fixture(scope="module")
def inputs(trial_inputs) -> Path:
    """A folder with a configuration and a signal of equal masses."""
    return trial_inputs(PLAN)


@pytest.fixture(scope="module")
def recast(tmp_path_factory: pytest.TempPathFactory, inputs: Path, run_once) -> Path:
    """The folder of one finished recast."""
    folder = tmp_path_factory.mktemp("recast") / "out"
    arguments = (inputs / "plan.yaml", "--signal", inputs / "signal.h5", "--out", folder, *QUICK)
    done = run_once("recast", *arguments)
    assert done.returncode == 0, done.stderr
    assert "expects to exclude" in done.stdout
    return folder


def test_schema_file_is_current():
    assert SCHEMA.read_text(encoding="utf-8") == recast_json_schema()


def test_record_text_and_figures_are_there(recast):
    report = RecastReport.model_validate_json((recast / "recast.json").read_text())
    (signal,) = report.signals
    assert signal.mass_gev == pytest.approx(2600, rel=0.05)
    assert (report.files[0].n_events, report.luminosity_fb) == (3000, 10.0)
    (cells,) = signal.efficiencies.values()
    assert 0.8 < cells[0].mean <= 1.0
    assert all(0 <= cell.mean <= cells[0].mean for cell in cells)
    text = (recast / "recast.md").read_text()
    for name in ("efficiency", "excluded", "sensitivity-0"):
        assert (recast / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"figures/{name}.png" in text


def test_it_goes_on_where_it_was(recast, inputs, bumpscout):
    trials = (recast / "signal-0.jsonl").read_text().splitlines()
    (recast / "signal-0.jsonl").write_text("\n".join(trials[:5]) + "\n")
    arguments = (inputs / "plan.yaml", "--signal", inputs / "signal.h5", "--out", recast, *QUICK)
    before = json.loads((recast / "recast.json").read_text())
    done = bumpscout("recast", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == before


def test_partons_are_refused_with_what_can_be_done(inputs, tmp_path, bumpscout):
    rng = np.random.default_rng(1)
    lines = ['<LesHouchesEvents version="3.0">', "<init>", "2212 2212 6500 6500 0 0 0 0 3 1"]
    lines += ["1 1 1 1", "</init>"]
    for half in rng.normal(1300.0, 20.0, 600):
        lines += ["<event>", "2 1 1 91 -1 -1"]
        lines += [f"{q} 1 0 0 {c} 0 {sign * half} 0 0 {half} 0 0 9" for q, c, sign in PARTONS]
        lines.append("</event>")
    path = tmp_path / "signal.lhe"
    path.write_text("\n".join([*lines, "</LesHouchesEvents>"]) + "\n", encoding="utf-8")
    arguments = (inputs / "plan.yaml", "--signal", path, "--out", tmp_path / "o")
    done = bumpscout("recast", *arguments)
    assert done.returncode == 3, done.stderr
    assert "Shower and reconstruct" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--signal-mass", "2600", "--signal-mass", "2700"), 2, "once for each"),
        (("--signal-mass", "9000"), 3, "is that its mass"),
        (("--data", "nothing.h5"), 3, "nothing.h5"),
    ],
)
def test_what_cannot_be_injected_is_refused(inputs, tmp_path, bumpscout, options, code, said):
    arguments = (inputs / "plan.yaml", "--signal", inputs / "signal.h5", "--out", tmp_path / "o")
    done = bumpscout("recast", *arguments, *options)
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split())


def test_without_a_signal_the_data_are_no_null(tmp_path, inputs, bumpscout):
    """Repetitions at strength 0 are draws, of different sizes, also where signals go into data."""
    arguments = (inputs / "plan.yaml", "--signal", inputs / "signal.h5", "--out", tmp_path / "o")
    done = bumpscout("recast", *arguments, *QUICK, "--into", "data")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "o" / "signal-0.jsonl").read_text().splitlines()
    trials = [json.loads(line)["trial"] for line in lines]
    sizes = [sum(t["yields"][0]["counts"]) for t in trials if t["strength"] == 0]
    assert len(sizes) == 5
    assert len(set(sizes)) > 2
    assert "repetitions without it are" in (tmp_path / "o" / "recast.md").read_text()
