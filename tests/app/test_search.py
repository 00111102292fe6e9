"""A small search from sentence to report, through the real sandbox, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_tools.simulation.layout import write_features_h5

QUICK = ["--replays", "0", "--toys", "200", "--workers", "1"]


@pytest.fixture(scope="module", autouse=True)
def _wall() -> None:
    if any(not row.ok for row in BubblewrapProvider().check()):
        pytest.skip("no bubblewrap sandbox on this machine")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, events: Path) -> tuple[Path, str, str]:
    """One finished run: its folder, stdout and stderr."""
    folder = tmp_path_factory.mktemp("search") / "run"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bumpscout", "search"),
            "Search for a narrow dijet resonance with SALAD",
            *("--data", str(events), "--out", str(folder), *QUICK),
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


def test_result_is_complete_and_agrees_with_the_ledger(finished, bumpscout):
    folder, _, _ = finished
    result = json.loads((folder / "result.json").read_text())
    assert result["schema_version"] == "bumpscout.result/1"
    assert result["status"] == "complete"
    assert result["dataset"]["n_events"] == 8000
    assert any("SALAD" in line for line in result["not_understood"])
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    assert result["ledger"]["n_lines"] == len(lines)
    assert result["ledger"]["head_sha256"] == json.loads(lines[-1])["hash"]
    assert bumpscout("ledger", "verify", folder).returncode == 0


def test_without_replays_nothing_is_claimed(finished):
    result = json.loads((finished[0] / "result.json").read_text())
    assert result["verdict"] in {"no-excess", "undecided"}
    assert all(bump["procedure_p"] is None for bump in result["bumps"])


def test_files_that_the_design_names_are_there(finished):
    names = {path.name for path in finished[0].iterdir()}
    assert names >= {
        *("result.json", "report.html", "report.md", "ledger.jsonl", "trace.jsonl", "rerun.py"),
        *("figures", "tasks"),
    }


def test_progress_goes_to_stderr_as_plain_lines_and_the_summary_to_stdout(finished):
    folder, stdout, stderr = finished
    assert "\r" not in stderr
    assert "\x1b" not in stderr
    assert any(re.match(r"\[\d+:\d\d\] scan: ", line) for line in stderr.splitlines())
    assert str(folder / "report.html") in stdout
    assert "SALAD" in stdout


def test_report_is_drawn_again_from_the_files(finished, bumpscout):
    folder, _, _ = finished
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    done = bumpscout("report", folder, "--json")
    assert json.loads(done.stdout)["html"] == str(folder / "report.html")
    assert (folder / "report.html").read_text() == before


def test_a_changed_ledger_exits_3(finished, bumpscout, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    lines = (finished[0] / "ledger.jsonl").read_text().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_text("".join(lines[:-1]))
    (folder / "result.json").write_bytes((finished[0] / "result.json").read_bytes())
    done = bumpscout("ledger", "verify", folder)
    assert done.returncode == 3
    assert "ledger" in done.stderr


def test_runs_lists_it(finished, bumpscout):
    folder, _, _ = finished
    done = bumpscout("runs", "--root", folder.parent, "--json")
    (line,) = json.loads(done.stdout)
    assert line["status"] == "complete"
    assert line["folder"] == str(folder)


def test_a_complete_run_is_neither_resumed_nor_overwritten(finished, bumpscout, events):
    folder, _, _ = finished
    before = (folder / "result.json").read_bytes()
    assert bumpscout("resume", folder).returncode == 2
    assert bumpscout("search", "x", "--data", events, "--out", folder).returncode == 2
    assert (folder / "result.json").read_bytes() == before


@pytest.mark.slow
def test_rerun_repeats_it_and_refuses_another_file(finished, tmp_path, events):
    folder, _, _ = finished
    command = [sys.executable, str(folder / "rerun.py"), "--data"]
    other = tmp_path / "other.h5"
    other.write_bytes(events.read_bytes() + b"\0")
    refused = subprocess.run(
        [*command, str(other), "--out", str(tmp_path / "no")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 3
    assert not (tmp_path / "no").exists()
    again = subprocess.run(
        [*command, str(events), "--out", str(tmp_path / "again")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "same plan, tests, bumps and verdict" in again.stdout


def test_interrupted_run_exits_130_is_marked_stopped_and_resumes(tmp_path, events, bumpscout):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bumpscout", "search", "a narrow dijet resonance"),
            *("--data", str(events), "--out", str(folder), *QUICK),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until(lambda: (folder / "plan.json").exists())
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "stopped"
    assert result["verdict"] is None
    assert bumpscout("resume", folder).returncode == 0
    assert json.loads((folder / "result.json").read_text())["status"] == "complete"
    assert bumpscout("ledger", "verify", folder).returncode == 0


@pytest.mark.slow
def test_approval_is_waited_for_without_a_terminal(tmp_path, events, bumpscout):
    folder = tmp_path / "run"
    options = ["--data", events, "--out", folder, "--approve", "ask", *QUICK]
    done = bumpscout("search", "a narrow dijet resonance", *options)
    assert done.returncode == 7, done.stderr
    assert json.loads((folder / "result.json").read_text())["status"] == "stopped"
    assert bumpscout("approve", folder).returncode == 0
    done = bumpscout("resume", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "complete"


def test_dry_run_shows_the_plan_and_writes_nothing(bumpscout, events, tmp_path):
    before = set(tmp_path.iterdir())
    done = bumpscout(
        "search", "use only events above 3 TeV", "--data", events, "--dry-run", "--json"
    )
    shown = json.loads(done.stdout)
    assert shown["plan"]["spectrum"]["min_gev"] == 3000
    assert shown["understood"]
    assert set(tmp_path.iterdir()) == before


def test_options_reach_the_plan(bumpscout, events):
    done = bumpscout(
        *("search", "a dijet resonance", "--data", events, "--dry-run", "--json"),
        *("--replays", "33", "--toys", "444", "--luminosity-fb", "100", "--sqrt-s", "14000"),
    )
    plan = json.loads(done.stdout)["plan"]
    assert plan["replays"]["n"] == 33
    assert plan["toys"] == 444
    assert plan["luminosity_fb"] == 100
    assert plan["background"]["sqrt_s_gev"] == 14000


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_staged_blinding_waits_for_an_approval_and_claims_on_unseen_events(
    tmp_path, make_columns, bumpscout
):
    write_features_h5(tmp_path / "many.h5", make_columns(20_000, seed=4))
    request = ["Search for a narrow dijet resonance", "--data", tmp_path / "many.h5"]
    staged = bumpscout("search", *request, "--out", "run", "--blinding", "staged", *QUICK)
    assert staged.returncode == 7, staged.stderr
    assert not any((tmp_path / "run").glob("final.json"))
    assert bumpscout("approve", "run").returncode == 0
    done = bumpscout("resume", "run", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["claim"], result["plan"]["blinding"]) == ("confirmatory", "staged")
    assert result["dataset"]["n_searched"] < 0.85 * 20_000
    kinds = [
        json.loads(line)["body"]["kind"]
        for line in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()
    ]
    assert kinds.count("unblinded") == 1
    assert "Staged blinding" in (tmp_path / "run" / "report.md").read_text()
    assert bumpscout("ledger", "verify", "run").returncode == 0
