"""Progress and errors on the terminal."""

from __future__ import annotations

import io
import signal
from pathlib import Path

import pytest

from bumpscout.console import Progress, guarded
from bumpscout_sandbox.errors import LedgerBroken, SandboxUnavailable
from bumpscout_tools.errors import ConfigurationError, InputDataError


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_plain_progress_is_sparse_and_estimates_the_time_left(clock):
    stream = io.StringIO()
    progress = Progress(stream, clock=clock)
    for done in range(101):
        clock.now = float(done)
        progress("replays", "null replays", done, 100)
    lines = stream.getvalue().splitlines()
    assert 10 <= len(lines) <= 13
    assert lines[1] == "[0:10] replays: null replays  10/100  about 1:30 left"
    assert lines[-1] == "[1:40] replays: null replays  100/100"


def test_plain_progress_keeps_every_message(clock):
    stream = io.StringIO()
    progress = Progress(stream, clock=clock)
    for word in ("one", "two", "two", "three"):
        progress("plan", word)
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["one", "two", "three"]


def test_live_progress_rewrites_one_line_and_ends_it(clock):
    stream = io.StringIO()
    progress = Progress(stream, live=True, clock=clock)
    progress("plan", "understood")
    for done in range(5):
        clock.now += 1
        progress("replays", "null replays", done, 5)
    progress.close()
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().endswith("\n")


def test_progress_escapes_what_it_shows(clock):
    stream = io.StringIO()
    Progress(stream, clock=clock)("plan", "not understood: \x1b[2J\nbumpscout: fake")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("the option"), 2),
        (InputDataError("the file"), 3),
        (LedgerBroken("line 4"), 3),
        (SandboxUnavailable("no wall"), 4),
        (KeyboardInterrupt(), 130),
        (ValueError("a defect"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_code_and_one_paragraph(capsys, error, code):
    def action() -> None:
        raise error

    assert guarded(action) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("bumpscout: ")
    assert str(error) in said.err
    assert "Traceback" not in said.err
    assert said.err.count("\n\n") == 0


def test_an_unexpected_error_leaves_its_traceback_in_the_run_folder(capsys, tmp_path: Path):
    def action() -> None:
        raise ZeroDivisionError("division by zero")

    (tmp_path / "run.json").write_text("{}")
    assert guarded(action, tmp_path) == 1
    assert "debug.log" in capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in (tmp_path / "debug.log").read_text()


def test_a_folder_that_is_no_run_gets_no_log(capsys, tmp_path: Path):
    def action() -> None:
        raise ZeroDivisionError

    assert guarded(action, tmp_path) == 1
    assert "debug.log" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_lost_interrupt_is_found_again_at_the_next_progress(capsys):
    progress = Progress(io.StringIO())

    def action() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            progress("scan", "goes on as if nothing had happened")

    assert guarded(action) == 130
    assert "interrupted" in capsys.readouterr().err
