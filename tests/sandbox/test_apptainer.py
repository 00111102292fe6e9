"""The Apptainer provider: its command line; the contract suite runs where Apptainer answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bumpscout_sandbox import apptainer
from bumpscout_sandbox.apptainer import ApptainerProvider, command_line
from bumpscout_sandbox.binds import Bind
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job


@pytest.fixture
def job(tmp_path):
    return Job(script="", collect=tmp_path)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put a program of that name on the path, and be a plain user."""
    program = folder / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(apptainer.os, "geteuid", lambda: 1000)


def test_container_is_contained_offline_and_without_privileges(job):
    line = command_line("apptainer", Path("/root.sif"), [], job, "/usr/bin/python3")
    options = line[: line.index("/root.sif")]
    assert {"--containall", "--cleanenv", "--no-privs", "--no-eval"} <= set(options)
    assert options[options.index("--network") + 1] == "none"
    assert options[options.index("--drop-caps") + 1] == "all"
    assert options[options.index("--scratch") + 1] == "/out"
    assert "home" in options[options.index("--no-mount") + 1].split(",")
    # The supervisor has to be the first process of its PID namespace.
    assert "--no-init" in options
    assert "--nv" not in options
    assert "--writable" not in " ".join(options)
    assert line[line.index("/root.sif") + 1] == "/usr/bin/python3"


def test_every_mount_is_read_only_and_survives_odd_names(job):
    binds = [Bind(Path('/data/a,b "c"'), "/in/x"), Bind(Path("/usr"), "/usr")]
    line = command_line("apptainer", Path("/r"), binds, job, "python3")
    mounts = [line[i + 1] for i, part in enumerate(line) if part == "--mount"]
    assert mounts == [
        'type=bind,"source=/data/a,b ""c""","destination=/in/x",ro',
        'type=bind,"source=/usr","destination=/usr",ro',
    ]


def test_gpus_are_passed_through_where_asked(tmp_path):
    job = Job(script="", collect=tmp_path, limits=Limits(gpus=1))
    assert "--nv" in command_line("apptainer", Path("/r"), [], job, "python3")


def test_missing_apptainer_names_the_remedy(job, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="no apptainer"):
        ApptainerProvider().run(job)
    (row,) = ApptainerProvider().check()
    assert not row.ok
    assert "Ask the administrators" in row.remedy


def test_root_is_refused_because_jobs_would_be_root(job, monkeypatch, tmp_path):
    install(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(apptainer.os, "geteuid", lambda: 0)
    with pytest.raises(SandboxUnavailable, match="as a plain user"):
        ApptainerProvider().run(job)


def test_apptainer_that_does_not_start_a_container_is_quoted(job, monkeypatch, tmp_path):
    install(tmp_path, monkeypatch, "echo 'FATAL: user namespaces are disabled' >&2; exit 255")
    with pytest.raises(SandboxUnavailable, match="user namespaces are disabled"):
        ApptainerProvider(image=str(tmp_path / "image.sif")).run(job)


def test_empty_folders_have_a_place_for_every_mount(tmp_path):
    binds = [Bind(Path("/usr"), "/usr"), Bind(Path(__file__), "/in/x"), Bind(Path("/usr"), "/a/b")]
    root = apptainer._root(tmp_path / "root", binds)
    assert (root / "in" / "x").is_file()
    assert (root / "a" / "b").is_dir()
    assert (root / "out").is_dir()
