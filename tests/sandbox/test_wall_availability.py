"""A machine without a wall is told so; it never falls back to a bare process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bumpscout_sandbox
from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.mounts import interpreter_prefixes
from bumpscout_sandbox.provider import Job


def fake_bwrap(folder: Path, text: str) -> None:
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_missing_bubblewrap_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="apt install bubblewrap") as caught:
        BubblewrapProvider().run(Job(script="", collect=tmp_path))
    assert caught.value.exit_code == 4
    (row,) = BubblewrapProvider().check()
    assert not row.ok
    assert "apt install bubblewrap" in row.remedy


def test_old_bubblewrap_is_refused(monkeypatch, tmp_path):
    fake_bwrap(tmp_path, "echo bubblewrap 0.4.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"too old \(bubblewrap 0\.4\.1\)"):
        BubblewrapProvider().run(Job(script="", collect=tmp_path))


def test_forbidden_namespaces_quote_the_cause_and_name_the_remedy(monkeypatch, tmp_path):
    fake_bwrap(
        tmp_path,
        'if [ "$1" = --version ]; then echo bubblewrap 0.11.0; exit 0; fi\n'
        "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable) as caught:
        BubblewrapProvider().run(Job(script="", collect=tmp_path))
    assert "uid map: Permission denied" in str(caught.value)
    assert "AppArmor" in str(caught.value)


def test_interpreter_in_a_home_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="folder of its own"):
        interpreter_prefixes()


def as_plain_user(command: list[str]) -> list[str]:
    """Run a command as a user without privileges that can reach interpreter and checkout.

    Folders above them that only root may enter are replaced by readable ones, in a mount
    namespace of its own.
    """
    needed = [*interpreter_prefixes(), Path(bumpscout_sandbox.__file__).parents[2]]
    closed = {
        parent
        for path in needed
        for parent in path.parents
        if parent != Path("/") and not parent.stat().st_mode & 0o001
    }
    steps = ["set -e", "hold=$(mktemp -d)"]
    for index, top in enumerate(sorted(closed)):
        inside = [path for path in needed if path.is_relative_to(top)]
        for number, path in enumerate(inside):
            place = f"$hold/{index}-{number}"
            steps += [f"mkdir {place}", f"mount --bind '{path}' {place}"]
        steps += [f"mount -t tmpfs -o mode=0755 tmpfs '{top}'"]
        for number, path in enumerate(inside):
            place = f"$hold/{index}-{number}"
            steps += [f"mkdir -p '{path}'", f"mount --bind {place} '{path}'"]
    steps.append('exec setpriv --reuid 12345 --regid 12345 --clear-groups "$@"')
    script = "\n".join(steps)
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command]


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests already run as a plain user")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_plain_user_passes_the_same_contract():
    tests = Path(__file__).parent / "test_wall.py"
    options = ["-q", "-p", "no:cacheprovider", "--no-header", "-rs"]
    command = as_plain_user([sys.executable, "-B", "-m", "pytest", *options, str(tests)])
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "LANG": "C.UTF-8"}
    probe = subprocess.run(
        as_plain_user(["true"]), env=environment, capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"this machine does not let root make a mount namespace: {probe.stderr[:200]}")
    answer = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=tests.parents[2]
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-2000:]
    assert " passed" in answer.stdout
    assert "skipped" not in answer.stdout
