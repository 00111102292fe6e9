"""What README, Makefile and packaging promise is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bumpscout.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> set[str]:
    """Return the names of all commands, groups resolved."""
    found: set[str] = set()
    for name, command in app.commands.items():
        below = getattr(command, "commands", None)
        found |= {f"{name} {child}" for child in below} if below else {name}
    return found


def test_readme_lists_exactly_the_commands_there_are():
    listed = re.findall(r"^\| `bumpscout ([a-z]+(?: [a-z]+)?)", README, flags=re.MULTILINE)
    assert sorted(listed) == sorted(commands())


def test_options_in_documents_exist():
    known = {
        option for command in app.commands.values() for p in command.params for option in p.opts
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named <= known | {"--help"}


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)$", README, flags=re.MULTILINE)) == {"demo", "test"}
    assert {"demo", "test", "wheel-test"} <= targets


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "SECURITY.md",
        "docs/data.md",
        "docs/detectors.md",
        "docs/features.md",
        "docs/formats.md",
        "docs/result.md",
        "docs/statistics.md",
    ],
)
def test_links_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_constraints_pin_every_dependency_and_no_place():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    pinned = {re.sub(r"[._]", "-", line.split("==")[0]).lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.sub(r"[._]", "-", re.split(r"[\[<>=~ ]", item)[0]).lower() for item in wanted}
    assert names <= pinned
    assert "torch==2.13.0" in lines


def test_exit_codes_in_readme_and_help_are_those_of_the_errors():
    from bumpscout_agents.errors import AgentError, WaitingForApproval
    from bumpscout_sandbox.errors import SandboxError
    from bumpscout_tools.errors import ConfigurationError, InputDataError

    errors = (ConfigurationError, InputDataError, SandboxError, AgentError, WaitingForApproval)
    codes = [error.exit_code for error in errors]
    said = re.search(r"Exit codes: (.*?)\n\n", README, flags=re.DOTALL)
    assert said is not None
    for code in (0, *codes, 130):
        assert re.search(rf"\b{code} ", said[1])


def test_module_runs_like_the_program():
    done = subprocess.run(
        [sys.executable, "-m", "bumpscout", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("bumpscout")
