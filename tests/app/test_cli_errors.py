"""Bad input at the command line: the right exit code, one paragraph, no traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bumpscout_tools.simulation.layout import write_features_h5

Columns = Callable[[int], dict[str, np.ndarray]]

REQUEST = "Search for a new narrow dijet resonance"


def paragraph(stderr: str) -> str:
    """Return the error at the end of stderr, after checking that it is one paragraph."""
    assert "Traceback" not in stderr
    before, found, message = stderr.rpartition("bumpscout: ")
    assert found, stderr
    assert "bumpscout: " not in before
    assert "\n\n" not in message
    return message


def truncated(path: Path, make_columns: Columns) -> None:
    write_features_h5(path, make_columns(2000))
    path.write_bytes(path.read_bytes()[:5000])


def wrong_columns(path: Path, _: Columns) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group["block0_values"] = np.ones((2000, 2))
        group["block0_items"] = np.array([b"apples", b"pears"])


def no_hdf5(path: Path, _: Columns) -> None:
    path.write_text("pxj1,pyj1\n1,2\n")


def all_nan(path: Path, make_columns: Columns) -> None:
    columns = make_columns(2000)
    columns["pxj1"] = np.full(2000, np.nan)
    write_features_h5(path, columns)


def no_events(path: Path, make_columns: Columns) -> None:
    write_features_h5(path, make_columns(0))


def ten_events(path: Path, make_columns: Columns) -> None:
    write_features_h5(path, make_columns(10))


@pytest.mark.parametrize(
    "make",
    [truncated, wrong_columns, no_hdf5, all_nan, no_events, ten_events],
    ids=lambda f: f.__name__,
)
def test_unusable_file_exits_3_and_leaves_a_failed_result(bumpscout, tmp_path, make, make_columns):
    make(tmp_path / "bad.h5", make_columns)
    done = bumpscout("search", REQUEST, "--data", "bad.h5", "--out", "run")
    assert done.returncode == 3, done.stderr
    assert "bad.h5" in paragraph(done.stderr)
    assert done.stdout == ""
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["verdict"] is None
    assert result["bumps"] == []


def test_missing_file_exits_3_and_makes_no_folder(bumpscout, tmp_path):
    done = bumpscout("search", REQUEST, "--data", "nowhere.h5", "--out", "run")
    assert done.returncode == 3
    assert "nowhere.h5" in paragraph(done.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", REQUEST, "--out", "run"], "--data"),
        (["search", REQUEST, "--data", "x.h5"], "--out"),
        (["search", REQUEST, "--data", "x.h5", "--out", "run", "--model", "gpt-7"], "offline"),
        (["search", REQUEST, "--data", "x.h5", "--out", "run", "--replays", "-1"], "--replays"),
        (["search", REQUEST, "--data", "x.h5", "--out", "run", "--no-such-option"], "--no-such"),
        (["no-such-command"], "no-such-command"),
        (["report", "nowhere"], "nowhere"),
        (["resume", "nowhere"], "nowhere"),
        (["approve", "nowhere"], "nowhere"),
        (["ledger", "verify", "nowhere"], "nowhere"),
        (["runs", "--root", "nowhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_usage_errors_exit_2(bumpscout, tmp_path, arguments, said):
    done = bumpscout(*arguments)
    assert done.returncode == 2
    assert said in paragraph(done.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("occupant", ["notes.txt", "run.json"])
def test_folder_with_other_content_is_refused_and_kept(bumpscout, tmp_path, events, occupant):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / occupant).write_text("mine")
    done = bumpscout("search", REQUEST, "--data", events, "--out", "run")
    assert done.returncode == 2
    assert "run" in paragraph(done.stderr)
    assert [item.name for item in (tmp_path / "run").iterdir()] == [occupant]


def test_file_as_output_folder_exits_2(bumpscout, tmp_path, events):
    (tmp_path / "run").write_text("a file")
    done = bumpscout("search", REQUEST, "--data", events, "--out", "run")
    assert done.returncode == 2
    paragraph(done.stderr)


def test_unwritable_folder_exits_2(bumpscout, events):
    where = "/proc/bumpscout-run"
    done = bumpscout("search", REQUEST, "--data", events, "--out", where)
    assert done.returncode == 2
    assert where in paragraph(done.stderr)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_parent_exits_2(bumpscout, tmp_path, events):
    parent = tmp_path / "locked"
    parent.mkdir(mode=0o555)
    done = bumpscout("search", REQUEST, "--data", events, "--out", parent / "run")
    assert done.returncode == 2
    paragraph(done.stderr)


def test_hostile_text_cannot_control_the_terminal(bumpscout):
    done = bumpscout("search", REQUEST, "--data", "x\x1b[2J\x1b]0;owned\x07.h5", "--out", "run")
    assert done.returncode == 3
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr
    assert "\\x1b" in done.stderr
