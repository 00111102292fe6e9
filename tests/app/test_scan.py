"""The command `scan`: a plan from a file, with vetted detectors and without model or sandbox."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from bumpscout.scan_config import read_config, scan_json_schema
from bumpscout.scan_limits import read_limits
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.plan import SearchPlan

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


def test_only_the_registered_plan_may_be_confirmatory(tmp_path):
    plan = {"toys": 500}
    registered = SearchPlan.model_validate(plan).sha256()
    content = {"plan": plan, "preregistered": registered}
    assert read_config(write(tmp_path / "a.yaml", content)).preregistered == registered
    changed = {"plan": {"toys": 600}, "preregistered": registered}
    with pytest.raises(ConfigurationError, match="changed after it was registered"):
        read_config(write(tmp_path / "a.yaml", changed))


def test_data_lies_beside_the_configuration_unless_absolute(tmp_path):
    assert read_config(write(tmp_path / "a.yaml", {"data": "e.h5"})).data == tmp_path / "e.h5"
    assert read_config(write(tmp_path / "a.yaml", {"data": "/x/e.h5"})).data == Path("/x/e.h5")


def test_priors_lie_beside_the_configuration_and_are_not_registered_by_name(tmp_path):
    quak = {"name": "quak", "settings": {"files": ["s.h5", "/x/t.h5"]}}
    content = {"plan": {"detectors": [quak]}}
    config = read_config(write(tmp_path / "a.yaml", content))
    assert config.plan.detectors[0].settings.files == (str(tmp_path / "s.h5"), "/x/t.h5")
    registered = {**content, "preregistered": SearchPlan.model_validate(content["plan"]).sha256()}
    with pytest.raises(ConfigurationError, match="names files of signal events is not fixed"):
        read_config(write(tmp_path / "a.yaml", registered))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plan: {replay: {n: 1}}", "plan.replay"),
        ("plan: {replays: {n: -1}}", "plan.replays.n"),
        ("plan: {working_points: {cross_sections_pb: [1.0]}}", "luminosity_fb"),
        ("plan: {luminosity_fb: .inf}", "plan.luminosity_fb"),
        ("plan: {background: {sqrt_s_gev: .nan}}", "plan.background.sqrt_s_gev"),
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


def test_help_shows_the_example_line_by_line(bumpscout):
    lines = bumpscout("scan", "--help").stdout.splitlines()
    assert any(line.strip() == "data: events.h5" for line in lines)


def test_times_that_are_no_numbers_are_refused(bumpscout, tmp_path, events):
    write(tmp_path / "a.yaml", {"data": str(events)})
    done = bumpscout("scan", "a.yaml", "--out", "run", "--max-minutes", "nan")
    assert done.returncode == 2
    assert "finite" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_scan_leaves_result_report_and_a_ledger_that_agree(scanned, bumpscout):
    result = json.loads((scanned / "result.json").read_text())
    assert (result["status"], result["claim"]) == ("complete", "exploratory")
    plan = json.loads((scanned / "scan.json").read_text())["plan"]
    registered = SearchPlan.model_validate(plan).sha256()
    assert any(registered in line for line in result["understood"])
    assert result["software"]["model"] == "none"
    assert result["software"]["sandbox_provider"] is None
    assert result["bumps"][0]["procedure_p"]["n_replays"] == 2
    assert "none; the plan was given in a file" in (scanned / "report.md").read_text()
    done = bumpscout("ledger", "verify", scanned)
    assert done.returncode == 0, done.stderr


def test_a_scan_sets_limits_at_every_working_point(scanned):
    limits = read_limits(scanned)
    assert limits is not None
    plan = SearchPlan.model_validate_json((scanned / "plan.json").read_text())
    points = [point.efficiency for point in limits.points]
    assert points == [1.0, *plan.working_points.efficiencies]
    assert limits.pb_per_event is None
    rows = [row for point in limits.points for row in point.rows(0.0)]
    assert any(row.observed is not None and row.observed > 0 for row in rows)
    assert all((row.observed is None) == (row.reason is not None) for row in rows)
    report = (scanned / "report.md").read_text()
    assert "## What is excluded" in report
    assert "not on cross sections" in report
    assert (scanned / "figures" / "limits.png").exists()


def test_a_search_with_the_same_plan_finds_the_same(scanned, bumpscout, events, tmp_path):
    """Search and scan go through one executor: only who plans differs."""
    plan = json.loads((scanned / "plan.json").read_text())
    options = ["--replays", "2", "--toys", "200", "--seed", "3", "--workers", "1"]
    request = "Search for a narrow dijet resonance"
    done = bumpscout("search", request, "--data", events, "--out", "s", *options)
    assert done.returncode == 0, done.stderr
    searched = json.loads((tmp_path / "s" / "plan.json").read_text())
    registered = SearchPlan.model_validate(searched).sha256()
    config = {"data": str(events), "seed": 3, "plan": searched, "preregistered": registered}
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
    done = bumpscout("resume", scanned, "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    again, first = json.loads(done.stdout), json.loads(before)
    assert again["bumps"] == first["bumps"]
    assert again["ledger"]["n_tests"] == first["ledger"]["n_tests"]
    bodies = [json.loads(x)["body"] for x in (scanned / "ledger.jsonl").read_text().splitlines()]
    tests = [body["test_id"] for body in bodies if body["kind"] == "test"]
    assert len(tests) == len(set(tests)) == first["ledger"]["n_tests"]
    assert [body["kind"] for body in bodies].count("frozen") == 1
    assert (scanned / "cache" / "replays.jsonl").read_text() == replays


def test_another_plan_is_no_resumed_scan(scanned, bumpscout, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(scanned, folder)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"status": "stopped"}))
    config = json.loads((folder / "scan.json").read_text())
    config["plan"]["cell_toys"] = 60
    (folder / "scan.json").write_text(json.dumps(config))
    before = (folder / "ledger.jsonl").read_text()
    done = bumpscout("resume", folder)
    assert done.returncode == 2, done.stderr
    assert "froze another plan" in " ".join(done.stderr.split())
    assert (folder / "ledger.jsonl").read_text() == before


def test_a_ledger_that_was_cut_off_is_noticed_when_the_scan_goes_on(scanned, bumpscout, tmp_path):
    shutil.copytree(scanned, tmp_path / "cut")
    result = json.loads((scanned / "result.json").read_text()) | {"status": "stopped"}
    (tmp_path / "cut" / "result.json").write_text(json.dumps(result))
    lines = (scanned / "ledger.jsonl").read_text().splitlines()
    (tmp_path / "cut" / "ledger.jsonl").write_text("\n".join(lines[:-3]) + "\n")
    done = bumpscout("resume", "cut")
    assert done.returncode == 3
    assert "ledger" in done.stderr
