"""The conversation with a supervisor while its job runs: listen, cancel, never wait for ever."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.provider import Job, JobResult, Outcome
from bumpscout_sandbox.supervised import answer_bytes, read_answer
from bumpscout_sandbox.supervisor import HELLO
from bumpscout_sandbox.text import printable

__all__ = ["Lost", "Talk"]

CHUNK = 1 << 16
POLL_S = 0.05
GRACE_S = 20.0
"""Seconds without a word from a supervisor that is due, after which its container is killed."""
START_S = 60.0
ERROR_BYTES = 1 << 14
Lost = tuple[Outcome, str]


@dataclass
class Talk:
    """Listens to one supervisor.

    Attributes:
        job: what it carries out.
        answer: file that receives its stdout.
        stop: asks it to end the job.
        sources: descriptor -> what is done with the bytes read from it.
    """

    job: Job
    answer: Path
    stop: Callable[[], None]
    sources: dict[int, Callable[[bytes], None]]
    errors: bytearray = field(default_factory=bytearray)
    lost: Lost | None = None
    _heard: int = 0

    def __post_init__(self) -> None:
        """Begin with an empty answer."""
        self.answer.write_bytes(b"")
        self._room = answer_bytes(self.job)

    def hear(self, content: bytes) -> None:
        """Take in stdout."""
        with self.answer.open("ab") as file:
            file.write(content[: self._room - self._heard])
        self._heard += len(content)
        if self._heard > self._room:
            self.lost = "killed", "stopped: its container said more than a supervisor has to say"

    def complain(self, content: bytes) -> None:
        """Take in stderr."""
        self.errors += content[: ERROR_BYTES - len(self.errors)]

    def listen(self) -> None:
        """Listen until the supervisor has ended, or has to be ended by killing its container."""
        limits = self.job.limits
        start = last = time.monotonic()
        asked = False
        while self.sources and self.lost is None:
            ready = select.select(list(self.sources), [], [], POLL_S)[0]
            now = time.monotonic()
            for descriptor in ready:
                content = os.read(descriptor, CHUNK)
                if content:
                    last = now
                    self.sources[descriptor](content)
                else:
                    del self.sources[descriptor]
            if not asked and self.job.cancel is not None and self.job.cancel.is_set():
                asked, last, start = True, now, now - limits.wall_s - START_S
                self.stop()
            if now > max(last, start + limits.wall_s + (0 if self._heard else START_S)) + GRACE_S:
                self.lost = (
                    ("killed", "stopped by the caller")
                    if asked
                    else ("timeout", f"stopped after {limits.wall_s:g} s of wall time")
                )

    def result(self, explain: Callable[[], Lost]) -> JobResult:
        """Return what came of the job; its container is gone.

        Args:
            explain: says how a job ended whose supervisor ended without an answer.

        Raises:
            SandboxUnavailable: if the supervisor never started.
        """
        result = read_answer(self.answer, self.job)
        if result is not None:
            return result
        errors = self.errors.decode("utf-8", "replace").strip()
        if self._heard < len(HELLO):
            raise SandboxUnavailable(
                f"The container ended before the script was started: {printable(errors, 500)}"
            )
        outcome, reason = self.lost or explain()
        return JobResult(
            outcome=outcome,
            exit_status=None,
            stdout="",
            stderr="",
            wall_s=0.0,
            cpu_s=0.0,
            max_rss_bytes=0,
            artifacts={},
            problems=(
                f"The script was {reason}.",
                "Its output and outputs are lost: the whole container was ended.",
            ),
        )
