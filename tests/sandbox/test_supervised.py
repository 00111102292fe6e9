"""The two sides of a supervisor: what it is told, and how little its answer is trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bumpscout_sandbox import talk as talk_module
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, OutputSpec
from bumpscout_sandbox.supervised import answer_bytes, command, read_answer, set_stage
from bumpscout_sandbox.supervisor import HELLO, NOT_FIRST, grown
from bumpscout_sandbox.talk import Talk

MIB = 1 << 20
LIMITS = Limits(output_bytes=1024, workspace_bytes=MIB, workspace_inodes=16)
ANSWER = OutputSpec(name="answer.json", kind="json", max_bytes=10)


@pytest.fixture
def job(tmp_path):
    (tmp_path / "collect").mkdir()
    return Job(script="pass", collect=tmp_path / "collect", outputs=(ANSWER,), limits=LIMITS)


def said(header: dict, body: bytes) -> bytes:
    full = {
        "outcome": "ok", "reason": "", "exit_status": 0, "wall_s": 1.5, "cpu_s": 1.0,
        "max_rss_bytes": 7, "stdout": 3, "stderr": 0,
        "files": [{"name": "answer.json", "size": 2, "refusal": ""}],
    } | header  # fmt: skip
    return HELLO + json.dumps(full).encode() + b"\n" + body


def read(content: bytes, job: Job, tmp_path: Path):
    path = tmp_path / "answer"
    path.write_bytes(content)
    return read_answer(path, job)


def test_whole_answer_becomes_a_result(job, tmp_path):
    result = read(said({}, b"hi\n{}"), job, tmp_path)
    assert (result.outcome, result.stdout, result.stderr) == ("ok", "hi\n", "")
    assert result.artifacts["answer.json"].read_bytes() == b"{}"
    assert result.artifacts["answer.json"].parent == job.collect


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({}, b"hi\n{"),
        ({}, b"hi\n{}!"),
        ({"stdout": 2000}, b"x" * 2002),
        ({"stdout": -1}, b"{}"),
        ({"outcome": "fine"}, b"hi\n{}"),
        ({"exit_status": "0"}, b"hi\n{}"),
        ({"wall_s": float("nan")}, b"hi\n{}"),
        ({"more": 1}, b"hi\n{}"),
        ({"files": []}, b"hi\n"),
        ({"files": [{"name": "../x", "size": 2, "refusal": ""}]}, b"hi\n{}"),
        ({"files": [{"name": "answer.json", "size": 11, "refusal": ""}]}, b"hi\n" + b"1" * 11),
        ({"files": [{"name": "answer.json", "size": 2, "refusal": "no"}]}, b"hi\n{}"),
    ],
)
def test_answer_that_no_supervisor_gives_is_none(job, tmp_path, header, body):
    assert read(said(header, body), job, tmp_path) is None
    assert list(job.collect.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"x", HELLO, HELLO + b"{}", HELLO + b"{}\n"])
def test_answer_cut_short_is_none(job, tmp_path, content):
    assert read(content, job, tmp_path) is None


def test_words_of_a_refusal_are_made_harmless(job, tmp_path):
    files = [{"name": "answer.json", "size": 0, "refusal": "is \x1b[31m\nred"}]
    result = read(said({"files": files}, b"hi\n"), job, tmp_path)
    assert result.problems == ("/out/answer.json is \\x1b[31m\\nred.",)


def test_existing_files_are_not_followed(job, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("before")
    (job.collect / "answer.json").symlink_to(outside)
    result = read(said({}, b"hi\n{}"), job, tmp_path)
    assert outside.read_text() == "before"
    assert not result.artifacts["answer.json"].is_symlink()


def test_stage_is_closed_to_other_users_and_readable_inside(job, tmp_path):
    private = tmp_path / "secret.txt"
    private.write_text("x")
    private.chmod(0o600)
    told = Job(script="a\udcffb", collect=job.collect, inputs={"x": private}, limits=LIMITS)
    (tmp_path / "stage").mkdir()
    stage = set_stage(told, tmp_path / "stage", 4711)
    assert (tmp_path / "stage").stat().st_mode & 0o777 == 0o700
    assert stage.inputs["x"] != private
    assert stage.inputs["x"].stat().st_mode & 0o777 == 0o644
    assert "4711" in stage.passwd.read_text()
    plan = json.loads((stage.job / "plan.json").read_text())
    assert plan["limits"] == LIMITS.model_dump()
    assert plan["command"][-1] == "/job/script.py"
    assert {path.name for path in (stage.job / "lib" / "bumpscout_sandbox").iterdir()} == {
        "__init__.py", "supervisor.py", "watchdog.py",
    }  # fmt: skip


def test_supervisor_refuses_to_be_anything_but_the_first_process(job, tmp_path):
    # It kills everything it may kill at the end: here that would be this machine's processes.
    (tmp_path / "stage").mkdir()
    stage = set_stage(job, tmp_path / "stage", os.geteuid())
    line = [part.replace("/job/lib", str(stage.job / "lib")) for part in command()]
    done = subprocess.run(line, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (NOT_FIRST, b"")
    assert b"not the first process" in done.stderr


def test_counted_folders_stop_at_their_limits(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert grown({"/out": folder}, LIMITS) is None
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "big").write_bytes(b"x" * (MIB + 1))
        assert grown({"/out": folder}, LIMITS) == ("disk", f"stopped above {MIB} bytes in /out")
        (tmp_path / "a" / "big").unlink()
        for number in range(16):
            (tmp_path / "a" / str(number)).touch()
        assert grown({"/out": folder}, LIMITS) == ("disk", "stopped above 16 files in /out")
    finally:
        os.close(folder)


def talking(job: Job, tmp_path: Path, code: str, stop=lambda: None):
    """Let a process of this machine say what a supervisor might, and return what came of it."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        talk = Talk(job, tmp_path / "answer", stop, {})
        talk.sources[process.stdout.fileno()] = talk.hear
        talk.sources[process.stderr.fileno()] = talk.complain
        try:
            talk.listen()
        finally:
            process.kill()
    return talk.result(lambda: ("killed", "killed by somebody"))


