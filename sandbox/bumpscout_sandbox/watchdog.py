"""Watches a running job from outside: memory, processes, processor time, workspace, wall time.

The kernel bounds each process and each workspace by itself; sums over processes are polled here,
through the job's own ``/proc`` (it lists exactly the processes of the job's PID namespace,
whatever they fork).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bumpscout_sandbox.limits import Limits
    from bumpscout_sandbox.provider import Outcome

__all__ = ["Usage", "Watchdog", "read_usage"]

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """One reading of a job.

    Attributes:
        threads: without the namespace's own init.
        cpu_s: seconds.
        rss_bytes: resident memory.
        hidden_bytes: what is not resident and still taken: page tables, swapped memory, and the
            most that the buffers of all sockets can hold.
        pids: without the namespace's own init.
    """

    threads: int
    cpu_s: float
    rss_bytes: int
    hidden_bytes: int
    pids: tuple[str, ...]


def read_usage(proc: int) -> Usage:
    """Read what all processes of a PID namespace use.

    Args:
        proc: descriptor of the namespace's ``/proc``.

    Returns:
        The sums; processes that end meanwhile are left out.
    """
    threads, ticks, pages, hidden = 0, 0, 0, 0
    pids: list[str] = []
    for name in _entries(proc):
        if not name.isdigit():
            continue
        fields = _read(proc, f"{name}/stat").rpartition(b")")[2].split()
        if len(fields) < 22:
            continue
        ticks += sum(int(value) for value in fields[11:15])
        pages += max(int(fields[21]), 0)
        if name != "1":
            threads += int(fields[17])
            pids.append(name)
            hidden += _kib(_read(proc, f"{name}/status"), b"VmPTE:", b"VmSwap:")
    hidden += _sockets(proc) * SOCKET_BYTES
    return Usage(threads, ticks / TICKS_PER_S, pages * PAGE_BYTES, hidden, tuple(pids))


@dataclass
class Watchdog:
    """Decides at each poll whether a job has to be stopped.

    Attributes:
        limits: of the job.
        proc: descriptor of the job's ``/proc``.
        workspaces: path shown in messages -> descriptor of a size-limited tmpfs.
        baseline_bytes: memory that the job shares with the server that it was forked from; its
            limit comes on top.
        cpu_s: processor time at the last poll.
        max_rss_bytes: largest sum of memory seen, what `Usage.hidden_bytes` says among it.
        full: the workspaces that were seen full.
    """

    limits: Limits
    proc: int
    workspaces: dict[str, int]
    baseline_bytes: int = 0
    cpu_s: float = 0.0
    max_rss_bytes: int = 0
    full: set[str] = field(default_factory=set)
    _crowded: int = 0

    def poll(self, wall_s: float) -> tuple[Outcome, str] | None:
        """Return the outcome and the reason for which the job has to be stopped, or None."""
        limits = self.limits
        if wall_s > limits.wall_s:
            return "timeout", f"stopped after {limits.wall_s:g} s of wall time"
        usage = read_usage(self.proc)
        self.cpu_s = max(self.cpu_s, usage.cpu_s)
        if self.cpu_s > limits.cpu_s:
            return "timeout", f"stopped after {limits.cpu_s:g} s of processor time"
        memory = usage.rss_bytes + usage.hidden_bytes
        if memory > limits.memory_bytes + self.baseline_bytes:
            memory = self._proportional(usage) + usage.hidden_bytes
        self.max_rss_bytes = max(self.max_rss_bytes, memory)
        if memory > limits.memory_bytes + self.baseline_bytes:
            return "memory", f"stopped above {limits.memory_bytes} bytes of memory"
        # At the limit twice running: the kernel refuses further processes, the job gains nothing.
        self._crowded = self._crowded + 1 if usage.threads >= limits.processes - 1 else 0
        if self._crowded >= 2:
            return "processes", f"stopped at {limits.processes} processes and threads"
        return self._disk()

    def _disk(self) -> tuple[Outcome, str] | None:
        for path, descriptor in self.workspaces.items():
            state = os.fstatvfs(descriptor)
            if state.f_bavail == 0:
                self.full.add(path)
            files = state.f_files - state.f_ffree
            if files > self.limits.workspace_inodes:
                return "disk", f"stopped above {self.limits.workspace_inodes} files in {path}"
        return None

    def settle(self) -> None:
        """Look at the workspaces once more after the job has ended."""
        self._disk()

    def _proportional(self, usage: Usage) -> int:
        # Pages that a fork shares count once here; the plain sum counts them once a process.
        total = 0
        for name in usage.pids:
            total += _kib(_read(self.proc, f"{name}/smaps_rollup"), b"Pss:")
        return total or usage.rss_bytes


def _kib(text: bytes, *names: bytes) -> int:
    """Return the sum of the named lines of a file of the kernel, in bytes."""
    return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(names))


def _sockets(proc: int) -> int:
    """Return the number of sockets in the network namespace of the first process."""
    words = _read(proc, "1/net/sockstat").partition(b"\n")[0].split()
    return int(words[2]) if words[:2] == [b"sockets:", b"used"] else 0


def _socket_bytes() -> int:
    # A send buffer takes a message as long as it is not full, so it holds two at most; the filter
    # of system calls lets nobody enlarge it.
    try:
        return 2 * int(Path("/proc/sys/net/core/wmem_default").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 2 * 212_992


SOCKET_BYTES = _socket_bytes()


def _entries(proc: int) -> list[str]:
    try:
        return os.listdir(proc)
    except OSError:
        return []


def _read(proc: int, path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
