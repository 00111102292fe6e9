"""A warm server and the jobs that are forked from it, as seen from outside the wall.

The program inside is `bumpscout_sandbox.warm_inside`. Two sockets lead to it, one to its keeper and
one to its zygote; no job ever holds either. Each answer repeats the nonce of its request, and the
status of a job is what the kernel told the zygote: nothing that a job writes is an answer.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bumpscout_sandbox import warm_inside
from bumpscout_sandbox.bwrap_command import (
    Descriptors,
    bubblewrap,
    folders,
    input_mounts,
    is_root,
    namespaces,
    rlimits,
    sealed,
)
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.mounts import WORKSPACES, interpreter_prefixes
from bumpscout_sandbox.process import OutputPipes, await_end
from bumpscout_sandbox.provider import Job, JobResult
from bumpscout_sandbox.runtime import job_environment, job_uid
from bumpscout_sandbox.seccomp import filter_program
from bumpscout_sandbox.warm_talk import ServerLost, close_all, receive_message, send_message
from bumpscout_sandbox.watch import watch_job

__all__ = ["PRELOAD", "WarmServer"]

PRELOAD = (
    "numpy.random",
    "scipy.optimize",
    "scipy.stats",
    "lightgbm",
    "torch",
    "matplotlib.pyplot",
    "pyarrow.parquet",
    "bumpscout_tools.detectors",
    "bumpscout_tools.script",
)
"""What a server has imported before its first job."""

SERVER_AT = "/job/server.py"
JOB_ID = 1000
"""User of a job in the server's user namespace, where the server itself is 0."""
SERVER_WORKSPACE = 64 << 20
LOAD_S, ANSWER_S, END_S, POLL_S = 180.0, 20.0, 5.0, 0.05
FOLDERS = (*WORKSPACES, "/proc")
WATCHED = ("Uid:", "Gid:", "CapEff:", "NoNewPrivs:", "PPid:", "TracerPid:", "State:\tT")
SHARED = 4
"""Processes of the server that the kernel counts with those of a job of a plain user."""


