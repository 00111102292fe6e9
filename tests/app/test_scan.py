"""The command `scan`: a plan from a file, with vetted detectors and without model or sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bumpscout.scan_config import read_config, scan_json_schema
from bumpscout_tools.errors import ConfigurationError

SCHEMA = Path(__file__).parents[2] / "docs" / "scan.schema.json"
QUICK = {"replays": {"n": 2}, "toys": 200, "cell_toys": 50}


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, events: Path, run_once) -> Path:
    """The folder of one finished scan."""
    folder = tmp_path_factory.mktemp("scan")
    write(folder / "plan.yaml", {"data": str(events), "seed": 3, "plan": QUICK})
    done = run_once("scan", folder / "plan.yaml", "--out", folder / "run", "--workers", "1")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_schema_file_is_current():
    assert SCHEMA.read_text(encoding="utf-8") == scan_json_schema()


def test_data_lies_beside_the_configuration_unless_absolute(tmp_path):
    assert read_config(write(tmp_path / "a.yaml", {"data": "e.h5"})).data == tmp_path / "e.h5"
    assert read_config(write(tmp_path / "a.yaml", {"data": "/x/e.h5"})).data == Path("/x/e.h5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plan: {replay: {n: 1}}", "plan.replay"),
        ("plan: {replays: {n: -1}}", "plan.replays.n"),
        ("plan: {working_points: {cross_sections_pb: [1.0]}}", "luminosity_fb"),
        ("a: [", "YAML"),
        ("!!python/object/apply:os.system ['true']", "YAML"),
        ("- 1\n- 2", "the whole file"),
        ("\x00", "YAML"),
    ],
)
def test_wrong_configurations_are_refused_with_the_entry(tmp_path, text, said):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        read_config(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 2, "no file"),
        ({}, 2, "names no data"),
        ({"data": "none.h5"}, 3, "none.h5"),
        ({"data": "a.yaml", "plan": {"blinding": "staged"}}, 2, "staged"),
    ],
)
def test_wrong_scans_say_what_to_do(bumpscout, tmp_path, content, code, said):
    if content is not None:
        write(tmp_path / "a.yaml", content)
    done = bumpscout("scan", "a.yaml", "--out", "run")
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_a_scan_leaves_result_report_and_a_ledger_that_agree(scanned, bumpscout):
    result = json.loads((scanned / "result.json").read_text())
    assert (result["status"], result["claim"]) == ("complete", "confirmatory")
    assert result["software"]["model"] == "none"
    assert result["software"]["sandbox_provider"] is None
    assert result["bumps"][0]["procedure_p"]["n_replays"] == 2
    assert "none; the plan was given in a file" in (scanned / "report.md").read_text()
    done = bumpscout("ledger", "verify", scanned)
    assert done.returncode == 0, done.stderr


def test_a_search_with_the_same_plan_finds_the_same(scanned, bumpscout, events, tmp_path):
    """Search and scan go through one executor: only who plans differs."""
    plan = json.loads((scanned / "plan.json").read_text())
    options = ["--replays", "2", "--toys", "200", "--seed", "3", "--workers", "1"]
    request = "Search for a narrow dijet resonance"
    done = bumpscout("search", request, "--data", events, "--out", "s", *options)
    assert done.returncode == 0, done.stderr
    searched = json.loads((tmp_path / "s" / "plan.json").read_text())
    config = {"data": str(events), "seed": 3, "plan": searched}
    done = bumpscout("scan", write(tmp_path / "p.yaml", config), "--out", "p", "--workers", "2")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / x / "result.json").read_text()) for x in ("s", "p"))
    assert plan["detectors"] == searched["detectors"]
    assert first["bumps"] == second["bumps"]
    assert (first["verdict"], first["claim"]) == (second["verdict"], second["claim"])


def test_an_interrupted_scan_goes_on_without_repeating_tests_or_replays(scanned, bumpscout):
    before = (scanned / "result.json").read_text()
    replays = (scanned / "cache" / "replays.jsonl").read_text()
    stopped = json.loads(before) | {"status": "stopped"}
    (scanned / "result.json").write_text(json.dumps(stopped))
    done = bumpscout("resume", scanned, "--json")
    assert done.returncode == 0, done.stderr
    again, first = json.loads(done.stdout), json.loads(before)
    assert again["bumps"] == first["bumps"]
    assert again["ledger"]["n_tests"] == first["ledger"]["n_tests"]
    bodies = [json.loads(x)["body"] for x in (scanned / "ledger.jsonl").read_text().splitlines()]
    tests = [body["test_id"] for body in bodies if body["kind"] == "test"]
    assert len(tests) == len(set(tests)) == first["ledger"]["n_tests"]
    assert (scanned / "cache" / "replays.jsonl").read_text() == replays
