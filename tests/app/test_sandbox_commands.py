"""`sandbox check`, `sandbox run`, and the choice of a sandbox on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bumpscout.doctor import namespace_row
from bumpscout_sandbox.choice import survey

SCRIPT = """
import json, numpy as np
print("seen", open("/in/greeting.txt").read())
np.save("/out/scores.npy", np.arange(6.0).reshape(3, 2))
json.dump({"auc": 0.9}, open("/out/summary.json", "w"))
"""


@pytest.fixture(scope="module")
def sandboxes() -> list[str]:
    """Names of the sandboxes that hold on this machine."""
    names = [finding.name for finding in survey("auto").providers if finding.usable]
    if not names:
        pytest.skip("no sandbox on this machine")
    return names


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "greeting.txt").write_text("hello")
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_check_and_doctor_agree_on_what_can_be_used(bumpscout, sandboxes):
    checked = json.loads(bumpscout("sandbox", "check", "--json").stdout)
    assert checked["ready"]
    assert checked["chosen"] == sandboxes[0]
    found = {p["name"]: p for p in checked["providers"]}
    assert [name for name, p in found.items() if p["usable"]] == sandboxes
    assert all(p["reason"] for p in found.values() if not p["usable"])
    diagnosis = json.loads(bumpscout("doctor", "--json").stdout)
    assert diagnosis["ready"]
    rows = [row for row in diagnosis["rows"] if row["area"] == "sandbox"]
    assert {"area": "sandbox", "what": "chosen", "state": "ok", "detail": sandboxes[0],
            "remedy": ""} in rows  # fmt: skip
    for name, provider in found.items():
        said = {row["what"] for row in rows if row["what"].startswith(f"{name}: ")}
        assert said == {f"{name}: {row['what']}" for row in provider["rows"]}


@pytest.mark.parametrize(
    ("name", "value", "state", "cause", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "note", "AppArmor", "bwrap-userns"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", "ok", "allowed", ""),
        ("kernel/unprivileged_userns_clone", "0", "note", "plain users", "sysctl"),
        ("user/max_user_namespaces", "0", "note", "user.max_user_namespaces = 0", "raise"),
        ("user/max_user_namespaces", "95000", "ok", "allowed", ""),
    ],
)
def test_doctor_names_what_forbids_user_namespaces(tmp_path, name, value, state, cause, remedy):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    row = namespace_row(tmp_path)
    assert row.state == state
    assert cause in row.detail
    assert remedy in row.remedy


def test_check_is_a_table_for_people(bumpscout, sandboxes):
    done = bumpscout("sandbox", "check", "--sandbox", sandboxes[-1])
    assert done.returncode == 0
    assert done.stdout.startswith(f"{sandboxes[-1]}: usable, chosen\n")
    for limit in ("memory", "network", "disk", "no orphans"):
        assert f"  ok  {limit} " in done.stdout


def test_run_keeps_what_passed_its_checks(bumpscout, sandboxes, script, tmp_path):
    for name in sandboxes:
        out = tmp_path / name
        done = bumpscout(
            "sandbox", "run", script, "--input", f"greeting.txt={tmp_path / 'greeting.txt'}",
            "--out", out, "--sandbox", name, "--wall-s", "50", "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["sandbox"], answer["outcome"], answer["exit_status"]) == (name, "ok", 0)
        assert answer["stdout"] == "seen hello\n"
        assert answer["problems"] == []
        assert answer["limits"]["wall_s"] == 50
        assert answer["wall_s"] > 0
        assert answer["max_rss_bytes"] > 0
        kept = {a["name"]: a for a in answer["artifacts"]}
        assert set(kept) == {"scores.npy", "summary.json"}
        assert kept["scores.npy"]["shape"] == [3, 2]
        assert np.load(out / "scores.npy").tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
        assert json.loads((out / "summary.json").read_text()) == {"auc": 0.9}


@pytest.mark.usefixtures("sandboxes")
def test_hostile_script_is_an_answer_and_not_an_error(bumpscout, tmp_path):
    script = tmp_path / "hostile.py"
    script.write_text(
        "import os\nprint('\\x1b]0;owned\\x07\\u202e')\nos.symlink('/etc/passwd', '/out/a.npy')\n"
        "open('/out/b.json', 'w').write('NaN')\nwhile True: print('x' * 1000)\n"
    )
    arguments = ("sandbox", "run", script, "--output", "a.npy", "--output", "b.json",
                 "--output-kib", "2")  # fmt: skip
    done = bumpscout(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["outcome"], answer["exit_status"]) == ("output_truncated", None)
    assert len(answer["stdout"]) <= 2048
    assert answer["artifacts"] == []
    assert "2048 bytes of output" in answer["problems"][0]
    assert any("a symbolic link" in problem for problem in answer["problems"])
    assert any("b.json" in problem for problem in answer["problems"])
    plain = bumpscout(*arguments).stdout
    for text in (done.stdout, plain):
        assert not set("\x1b\x07\u202e") & set(text)


@pytest.mark.usefixtures("sandboxes")
def test_limits_are_taken_from_the_command_line_and_named_in_the_answer(bumpscout, tmp_path):
    script = tmp_path / "long.py"
    script.write_text("import time; time.sleep(60)")
    done = bumpscout("sandbox", "run", script, "--wall-s", "1")
    assert done.returncode == 0
    assert done.stdout.startswith("timeout (")
    assert "stopped after 1 s of wall time" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.py"], 3, "no script nowhere.py"),
        (["binary.py"], 3, "no UTF-8 text"),
        (["script.py", "--input", "x"], 2, "not NAME=FILE"),
        (["script.py", "--output", "model.pkl"], 2, "only .npy, .json and .png"),
        (["script.py", "--output", "../x.npy"], 2, "no plain file name"),
        (["script.py", "--out", "full"], 2, "not empty"),
        (["script.py", "--sandbox", "none"], 2, "'none' is not one of"),
    ],
)
def test_unusable_arguments_are_told_plainly(bumpscout, script, tmp_path, arguments, code, said):
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    done = bumpscout("sandbox", "run", *arguments)
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert script.read_text() == SCRIPT


@pytest.mark.parametrize("command", ["run", "check"])
def test_sandbox_that_is_not_there_exits_4_with_cause_and_remedy(
    bumpscout, script, monkeypatch, tmp_path, command
):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    arguments = ["run", script] if command == "run" else ["check"]
    done = bumpscout("sandbox", *arguments, "--sandbox", "docker")
    assert done.returncode == 4
    assert "The sandbox docker cannot be used here" in done.stderr
    assert "Start Docker" in " ".join(done.stderr.split())


def test_environment_names_the_sandbox(bumpscout, script, monkeypatch):
    monkeypatch.setenv("BUMPSCOUT_SANDBOX", "podman")
    done = bumpscout("sandbox", "run", script)
    assert done.returncode == 2
    assert "'podman', as in BUMPSCOUT_SANDBOX" in " ".join(done.stderr.split())


def test_search_says_where_its_scripts_ran(bumpscout, sandboxes, events, tmp_path):
    # Not the one that it would choose by itself: that is what the other searches here do.
    name, out = sandboxes[-1], tmp_path / "run"
    done = bumpscout(
        "search", "look for a narrow dijet resonance", "--data", events, "--out", out,
        "--replays", "0", "--toys", "100", "--workers", "1", "--sandbox", name, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["software"]["sandbox_provider"] == name
    assert result["cost"]["sandbox_s"] > 0
    assert json.loads((out / "run.json").read_text())["options"]["sandbox"] == name
    assert f"scripts run in {name}" in done.stderr
