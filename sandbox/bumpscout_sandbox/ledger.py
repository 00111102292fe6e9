"""The ledger: an append-only, hash-chained list of every test that a search makes.

One line of JSON each: ``n`` (from 1), ``prev`` (hash of the line before, zeros at the start),
``body`` and ``hash`` = sha256(prev + canonical JSON of n and body). A line is on the disk before
the result of its test is known, so tests cannot be forgotten. Chain, head and count together show
any later change: lines cut off at the end show against a `Mark`, head and count as another file
kept them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from bumpscout_sandbox.errors import LedgerBroken
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic

__all__ = ["TORN", "Ledger", "LedgerState", "Mark"]

START = "0" * 64
TORN = "torn-"
"""How the identifiers of tests begin whose line a crash tore."""
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class LedgerState:
    """Hash of the last line and number of lines; all zeros and 0 for an empty ledger."""

    head: str
    count: int


@dataclass(frozen=True)
class Mark:
    """What another file says about a ledger: line number `count` has the hash `head`.

    Attributes:
        where: name of that file, for messages.
        head: hash.
        count: line number; 0 with zeros as hash for a ledger that was empty then.
    """

    where: str
    head: str
    count: int


class Ledger:
    """One open ledger; safe to use from several threads, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger at `path` and continue its chain.

        A last line that a crash left half-written is taken out, and a line ``{"kind":
        "repaired"}`` with the length and hash of the fragment says so.

        Raises:
            LedgerBroken: if the chain does not hold.
            ConfigurationError: if the file cannot be written, or another process holds it.
        """
        self._path = path
        self._lock = threading.Lock()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(path, flags, 0o644)
        except OSError as error:
            raise ConfigurationError(
                f"The ledger {path} cannot be opened: {error.strerror}."
            ) from error
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise ConfigurationError(f"The ledger {path} is no regular file.")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._mend()
            self._state = self.verify(path)
        except BlockingIOError as error:
            os.close(self._file)
            raise ConfigurationError(
                f"The ledger {path} is in use by another process; wait for that search to end."
            ) from error
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        """Return the ledger itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @property
    def path(self) -> Path:
        """Return where the ledger lies."""
        return self._path

    @property
    def head(self) -> str:
        """Return the hash of the last line."""
        return self._state.head

    @property
    def count(self) -> int:
        """Return the number of lines."""
        return self._state.count

    def append(self, line: dict[str, JsonValue]) -> str:
        """Append one line and return its hash once it is on the disk.

        Raises:
            ConfigurationError: if the disk refuses, or the line is no plain JSON (NaN is not).
        """
        return self.append_many([line])

    def append_many(self, lines: Iterable[dict[str, JsonValue]]) -> str:
        """Append lines with one wait for the disk, and return the new head. See `append`."""
        with self._lock:
            state = self._state
            block = bytearray()
            for body in lines:
                line, state = _line(state, body)
                block += line
            self._write(bytes(block))
            self._state = state
            return state.head

    def test_ids(self) -> set[str]:
        """Return the identifiers of all tests in the ledger, each once.

        A line that was torn counts as a test, under an identifier of its own (`TORN`): what it
        said cannot be known any more.
        """
        return _test_ids(self._path)

    @staticmethod
    def count_tests(path: Path) -> tuple[int, int]:
        """Return the number of tests in a verified ledger, and how many of them were torn."""
        found = _test_ids(path)
        return len(found), sum(name.startswith(TORN) for name in found)

    def bodies(self) -> Iterator[JsonValue]:
        """Yield what the lines say, in their order."""
        for _, body in _read(self._path):
            yield body

    def check_contains(self, mark: Mark) -> None:
        """Check that this ledger has the line of a mark.

        Raises:
            LedgerBroken: if it has not: it was cut off, or is another one, or was written anew.
        """
        self.verify(self._path, marks=(mark,))

    def close(self) -> None:
        """Close the file; a closed ledger takes no more lines."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    @classmethod
    def verify(
        cls,
        path: Path,
        *,
        head: str | None = None,
        count: int | None = None,
        marks: Sequence[Mark] = (),
    ) -> LedgerState:
        """Check chain, and head and count where they are known from elsewhere.

        Lines cut off at the end leave a sound but shorter chain: only `head` or `count`, as kept in
        checkpoint, approval and result, show that.

        Args:
            path: of the ledger.
            head: hash that the last line has to have.
            count: number of lines that there have to be.
            marks: lines that there have to be; others may follow them.

        Raises:
            LedgerBroken: naming the first broken line.
        """
        state = LedgerState(START, 0)
        heads = {state.count: state.head}
        wanted_lines = {mark.count for mark in marks}
        try:
            with path.open("rb") as file:
                while line := file.readline(MAX_LINE_BYTES + 1):
                    state = _next(path, state, line)
                    if state.count in wanted_lines:
                        heads[state.count] = state.head
        except OSError as error:
            raise LedgerBroken(f"The ledger {path} cannot be read: {error.strerror}.") from error
        for what, found, wanted in (("line count", state.count, count), ("head", state.head, head)):
            if wanted is not None and found != wanted:
                raise LedgerBroken(
                    f"The ledger {path} has the {what} {found}, but {wanted} was recorded: lines "
                    f"are missing or were added after line "
                    f"{min(state.count, count or state.count)}. Its results cannot be defended; "
                    "restore the file or repeat the search."
                )
        for mark in sorted(marks, key=lambda mark: mark.count):
            if heads.get(mark.count) != mark.head:
                first = min(state.count + 1, mark.count)
                raise LedgerBroken(
                    f"The ledger {path} is broken at line {first}: {mark.where} knows a line "
                    f"{mark.count} with the hash {mark.head[:16]}..., which this ledger of "
                    f"{state.count} lines has not. Lines were cut off, or it is another ledger. "
                    "Its results cannot be defended; restore the file or repeat the search."
                )
        return state

    def _mend(self) -> None:
        """Put a line that says so in the place of one that a crash left half-written."""
        content = self._path.read_bytes()
        kept = content.rfind(b"\n") + 1
        if kept == len(content):
            return
        whole, fragment = content[:kept], content[kept:]
        state = LedgerState(START, 0)
        for line in whole.splitlines(keepends=True):
            state = _next(self._path, state, line)
        said: dict[str, JsonValue] = {
            "kind": "repaired",
            "torn_bytes": len(fragment),
            "torn_sha256": hashlib.sha256(fragment).hexdigest(),
        }
        line, _ = _line(state, said)
        # In one step: a crash in between would lose the fragment and the line about it.
        write_atomic(self._path, whole + line)
        mended = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.close(self._file)
        self._file = mended
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _write(self, block: bytes) -> None:
        if self._file < 0:
            raise ConfigurationError(f"The ledger {self._path} is closed.")
        view = memoryview(block)
        try:
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError as error:
            raise ConfigurationError(
                f"The ledger {self._path} cannot be written ({error.strerror}); no test may run "
                "without its line. Free disk space and resume."
            ) from error


def _next(path: Path, state: LedgerState, line: bytes) -> LedgerState:
    where = f"The ledger {path} is broken at line {state.count + 1}"
    advice = "Its results cannot be defended; restore the file or repeat the search."
    if not line.endswith(b"\n"):
        raise LedgerBroken(f"{where}: its end is missing; opening the search again repairs it.")
    try:
        entry = json.loads(line)
        text = _canonical({"n": entry["n"], "body": entry["body"]})
        number, previous, digest = entry["n"], entry["prev"], entry["hash"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise LedgerBroken(f"{where}: it is no ledger line. {advice}") from None
    if number != state.count + 1:
        raise LedgerBroken(f"{where}: it says it is line {number}. {advice}")
    if previous != state.head:
        raise LedgerBroken(f"{where}: it does not continue the line before. {advice}")
    if digest != _digest(state.head, text) or line != _line(state, entry["body"])[0]:
        raise LedgerBroken(f"{where}: its content was changed. {advice}")
    return LedgerState(digest, number)


def _read(path: Path) -> Iterator[tuple[str, JsonValue]]:
    with path.open("rb") as file:
        for line in file:
            entry = json.loads(line)
            yield entry["hash"], entry["body"]


def _test_ids(path: Path) -> set[str]:
    found = set()
    for digest, body in _read(path):
        if not isinstance(body, dict):
            continue
        if body.get("kind") == "test" and "test_id" in body:
            found.add(str(body["test_id"]))
        elif body.get("kind") == "repaired":
            found.add(f"{TORN}{digest[:16]}")
    return found


def _line(state: LedgerState, body: dict[str, JsonValue]) -> tuple[bytes, LedgerState]:
    count = state.count + 1
    try:
        digest = _digest(state.head, _canonical({"n": count, "body": body}))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"A ledger line is no plain JSON: {error}.") from error
    entry: dict[str, JsonValue] = {"n": count, "prev": state.head, "body": body, "hash": digest}
    return _canonical(entry) + b"\n", LedgerState(digest, count)


def _canonical(value: dict[str, JsonValue]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(previous: str, text: bytes) -> str:
    return hashlib.sha256(previous.encode() + text).hexdigest()
