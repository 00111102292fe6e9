"""The command line stays light: help needs none of the heavy packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "dask",
    "distributed",
    "docker",
    "h5py",
    "jinja2",
    "langgraph",
    "lightgbm",
    "matplotlib",
    "numba",
    "numpy",
    "pyarrow",
    "pydantic",
    "scipy",
    "torch",
)


def test_importing_the_command_line_imports_nothing_heavy():
    code = f"import sys, bumpscout.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        "search",
        "resume",
        "approve",
        "report",
        "runs",
        "doctor",
        "sandbox check",
        "sandbox run",
        "ledger verify",
        "fit",
        "bumphunt",
        "limits",
        "abcd",
        "scan",
        "calibrate",
        "simulate",
        "data list",
        "data fetch",
    ],
)
def test_every_command_explains_itself(bumpscout, command):
    done = bumpscout(*command.split(), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: bumpscout {command}")
    assert done.stderr == ""


def test_version_is_that_of_the_package(bumpscout):
    from importlib.metadata import version

    assert bumpscout("--version").stdout.strip().endswith(version("bumpscout"))
