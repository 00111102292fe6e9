"""Kept results are told apart by the code that made them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import bumpscout_tools
from bumpscout_tools.code import code_sha256


def digest_of(root: Path) -> str:
    """Return what a copy of the library says of itself."""
    line = "from bumpscout_tools.code import code_sha256; print(code_sha256())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {line}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_changed_line_changes_the_hash_and_nothing_else_does(tmp_path: Path) -> None:
    source = Path(bumpscout_tools.__file__).parent
    copy = tmp_path / "bumpscout_tools"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert digest_of(tmp_path) == code_sha256()
    with (copy / "scan" / "null.py").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert digest_of(tmp_path) != code_sha256()