@dataclass
class WarmServer:
    """One server; jobs run in series.

    Attributes:
        limits: of the first job: processors and descriptors of the server are made for these.
        program: text of the program inside.
    """

    limits: Limits
    program: str = field(default_factory=lambda: Path(warm_inside.__file__).read_text("utf-8"))
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        """Start the server and wait until it has loaded the libraries.

        Raises:
            ServerLost: if it does not come up; the message quotes it.
            SandboxUnavailable: if there is no bubblewrap.
        """
        try:
            self._start()
        except ServerLost as error:
            said = self._last_words()
            self.__exit__()
            raise ServerLost(f"{error} It said: {said}" if said else str(error)) from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the server with all that it started."""
        self._stack.close()

    def _start(self) -> None:
        keeper, zygote = (socket.socketpair(type=socket.SOCK_SEQPACKET) for _ in range(2))
        for end in (keeper[0], zygote[0]):
            self._stack.enter_context(end)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._keeper, self._zygote = keeper[0], zygote[0]
        self._errors = os.memfd_create("bumpscout")
        self._stack.callback(os.close, self._errors)
        with keeper[1], zygote[1], Descriptors() as descriptors:
            inside = [sys.executable, "-P", "-s", "-B", SERVER_AT]
            ends = [str(end.fileno()) for end in (keeper[1], zygote[1])]
            command = [bubblewrap(), *namespaces(server=True), *folders(SERVER_WORKSPACE)]
            command += [*input_mounts(self._texts(), {}, descriptors), *sealed(), *inside, *ends]
            passed = (*descriptors.numbers, *(end.fileno() for end in (keeper[1], zygote[1])))
            self._owner = _Owner(command, job_environment(self.limits), passed, self._errors)
            self._owner.begin()
        self._stack.callback(self._end)
        config = {
            "root": is_root(),
            "job_id": JOB_ID,
            "workspaces": WORKSPACES,
            "covered": _covered(),
            "folders": FOLDERS,
            "preload": PRELOAD,
            "filter": base64.b64encode(filter_program() or b"").decode("ascii"),
        }
        send_message(self._keeper, config)
        if is_root():
            message, files, pid = receive_message(self._keeper, ANSWER_S)
            close_all(files)
            if message != {"map": True}:
                raise ServerLost("The warm server does not start.")
            _map_users(pid)
            send_message(self._keeper, {"mapped": True})
        message, files, self._pid = receive_message(self._zygote, LOAD_S)
        close_all(files)
        if not message.get("ready"):
            raise ServerLost("The warm server does not load.")
        self._memory = {name: int(message[name]) for name in ("data_bytes", "rss_bytes")}
        self._threads = int(message["threads"])
        self._state = self._look()

    def _texts(self) -> dict[str, bytes]:
        uid = JOB_ID if is_root() else os.geteuid()
        passwd = b"bumpscout:x:%d:%d::/tmp:/bin/sh\n" % (uid, uid)
        return {SERVER_AT: self.program.encode(), "/etc/passwd": passwd}

    def run(self, job: Job) -> JobResult:
        """Run one job; the server is fit for another one only if this returns.

        Raises:
            ServerLost: if the server died, hangs, or is not what it was.
            SandboxFailure: if a process of the job cannot be killed.
        """
        with _WarmJob(self, job) as process:
            result = watch_job(process, job, self._memory["rss_bytes"])
        found = self._look()
        if found != self._state:
            raise ServerLost(f"The warm server changed from {self._state} to {found}.")
        return result

    def _look(self) -> dict[str, object]:
        # Seen from outside, so that a server that was turned cannot lie about it.
        process = Path("/proc") / str(self._pid)
        try:
            children = (process / "task" / str(self._pid) / "children").read_text().split()
            lines = (process / "status").read_text().splitlines()
            files = len(list((process / "fd").iterdir())) if is_root() else 0
        except OSError as error:
            raise ServerLost(f"The warm server is gone: {error.strerror}.") from error
        status = dict(line.split(":\t", 1) for line in lines if line.startswith(WATCHED))
        return {"children": children, "files": files, **status}

    def ask_cage(self, nonce: str, job: Job) -> list[int]:
        """Return the descriptors of a new cage: its first process, its namespaces, its folders."""
        request = {
            "nonce": nonce,
            "bytes": job.limits.workspace_bytes,
            # One more than allowed, and the root folder: the watchdog sees the one too many.
            "inodes": job.limits.workspace_inodes + 2,
            "inputs": list(job.inputs),
        }
        with Descriptors() as descriptors:
            descriptors.text(job.script.encode("utf-8", "surrogatepass"))
            for path in job.inputs.values():
                descriptors.input(path)
            send_message(self._keeper, request, descriptors.numbers)
        message, files, _ = receive_message(self._keeper, ANSWER_S)
        if message != {"nonce": nonce, "ready": True} or len(files) != 4 + len(FOLDERS):
            close_all(files)
            raise ServerLost(f"The warm server makes no cage: {message}")
        return files

    def ask_job(self, nonce: str, job: Job, files: Sequence[int]) -> None:
        """Let the zygote fork a job into a cage."""
        changed = {
            "memory_bytes": job.limits.memory_bytes + self._memory["data_bytes"],
            "processes": job.limits.processes + (0 if is_root() else SHARED + self._threads),
        }
        bounds = rlimits(job.limits.model_copy(update=changed))
        send_message(self._zygote, {"nonce": nonce, "rlimits": bounds}, files)
        self.answer(nonce, "started")

    def answer(self, nonce: str, what: str) -> dict[str, Any]:
        """Return the zygote's next answer, which has to be about this job."""
        message, files, pid = receive_message(self._zygote, ANSWER_S)
        close_all(files)
        if message.get("nonce") != nonce or what not in message or pid != self._pid:
            raise ServerLost(f"The warm server answers wrongly: {message}")
        return message

    @property
    def zygote(self) -> socket.socket:
        """Return the socket on which the zygote says that a job has ended."""
        return self._zygote

    def _last_words(self) -> str:
        os.lseek(self._errors, 0, os.SEEK_SET)
        return os.read(self._errors, 1 << 16).decode("utf-8", "replace").strip()[-500:]

    def _end(self) -> None:
        # Both processes inside end when nobody holds the other ends any more.
        self._keeper.close()
        self._zygote.close()
        self._owner.end()


