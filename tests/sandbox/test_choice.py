"""Which sandbox is used: asked for, or the first that holds; never a bare process."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bumpscout_sandbox import choice
from bumpscout_sandbox.choice import PROVIDERS, VARIABLE, choose, survey, wanted_provider
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.provider import CheckRow, Job, JobResult
from bumpscout_sandbox.scratch import scratch_folder
from bumpscout_tools.errors import ConfigurationError


class Pretended:
    """A provider that holds or not, as told; it runs nothing."""

    def __init__(self, name: str, rows: list[CheckRow]) -> None:
        self.name = name
        self._rows = rows

    def check(self) -> list[CheckRow]:
        return self._rows

    def run(self, job: Job) -> JobResult:
        raise AssertionError(f"nothing is run: {job.script}")

    def close(self) -> None:
        """Nothing is kept."""


def holds(name: str) -> Callable[[], Pretended]:
    return lambda: Pretended(name, [CheckRow(what="network", ok=True, how="none")])


def absent(name: str) -> Callable[[], Pretended]:
    row = CheckRow(what="sandbox", ok=False, how=name, remedy=f"install {name}")
    return lambda: Pretended(name, [row])


def leaks(name: str) -> Callable[[], Pretended]:
    rows = [
        CheckRow(what="network", ok=False, how="none", remedy="please report this"),
        CheckRow(what="memory", ok=True, how="control group"),
    ]
    return lambda: Pretended(name, rows)


@pytest.fixture
def machine(monkeypatch):
    """Put other providers in place of those of this machine."""
    monkeypatch.delenv(VARIABLE, raising=False)

    def set_up(**providers):
        monkeypatch.setattr(choice, "PROVIDERS", {n: make(n) for n, make in providers.items()})

    return set_up


def test_docker_comes_before_bubblewrap_before_apptainer():
    assert list(PROVIDERS) == ["docker", "bubblewrap", "apptainer"]


def test_the_first_that_holds_is_taken(machine):
    machine(docker=absent, bubblewrap=holds, apptainer=holds)
    assert choose().name == "bubblewrap"
    assert survey().chosen == "bubblewrap"


def test_what_is_asked_for_is_never_replaced(machine):
    machine(docker=absent, bubblewrap=holds)
    with pytest.raises(SandboxUnavailable, match="docker cannot be used here: install docker"):
        choose("docker")
    assert choose("bubblewrap").name == "bubblewrap"


def test_environment_decides_unless_something_is_asked_for(machine, monkeypatch):
    machine(docker=holds, bubblewrap=holds)
    monkeypatch.setenv(VARIABLE, "bubblewrap")
    assert choose().name == "bubblewrap"
    assert choose("docker").name == "docker"
    assert choose("auto").name == "docker"


def test_unknown_names_are_refused_and_say_where_they_stand(monkeypatch):
    with pytest.raises(ConfigurationError, match="'podman', as asked for"):
        wanted_provider("podman")
    monkeypatch.setenv(VARIABLE, "none")
    with pytest.raises(ConfigurationError, match=f"in {VARIABLE}; choose one of auto, docker"):
        wanted_provider()


def test_without_any_the_error_names_every_reason(machine):
    machine(docker=absent, bubblewrap=absent)
    with pytest.raises(SandboxUnavailable) as caught:
        choose()
    assert caught.value.exit_code == 4
    assert "nothing runs without one" in str(caught.value)
    assert re.search("docker: install docker bubblewrap: install bubblewrap", str(caught.value))
    assert survey().reason == str(caught.value)


def test_a_wall_that_fails_its_own_check_is_not_used(machine):
    machine(docker=leaks, bubblewrap=holds)
    assert choose().name == "bubblewrap"
    with pytest.raises(SandboxUnavailable, match=r"network: none\. please report this"):
        choose("docker")


def test_scratch_folders_are_gone_after_use_and_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="broken"), scratch_folder():
        raise ValueError("broken")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("arguments", [[], ["start"], ["restart", "/tmp/x"]])
def test_engine_script_explains_itself_instead_of_guessing(arguments):
    script = Path(__file__).parents[2] / "scripts" / "docker-engine"
    done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "scripts/docker-engine start FOLDER" in done.stderr
