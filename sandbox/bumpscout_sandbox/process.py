"""One bubblewrap process: starts it, holds on to its folders, reads its output, kills it whole.

The job's folders are tmpfs mounts that exist only inside its namespaces. A small launcher inside
waits before the script starts; meanwhile this side opens the folders through ``/proc/PID/root``.
An open descriptor keeps a tmpfs alive, so that outputs are read when nothing inside can change
them any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from bumpscout_sandbox.errors import SandboxFailure, SandboxUnavailable

__all__ = ["FIRST_PROCESS", "LAUNCHER", "OutputPipes", "WallProcess", "await_end"]

LAUNCHER = ("/bin/sh", "-c", 'printf r; read -r go || exit 97; exec "$@" </dev/null', "sh")
"""Says it stands, waits for a line, becomes the command; nothing of the job has run before."""

FIRST_PROCESS = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.write(1, b"r")
if os.read(0, 1) != b"\\n":
    os._exit(97)
child = os.fork()
if child == 0:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.execv(sys.argv[1], sys.argv[1:])
ended = 0
while ended != child:
    ended, status = os.wait()
code = os.waitstatus_to_exitcode(status)
os._exit(code if code >= 0 else 128 - code)
"""
"""The same as first process of the job, whose command is its child.

For a plain user's job: bubblewrap's own first process would run as the same user, and so would lie
open to the job with its memory, its folders and the pipe on which it reports the exit status. This
one is not dumpable (``PR_SET_DUMPABLE``), which closes all of that.
"""

CHUNK = 1 << 16
START_S = 30.0
DRAIN_S = 5.0
REAP_S = 5.0


@dataclass
class OutputPipes:
    """Reads stdout and stderr of a job up to a cap.

    Attributes:
        cap: bytes kept of each.
        stdout: what has been read.
        stderr: likewise.
        truncated: whether there was more than the cap.
    """

    cap: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    truncated: bool = False
    _sinks: dict[int, bytearray] = field(default_factory=dict)

    def attach(self, stdout: int, stderr: int) -> None:
        """Read from these descriptors, which stay the caller's."""
        self._sinks = {stdout: self.stdout, stderr: self.stderr}

    @property
    def open(self) -> bool:
        """Return whether somebody may still write."""
        return bool(self._sinks)

    def read(self, timeout_s: float, *others: int) -> list[int]:
        """Read what has been written so far, waiting at most `timeout_s`.

        Args:
            timeout_s: seconds.
            others: descriptors whose readiness ends the wait too.

        Returns:
            Those of `others` that are ready.
        """
        ready, _, _ = select.select([*self._sinks, *others], [], [], timeout_s)
        for descriptor in set(ready) & set(self._sinks):
            chunk = os.read(descriptor, CHUNK)
            sink = self._sinks[descriptor]
            if not chunk:
                del self._sinks[descriptor]
                continue
            room = self.cap - len(sink)
            self.truncated = self.truncated or len(chunk) > room
            sink += chunk[:room]
        return [descriptor for descriptor in others if descriptor in ready]

    def drain(self) -> None:
        """Read what is left in the pipes of a dead job, up to the cap."""
        deadline = time.monotonic() + DRAIN_S
        while self._sinks and not self.truncated and time.monotonic() < deadline:
            self.read(0.5)


@dataclass
class WallProcess:
    """A running job.

    Attributes:
        command: bubblewrap with all of its arguments but ``--info-fd``, without the command to run.
        inside: the launcher with the command that it starts.
        environment: the whole environment of the job.
        descriptors: what bubblewrap reads at the start; closed in the job.
        output: what the job wrote.
        cpu_s: processor time of the ended job, as the kernel says.
    """

    command: Sequence[str]
    inside: Sequence[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...]
    output: OutputPipes
    cpu_s: float = 0.0
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        """Start bubblewrap and wait until its mounts stand.

        Raises:
            SandboxUnavailable: if bubblewrap ended instead; the message quotes it.
        """
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever is left and release all descriptors."""
        self.kill()
        self._stack.close()

    def _start(self) -> None:
        self._init = -1
        read, write = os.pipe2(os.O_CLOEXEC)
        self._stack.callback(os.close, read)
        with contextlib.ExitStack() as once:
            once.callback(os.close, write)
            self._popen = subprocess.Popen(
                [*self.command, "--info-fd", str(write), *self.inside],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
                pass_fds=(*self.descriptors, write),
                start_new_session=True,
            )
        self._stack.enter_context(self._popen)
        if self._popen.stdout is not None and self._popen.stderr is not None:
            self.output.attach(self._popen.stdout.fileno(), self._popen.stderr.fileno())
        deadline = time.monotonic() + START_S
        while not self.output.stdout and self.output.open and time.monotonic() < deadline:
            self.output.read(1.0)
        if bytes(self.output.stdout) != b"r":
            self.kill()
            raise SandboxUnavailable(self.output.stderr.decode("utf-8", "replace").strip()[:500])
        self.output.stdout.clear()
        self._child = int(json.loads(os.read(read, 4096))["child-pid"])
        self._init = os.pidfd_open(self._child)
        self._stack.callback(os.close, self._init)

    def open_folder(self, path: str) -> int:
        """Open a folder of the job; call it before `go`.

        Raises:
            SandboxFailure: if the kernel does not let this process look into its own job.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            folder = os.open(f"/proc/{self._child}/root{path}", flags)
        except OSError as error:
            raise SandboxFailure(
                f"The folder {path} of a started job cannot be opened: {error.strerror}. Another "
                "security module may forbid it; run as the user that owns the session."
            ) from error
        self._stack.callback(os.close, folder)
        return folder

    def go(self) -> None:
        """Let the script start."""
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.write(b"\n")
                self._popen.stdin.close()

    def running(self) -> Iterator[float]:
        """Yield the seconds since `go` while the job runs, reading its output meanwhile."""
        start = time.monotonic()
        pause = 0.002
        while self._popen.poll() is None:
            self.output.read(pause)
            pause = min(pause * 1.5, 0.05)
            yield time.monotonic() - start

    def kill(self) -> int | None:
        """End every process of the job and return the exit status that bubblewrap reported.

        Raises:
            SandboxFailure: if a process outlives the kill.
        """
        if not hasattr(self, "_popen"):
            return None
        status = self._popen.poll()
        if self._init >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            # The first process of a PID namespace is gone only after all others are.
            await_end(self._init, f"process {self._child}")
        # bubblewrap's outer process sees the end of the inner one and reaps it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(REAP_S if self._init >= 0 else 0)
        if self._popen.returncode is None:
            self._popen.kill()
        self._popen.wait()
        if self._init >= 0:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, os.WNOHANG)
        return status


def await_end(pidfd: int, what: str) -> None:
    """Wait until a killed process is gone.

    Raises:
        SandboxFailure: if it is not.
    """
    if not select.select([pidfd], [], [], START_S)[0]:
        raise SandboxFailure(f"The sandboxed {what} does not die.")
