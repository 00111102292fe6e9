"""`bumpscout scan` with the plan of a grid: result, ledger, report, and going on after a kill."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from bumpscout.scan_config import read_config

COLUMN = {"name": "column", "features": ["tau21_light"], "settings": {"anomalous": "low"}}
PLAN = {
    "detectors": [COLUMN],
    "spectra": [{"mass": "m_jj", "bin_log_width": 0.04}],
    "luminosity_fb": 10,
    "working_points": {"cross_sections_pb": {"from": 2, "to": 0.002, "n": 8}},
    "toys": 100,
    "replays": {"n": 32},
    "limits": {"widths": [0.0, 0.1], "max_points": 3, "toys": 0},
}


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, events: Path, run_once) -> Path:
    """The folder of one finished scan of a grid."""
    folder = tmp_path_factory.mktemp("grid")
    config = write(folder / "grid.yaml", {"data": str(events), "seed": 3, "plan": PLAN})
    done = run_once("scan", config, "--out", folder / "run", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "sigma), over all" in done.stdout
    return folder / "run"


def test_the_result_names_spectrum_and_cut_of_each_bump(scanned: Path) -> None:
    result = json.loads((scanned / "result.json").read_text())
    assert result["status"] == "complete"
    assert result["plan"]["spectra"] == ["m_jj"]
    assert result["plan"]["detectors"] == ["column"]
    # 8000 events are 0.8 pb of 10/fb: the first cut is all of them, the last selects 20.
    assert result["plan"]["working_points"][0] == 1.0
    bump = result["bumps"][0]
    assert bump["spectrum"] == "m_jj"
    point = bump["working_point"]
    share = result["dataset"]["n_events"] / 10_000
    assert result["dataset"]["n_searched"] < result["dataset"]["n_events"]
    assert point["cross_section_pb"] == pytest.approx(point["efficiency"] * share, rel=1e-6)
    assert bump["scan_p"]["n_toys"] <= 100
    assert "replays are toys" in bump["procedure_p"]["method"]
    assert {"p2", "p3", "p4", "p5", "p6"} & {variant["name"] for variant in bump["variants"]}


def test_every_test_is_in_the_ledger(scanned: Path, bumpscout) -> None:
    lines = [json.loads(x)["body"] for x in (scanned / "ledger.jsonl").read_text().splitlines()]
    assert [body["kind"] for body in lines].count("frozen") == 1
    tests = [body for body in lines if body["kind"] == "test"]
    evidence = json.loads((scanned / "evidence.json").read_text())
    cells = evidence["outcome"]["cells"]
    assert {test["test_id"] for test in tests} == {cell["test_id"] for cell in cells}
    done = bumpscout("ledger", "verify", scanned)
    assert done.returncode == 0, done.stderr


def test_the_report_draws_the_grid(scanned: Path) -> None:
    text = (scanned / "report.md").read_text()
    assert "Every spectrum at every cut" in text
    for name in ("overview", "heatmap", "spectra", "trials", "spectrum"):
        assert (scanned / "figures" / f"{name}.svg").stat().st_size > 1000, name
    assert "p2 / p3 / p4 / p5 / p6" in (scanned / "report.html").read_text()


def test_limits_stand_behind_the_cuts_that_were_asked_for(scanned: Path) -> None:
    limits = json.loads((scanned / "limits.json").read_text())
    kept = [point["efficiency"] for point in limits["points"]]
    assert len(kept) == 3
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 1.0
    for point in limits["points"]:
        assert point["cross_section_pb"] == pytest.approx(point["efficiency"] * 0.8, rel=1e-3)
        assert {row["width"] for w in point["windows"] for row in w["limits"]["rows"]} == {0.0, 0.1}
    text = (scanned / "report.md").read_text()
    assert "All events:" not in text
    assert r"m\_jj: column, 100% kept:" in text
    assert (scanned / "figures" / "limits.svg").stat().st_size > 1000


def test_an_interrupted_grid_goes_on_without_repeating_tests_or_toys(
    scanned: Path, bumpscout
) -> None:
    first = json.loads((scanned / "result.json").read_text())
    toys = {
        name: (scanned / "cache" / name).read_text()
        for name in ("grid-scan.jsonl", "grid-replay.jsonl")
    }
    assert toys["grid-scan.jsonl"].count("\n") >= 2
    (scanned / "result.json").write_text(json.dumps(first | {"status": "stopped"}))
    done = bumpscout("resume", scanned, "--json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["bumps"] == first["bumps"]
    assert again["ledger"] == first["ledger"]
    for name, text in toys.items():
        assert (scanned / "cache" / name).read_text() == text


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"spectra": [{"mass": "m_ee"}]}, 2, "m_jj of all events alone"),
        ({"detectors": [{"name": "column", "features": ["loss"]}]}, 2, "['loss']"),
        ({"detectors": [{"name": "cwola"}]}, 2, "does not depend on the scanned events"),
        ({"spectra": [{"mass": "m_jj", "min_gev": 9000}]}, 3, "No spectrum of the plan"),
    ],
)
def test_grids_that_cannot_be_scanned_say_why(
    bumpscout, tmp_path: Path, events: Path, changes: dict[str, object], code: int, said: str
) -> None:
    config = write(tmp_path / "grid.yaml", {"data": str(events), "plan": {**PLAN, **changes}})
    done = bumpscout("scan", config, "--out", "run", "--workers", "1")
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split())


def test_the_example_of_the_document_is_a_plan(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "scan.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert example is not None
    (tmp_path / "a.yaml").write_text(example[1], encoding="utf-8")
    plan = read_config(tmp_path / "a.yaml").plan
    assert (len(plan.spectra), len(plan.working_points.cross_sections_pb)) == (63, 100)


def test_a_grid_is_not_calibrated_as_a_search_of_windows(
    bumpscout, tmp_path: Path, events: Path
) -> None:
    config = write(tmp_path / "grid.yaml", {"data": str(events), "plan": PLAN})
    done = bumpscout("calibrate", config, "--out", "run", "--n-null", "2", "--workers", "1")
    assert done.returncode == 2, done.stderr
    assert "grid of spectra" in " ".join(done.stderr.split())