def test_container_that_never_started_is_unavailable_and_quoted(job, tmp_path):
    with pytest.raises(SandboxUnavailable, match="no such interpreter"):
        talking(job, tmp_path, "import sys; sys.exit('no such interpreter')")


def test_supervisor_that_vanishes_is_no_success(job, tmp_path):
    code = f"import os; os.write(1, {HELLO!r})"
    result = talking(job, tmp_path, code)
    assert (result.outcome, result.exit_status) == ("killed", None)
    assert result.problems[0] == "The script was killed by somebody."


def test_flood_from_a_container_is_cut_off(job, tmp_path):
    code = f"import os\nos.write(1, {HELLO!r})\nwhile True: os.write(1, b'x' * 65536)"
    result = talking(job, tmp_path, code)
    assert result.outcome == "killed"
    assert "more than a supervisor has to say" in result.problems[0]
    assert (tmp_path / "answer").stat().st_size <= answer_bytes(job)


def test_supervisor_that_hangs_is_given_up(job, tmp_path, monkeypatch):
    monkeypatch.setattr(talk_module, "GRACE_S", 0.5)
    hanging = Job(script="", collect=job.collect, limits=LIMITS.model_copy(update={"wall_s": 0.2}))
    code = f"import os, time\nos.write(1, {HELLO!r})\ntime.sleep(60)"
    result = talking(hanging, tmp_path, code)
    assert (result.outcome, result.problems[0]) == (
        "timeout", "The script was stopped after 0.2 s of wall time.",
    )  # fmt: skip


def test_cancelled_supervisor_that_hangs_is_given_up(job, tmp_path, monkeypatch):
    monkeypatch.setattr(talk_module, "GRACE_S", 0.5)
    asked: list[float] = []
    hanging = Job(script="", collect=job.collect, limits=LIMITS, cancel=threading.Event())
    hanging.cancel.set()
    code = f"import os, time\nos.write(1, {HELLO!r})\ntime.sleep(60)"
    result = talking(hanging, tmp_path, code, stop=lambda: asked.append(time.monotonic()))
    assert result.outcome == "killed"
    assert len(asked) == 1