@dataclass
class _WarmJob:
    """One job of a server: a cage, at first empty. See `bumpscout_sandbox.watch.JobProcess`."""

    server: WarmServer
    job: Job
    cpu_s: float = 0.0
    _status: int | None = None
    _ended: bool = False
    _asked: bool = False
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        """Ask for the cage."""
        self.output = OutputPipes(self.job.limits.output_bytes)
        self._nonce = secrets.token_hex(16)
        files = self.server.ask_cage(self._nonce, self.job)
        self._stack.callback(close_all, files)
        self._init, self._spaces = files[0], files[1:4]
        self._folders = dict(zip(FOLDERS, files[4:], strict=True))
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever is left and release all descriptors."""
        try:
            self._destroy()
        finally:
            self._stack.close()

    def open_folder(self, path: str) -> int:
        """Return a descriptor of a folder of the cage."""
        return self._folders[path]

    def go(self) -> None:
        """Have the job forked into the cage."""
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        readers, writers = zip(*pipes, strict=True)
        self._stack.callback(close_all, readers)
        self.output.attach(*readers)
        self._asked = True
        try:
            self.server.ask_job(self._nonce, self.job, (*self._spaces, *writers))
        finally:
            close_all(writers)

    def running(self) -> Iterator[float]:
        """Yield the seconds since `go` while the script runs, reading its output meanwhile."""
        start = time.monotonic()
        pause = 0.002
        while True:
            if self.output.read(pause, self.server.zygote.fileno()):
                self._hear()
                return
            pause = min(pause * 1.5, POLL_S)
            yield time.monotonic() - start

    def kill(self) -> int | None:
        """End the cage; return the exit status of a script that had ended by itself."""
        status = self._status
        self._destroy()
        if self._asked and not self._ended:
            self._hear()
        return status

    def _destroy(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init, signal.SIGKILL)
        # The first process of a PID namespace is gone only after all others are.
        await_end(self._init, "cage of a job")

    def _hear(self) -> None:
        said = self.server.answer(self._nonce, "status")
        code = int(said["status"])
        self._ended, self._status = True, code if code >= 0 else 128 - code
        self.cpu_s = float(said["cpu_s"])


class _Owner(threading.Thread):
    """Starts a server and waits for its end.

    The kernel kills a process that asked to die with its parent when the *thread* ends that
    started it; a server outlives the thread that needs it first.
    """

    def __init__(self, command: list[str], environment: dict[str, str], passed: Sequence[int],
                 errors: int) -> None:  # fmt: skip
        super().__init__(name="bumpscout-warm-server", daemon=True)
        self._begun = threading.Event()
        self._popen: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._command, self._environment = command, environment
        self._passed, self._errors = tuple(passed), errors

    def run(self) -> None:
        """Start the command and wait."""
        try:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=self._environment,
                pass_fds=self._passed,
                start_new_session=True,
            )
        except OSError as error:
            self._failure = error
        finally:
            self._begun.set()
        if self._popen is not None:
            self._popen.wait()

    def begin(self) -> None:
        """Start the command and return when it runs.

        Raises:
            ServerLost: if it cannot be started.
        """
        self.start()
        self._begun.wait()
        if self._failure is not None:
            raise ServerLost(f"bubblewrap cannot be started: {self._failure.strerror}.")

    def end(self) -> None:
        """Wait for the end of the command, and see to it."""
        self.join(END_S)
        if self.is_alive() and self._popen is not None:
            self._popen.kill()
            self.join()


def _covered() -> list[str]:
    """Return the folders of the interpreter that the workspaces of a cage cover."""
    found: list[Path] = []
    for prefix in interpreter_prefixes():
        below = any(prefix.is_relative_to(folder) for folder in WORKSPACES)
        if below and not any(prefix.is_relative_to(outer) for outer in found):
            found.append(prefix)
    return [str(prefix) for prefix in found]


def _map_users(pid: int) -> None:
    own = job_uid()
    for name in ("uid_map", "gid_map"):
        (Path("/proc") / str(pid) / name).write_text(f"0 {own} 1\n{JOB_ID} {own + 1} 1\n")
