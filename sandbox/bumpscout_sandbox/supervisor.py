"""First process inside a container: starts the script, watches it, ends it, hands outputs out.

It runs inside the wall of Docker or Apptainer, as the same user as the script, and needs nothing
but the standard library and `bumpscout_sandbox.watchdog`. The script cannot reach it: the kernel
lets no signal from inside through to the first process of a PID namespace, and it is not dumpable,
so that its memory, environment and descriptors are closed to everybody without privileges.

It reads its orders from ``/job/plan.json`` and says everything on stdout: first `HELLO`, at the end
one line of JSON and after it the bytes that this line announces (stdout, stderr, files). Its stdin
is the leash: ``stop`` ends the job, and so does its end, because then the owner is dead.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import select
import signal
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bumpscout_sandbox.watchdog import Watchdog

if TYPE_CHECKING:
    from bumpscout_sandbox.limits import Limits
    from bumpscout_sandbox.provider import Outcome

__all__ = ["HELLO", "PLAN_AT", "describe", "explain", "grown", "load_filter", "main", "open_output"]

HELLO = b"bumpscout-supervisor 1\n"
PLAN_AT = "/job/plan.json"
CHUNK = 1 << 16
POLL_S = 0.05
DRAIN_S = 5.0
NOT_FIRST = 96
"""Exit status where this is not the first process of a PID namespace."""
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
SECCOMP_MODE_FILTER = 2


def main() -> None:
    """Carry out the plan, answer and end."""
    if os.getpid() != 1:
        # All processes that it may kill are killed at the end: that must be those of the job.
        os.write(2, b"The supervisor is not the first process of a PID namespace.\n")
        os._exit(NOT_FIRST)
    _prctl(PR_SET_DUMPABLE, 0)
    # The only signal for which Python has a handler, and so the only one that would come through.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    plan = json.loads(Path(PLAN_AT).read_text(encoding="utf-8"))
    _write(HELLO)
    os._exit(_Supervisor(plan, SimpleNamespace(**plan["limits"])).run())


@dataclass
class _Supervisor:
    """One job; `plan` is written by `bumpscout_sandbox.supervised`."""

    plan: dict[str, Any]
    limits: Any
    pipes: dict[int, bytearray] = field(default_factory=dict)
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    truncated: bool = False
    child: int = 0
    status: int | None = None
    asked: tuple[Outcome, str] | None = None

    def run(self) -> int:
        folders = {
            path: os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in self.plan["workspaces"]
        }
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        # Folders that share a file system with others have to be counted file by file.
        counted = folders if self.plan["walk"] else {}
        watchdog = Watchdog(self.limits, proc, {} if counted else folders)
        self._start()
        start = time.monotonic()
        stopped = self._watch(watchdog, start, counted)
        wall_s = time.monotonic() - start
        self._end_all()
        watchdog.settle()
        watchdog.full |= {path for path, top in folders.items() if os.fstatvfs(top).f_ffree == 0}
        status = None if stopped else self.status
        if stopped is None:
            stderr = self.stderr.decode("utf-8", "replace")
            stopped = explain(status, stderr, self.truncated, watchdog.cpu_s, watchdog)
        self._answer(stopped, status, wall_s, watchdog, folders["/out"])
        return 0

    def _start(self) -> None:
        out, out_inside = os.pipe()
        err, err_inside = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            try:
                os.setsid()
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(out_inside, 1)
                os.dup2(err_inside, 2)
                os.closerange(3, 1024)
                self._become()
            except (OSError, ValueError) as error:
                os.write(2, f"The script cannot be started: {error}\n".encode())
            finally:
                os._exit(127)
        os.close(out_inside)
        os.close(err_inside)
        self.pipes = {out: self.stdout, err: self.stderr}

    def _become(self) -> None:
        limits = self.limits
        seconds = max(1, round(limits.cpu_s))
        bounds = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_CPU: seconds,
            resource.RLIMIT_FSIZE: limits.workspace_bytes,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_MSGQUEUE: 0,
            resource.RLIMIT_NOFILE: 1024,
            resource.RLIMIT_NPROC: limits.processes,
            resource.RLIMIT_RTPRIO: 0,
        }
        if limits.gpus == 0:
            # The address space that a GPU driver reserves is far larger than what it uses.
            bounds[resource.RLIMIT_DATA] = limits.memory_bytes
        for which, bound in bounds.items():
            hard = seconds + 2 if which == resource.RLIMIT_CPU else bound
            resource.setrlimit(which, (bound, hard))
        with contextlib.suppress(OSError):
            # Where memory runs out, the script goes first.
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        load_filter(bytes.fromhex(self.plan["filter"]))
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.chdir("/out")
        os.umask(0o022)
        command = self.plan["command"]
        os.execve(command[0], command, self.plan["environment"])

    def _watch(
        self, watchdog: Watchdog, start: float, counted: dict[str, int]
    ) -> tuple[Outcome, str] | None:
        pause, due = 0.002, 0.0
        while not self._reap():
            self._read(pause, leash=True)
            pause = min(pause * 1.5, POLL_S)
            if self.truncated:
                return (
                    "output_truncated",
                    f"stopped above {self.limits.output_bytes} bytes of output",
                )
            now = time.monotonic()
            if now < due:
                continue
            due = now + min(pause, POLL_S)
            stopped = watchdog.poll(now - start) or self.asked or grown(counted, self.limits)
            if stopped is not None:
                return stopped
        return None

    def _reap(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.child:
                    code = os.waitstatus_to_exitcode(status)
                    self.status = 128 - code if code < 0 else code
        return self.status is not None

    def _read(self, timeout_s: float, *, leash: bool) -> None:
        sources = [*self.pipes, 0] if leash else list(self.pipes)
        for descriptor in select.select(sources, [], [], timeout_s)[0]:
            chunk = os.read(descriptor, CHUNK)
            if descriptor == 0:
                if not chunk:
                    # The owner is dead: nobody waits for an answer.
                    os._exit(1)
                self.asked = "killed", "stopped by the caller"
            elif not chunk:
                del self.pipes[descriptor]
                os.close(descriptor)
            else:
                sink = self.pipes[descriptor]
                room = self.limits.output_bytes - len(sink)
                self.truncated = self.truncated or len(chunk) > room
                sink += chunk[:room]

    def _end_all(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
                os.waitpid(-1, 0)
        deadline = time.monotonic() + DRAIN_S
        while self.pipes and not self.truncated and time.monotonic() < deadline:
            self._read(0.5, leash=False)

    def _answer(
        self,
        stopped: tuple[Outcome, str] | None,
        status: int | None,
        wall_s: float,
        watchdog: Watchdog,
        out: int,
    ) -> None:
        files: list[dict[str, Any]] = []
        sources: list[tuple[int, int]] = []
        for spec in self.plan["outputs"]:
            entry: dict[str, Any] = {"name": spec["name"], "size": 0, "refusal": ""}
            try:
                descriptor, size = open_output(out, spec["name"], spec["max_bytes"])
            except FileNotFoundError:
                entry["refusal"] = "missing"
            except ValueError as refusal:
                entry["refusal"] = str(refusal)
            except OSError as error:
                entry["refusal"] = f"cannot be collected: {error.strerror}"
            else:
                entry["size"] = size
                sources.append((descriptor, size))
            files.append(entry)
        answer = {
            "outcome": stopped[0] if stopped else "ok" if status == 0 else "error",
            "reason": stopped[1] if stopped else "",
            "exit_status": status,
            "wall_s": wall_s,
            "cpu_s": watchdog.cpu_s,
            "max_rss_bytes": watchdog.max_rss_bytes,
            "stdout": len(self.stdout),
            "stderr": len(self.stderr),
            "files": files,
        }
        _write(json.dumps(answer).encode() + b"\n")
        _write(bytes(self.stdout))
        _write(bytes(self.stderr))
        for descriptor, size in sources:
            while size > 0 and (chunk := os.read(descriptor, min(CHUNK, size))):
                _write(chunk)
                size -= len(chunk)


def grown(folders: dict[str, int], limits: Limits) -> tuple[Outcome, str] | None:
    """Return the outcome and the reason where a folder holds more than it may, or None.

    Args:
        folders: path shown in messages -> open descriptor.
        limits: of the job.
    """
    for path, top in folders.items():
        size = files = 0
        for _, below, names, folder in os.fwalk(dir_fd=top, onerror=lambda _: None):
            files += len(below) + len(names)
            for name in names:
                with contextlib.suppress(OSError):
                    size += 512 * os.stat(name, dir_fd=folder, follow_symlinks=False).st_blocks
            if size > limits.workspace_bytes:
                return "disk", f"stopped above {limits.workspace_bytes} bytes in {path}"
            if files > limits.workspace_inodes:
                return "disk", f"stopped above {limits.workspace_inodes} files in {path}"
    return None


def explain(
    status: int | None, stderr: str, truncated: bool, cpu_s: float, watchdog: Watchdog
) -> tuple[Outcome, str] | None:
    """Return which limit ended a script that ended by itself, and in which words.

    The kernel stops one process at its own limit; these are labels, the wall does not rest on them.

    Args:
        status: exit status of the script, 128+n after signal n.
        stderr: of the script.
        truncated: whether it wrote more than may leave.
        cpu_s: processor time that it used.
        watchdog: after its last look.
    """
    limits = watchdog.limits
    if truncated:
        return "output_truncated", f"cut off above {limits.output_bytes} bytes of output"
    if status == 0:
        return None
    if status in (128 + signal.SIGXCPU, 128 + signal.SIGKILL) and cpu_s >= 0.9 * limits.cpu_s:
        return "timeout", f"stopped after {limits.cpu_s:g} s of processor time"
    if watchdog.full:
        each = f"{limits.workspace_bytes} bytes, {limits.workspace_inodes} files"
        return "disk", f"out of disk space in {', '.join(sorted(watchdog.full))} ({each})"
    refused = r"MemoryError|bad_alloc|Cannot allocate memory|Unable to allocate"
    if re.search(refused, stderr[-4000:]):
        return "memory", f"refused memory above {limits.memory_bytes} bytes"
    return None


def open_output(workspace: int, name: str, max_bytes: int) -> tuple[int, int]:
    """Open one output of a dead job, following nothing.

    Args:
        workspace: open descriptor of the workspace folder.
        name: of the output.
        max_bytes: what may leave.

    Returns:
        An open descriptor and the size in bytes.

    Raises:
        FileNotFoundError: if it was not written.
        ValueError: if it may not leave; the message continues a sentence on the file.
        OSError: if it cannot be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    kind = os.stat(name, dir_fd=workspace, follow_symlinks=False).st_mode
    if not stat.S_ISREG(kind):
        raise ValueError(f"is refused: {describe(kind)}, no regular file")
    source = os.open(name, flags, dir_fd=workspace)
    found = os.fstat(source)
    if stat.S_ISREG(found.st_mode) and found.st_size <= max_bytes:
        return source, found.st_size
    os.close(source)
    raise ValueError(f"is refused: {found.st_size} bytes, at most {max_bytes} may leave")


def describe(mode: int) -> str:
    """Name what a file mode stands for, other than a regular file."""
    for test, text in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return text
    return "a device"


def _write(content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(1, view) :]


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def load_filter(program: bytes) -> None:
    """Bind this process, and all it may start, to a filter of system calls, for good.

    Args:
        program: see `bumpscout_sandbox.seccomp`; nothing is filtered where it is empty.

    Raises:
        OSError: if the kernel refuses.
    """
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if not program:
        return

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    wanted = Program(len(program) // 8, program)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
