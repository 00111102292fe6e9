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

__all__ = ["LAUNCHER", "WallProcess"]

LAUNCHER = ("/bin/sh", "-c", 'printf r; read -r go || exit 97; exec "$@" </dev/null', "sh")
"""Says it stands, waits for a line, becomes the command; nothing of the job has run before."""

CHUNK = 1 << 16
START_S = 30.0
DRAIN_S = 5.0


@dataclass
class WallProcess:
    """A running job.

    Attributes:
        command: bubblewrap with all of its arguments but ``--info-fd``, without the launcher.
        inside: the command that the launcher becomes.
        environment: the whole environment of the job.
        descriptors: what bubblewrap reads at the start; closed in the job.
        output_bytes: cap of stdout and stderr, each.
    """

    command: Sequence[str]
    inside: Sequence[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...]
    output_bytes: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    truncated: bool = False
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
                [*self.command, "--info-fd", str(write), *LAUNCHER, *self.inside],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
                pass_fds=(*self.descriptors, write),
                start_new_session=True,
            )
        self._stack.enter_context(self._popen)
        self._pipes = {
            stream.fileno(): sink
            for stream, sink in (
                (self._popen.stdout, self.stdout),
                (self._popen.stderr, self.stderr),
            )
            if stream is not None
        }
        deadline = time.monotonic() + START_S
        while not self.stdout and self._pipes and time.monotonic() < deadline:
            self.read(1.0)
        if bytes(self.stdout) != b"r":
            self.kill()
            raise SandboxUnavailable(self.stderr.decode("utf-8", "replace").strip()[:500])
        self.stdout.clear()
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

    def read(self, timeout_s: float) -> None:
        """Read what has been written so far, up to the cap, waiting at most `timeout_s`."""
        ready, _, _ = select.select(list(self._pipes), [], [], timeout_s)
        for descriptor in ready:
            chunk = os.read(descriptor, CHUNK)
            sink = self._pipes[descriptor]
            if not chunk:
                del self._pipes[descriptor]
                continue
            room = self.output_bytes - len(sink)
            self.truncated = self.truncated or len(chunk) > room
            sink += chunk[:room]

    def running(self) -> Iterator[float]:
        """Yield the seconds since `go` while the job runs, reading its output meanwhile."""
        start = time.monotonic()
        pause = 0.002
        while self._popen.poll() is None:
            self.read(pause)
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
        if status is None:
            self._popen.kill()
        self._popen.wait()
        if self._init >= 0:
            # The first process of a PID namespace is gone only after all others are.
            if not select.select([self._init], [], [], START_S)[0]:
                raise SandboxFailure(f"The sandboxed process {self._child} does not die.")
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, os.WNOHANG)
        return status

    def drain(self) -> None:
        """Read what is left in the pipes of a dead job, up to the cap."""
        deadline = time.monotonic() + DRAIN_S
        while self._pipes and not self.truncated and time.monotonic() < deadline:
            self.read(0.5)
