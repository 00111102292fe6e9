"""The terminal: progress on stderr, errors as one paragraph, and the exit code of every error."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from bumpscout.words import printable
from bumpscout_tools.errors import BumpscoutError, ConfigurationError

__all__ = [
    "INTERRUPTED",
    "RUN_FILE",
    "Progress",
    "check_interrupt",
    "debug_log",
    "exit_code_of",
    "guarded",
    "say_error",
]

INTERRUPTED = 130
UNEXPECTED = 1
_PLAIN_EVERY_S = 10.0
_LIVE_EVERY_S = 0.1
_LOG = "debug.log"
RUN_FILE = "run.json"
_WRITE_ERRORS = frozenset(
    (errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS)
)

_LOGGER = logging.getLogger("bumpscout.debug")
_LOGGER.propagate = False
_INTERRUPTED = threading.Event()


class Progress:
    """Shows stage, done/total, elapsed time and time left; a live line on a terminal, else lines.

    Messages without a count stay on lines of their own. Without a terminal a count is written when
    its stage begins or ends and every ten seconds between.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to `stream` (default: stderr); `live` defaults to whether that is a terminal."""
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty() if live is None else live
        self._clock = clock
        self._start = clock()
        self._stage = ""
        self._stage_start = self._start
        self._first_done = 0
        self._last_shown = -_PLAIN_EVERY_S
        self._last_line = ""
        self._open_line = False
        self._lock = threading.Lock()

    def __call__(
        self, stage: str, message: str, done: int | None = None, total: int | None = None
    ) -> None:
        """Show where the search is.

        Args:
            stage: short name; the estimate of the time left restarts with each stage.
            message: what is being done.
            done: units done, or None where there is nothing to count.
            total: all units.

        Raises:
            KeyboardInterrupt: if the search was interrupted.
        """
        check_interrupt()
        with self._lock:
            now = self._clock()
            fresh = stage != self._stage
            if fresh:
                self._finish_line()
                self._stage, self._stage_start, self._first_done = stage, now, done or 0
            line = self._line(now, message, done, total)
            said = done is None
            due = fresh or said or done == total
            if self._live:
                if due or now - self._last_shown >= _LIVE_EVERY_S:
                    if said:
                        self._finish_line()
                    self._rewrite(line)
                    self._last_shown = now
            elif (due or now - self._last_shown >= _PLAIN_EVERY_S) and line != self._last_line:
                self._stream.write(line + "\n")
                self._stream.flush()
                self._last_shown = now
                self._last_line = line

    def close(self) -> None:
        """End the live line, so that what follows starts on a line of its own."""
        with self._lock:
            self._finish_line()

    def _line(self, now: float, message: str, done: int | None, total: int | None) -> str:
        parts = [f"[{_clock_time(now - self._start)}] {self._stage}: {message}"]
        if done is not None and total:
            parts.append(f"{done}/{total}")
            gained = done - self._first_done
            if gained > 0 and done < total:
                left = (now - self._stage_start) / gained * (total - done)
                parts.append(f"about {_clock_time(left)} left")
        return printable("  ".join(parts), 400).replace("\n", " ")

    def _rewrite(self, line: str) -> None:
        width = shutil.get_terminal_size().columns
        self._stream.write("\r\x1b[2K" + line[: max(20, width - 1)])
        self._stream.flush()
        self._open_line = True

    def _finish_line(self) -> None:
        if self._open_line:
            self._stream.write("\n")
            self._stream.flush()
            self._open_line = False


def _is_run(folder: Path) -> bool:
    try:
        return (folder / RUN_FILE).is_file()
    except OSError:
        return False


def _clock_time(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of an error; this is the only place that decides it."""
    if isinstance(error, BumpscoutError):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else UNEXPECTED


def say_error(message: str) -> None:
    """Write one paragraph to stderr; foreign text in it is made harmless."""
    flat = " ".join(printable(f"bumpscout: {message}", 4000).split())
    width = min(100, shutil.get_terminal_size().columns)
    text = textwrap.fill(flat, width, break_long_words=False, break_on_hyphens=False)
    sys.stderr.write(text + "\n")


class _QuietFileHandler(logging.FileHandler):
    """Writes what it can: a full disk must not hide the error that is being reported."""

    def handleError(self, record: logging.LogRecord) -> None:  # name of the base class
        """Lose the record."""


@contextlib.contextmanager
def debug_log(folder: Path | None) -> Iterator[Path | None]:
    """Send tracebacks to ``debug.log`` of a run folder, where there is one, inside the block."""
    path = folder / _LOG if folder is not None else None
    handler: logging.Handler = logging.NullHandler()
    try:
        if path is not None and (path.parent / RUN_FILE).is_file() and not path.is_symlink():
            handler = _QuietFileHandler(path, encoding="utf-8", errors="backslashreplace")
        else:
            path = None
    except OSError:
        path = None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    _LOGGER.addHandler(handler)
    try:
        yield path
    finally:
        _LOGGER.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


def guarded(action: Callable[[], None], folder: Path | None = None) -> int:
    """Run a command and return its exit code; errors become one paragraph on stderr.

    Args:
        action: the command.
        folder: run folder that receives the traceback of an unexpected error.
    """
    try:
        with _signals(), _refused_files_said():
            action()
    except KeyboardInterrupt as error:
        more = ""
        if folder is not None and _is_run(folder):
            more = f" What was finished is kept; go on with: bumpscout resume {folder}"
        say_error(f"interrupted.{more}")
        return exit_code_of(error)
    except BumpscoutError as error:
        say_error(str(error))
        return exit_code_of(error)
    except BrokenPipeError:
        sys.stdout = None
        return UNEXPECTED
    except Exception as error:
        with debug_log(folder) as path:
            _LOGGER.exception("unexpected error")
        where = f" The traceback is in {path}." if path else ""
        say_error(
            f"unexpected {type(error).__name__}: {error}.{where} This is a defect of bumpscout; "
            "please report it with the command that you ran."
        )
        return exit_code_of(error)
    return 0


@contextlib.contextmanager
def _refused_files_said() -> Iterator[None]:
    """Turn a full disk or a missing permission, wherever it struck, into a sentence.

    Raises:
        ConfigurationError: naming the file, where the system does.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITE_ERRORS:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise ConfigurationError(
            f"the operating system refused a file{where}: {error.strerror}. Choose a folder that "
            "you may read and write and that has room; what was finished is kept."
        ) from error


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if a signal came whose exception was lost in somebody's cleaning up.

    Raises:
        KeyboardInterrupt: if the interrupt or terminate signal came.
    """
    if _INTERRUPTED.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        _INTERRUPTED.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _INTERRUPTED.clear()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
