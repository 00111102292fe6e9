"""The five rooms: imports run downwards only, and modules stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "bumpscout": {"bumpscout_agents", "bumpscout_sandbox", "bumpscout_tools", "bumpscout_prompts"},
    "bumpscout_agents": {"bumpscout_sandbox", "bumpscout_tools", "bumpscout_prompts"},
    "bumpscout_sandbox": {"bumpscout_tools"},
    "bumpscout_tools": set(),
    "bumpscout_prompts": set(),
}
FOLDERS = {
    "bumpscout": "src",
    "bumpscout_agents": "agents",
    "bumpscout_sandbox": "sandbox",
    "bumpscout_tools": "tools",
    "bumpscout_prompts": "prompts",
}
MAX_LINES = 400


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.fixture(scope="module", params=sorted(FOLDERS))
def room(request: pytest.FixtureRequest) -> tuple[str, list[Path]]:
    """One room and its modules."""
    modules = sorted((ROOT / FOLDERS[request.param] / request.param).rglob("*.py"))
    assert modules
    return request.param, modules


def test_imports_run_downwards(room):
    name, modules = room
    for path in modules:
        ours = {module for module in imported(path) if module.split("_")[0] == "bumpscout"}
        assert ours <= ALLOWED[name] | {name}, path


def test_modules_are_small_and_say_what_they_are(room):
    for path in room[1]:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MAX_LINES, path
        assert ast.get_docstring(ast.parse(text)), path


def test_modules_hold_no_exemptions(room):
    marks = ("# " + "noqa", "# " + "type: ignore")
    for path in room[1]:
        text = path.read_text(encoding="utf-8")
        assert not any(mark in text for mark in marks), path
