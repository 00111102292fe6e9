"""The warm servers of this process: started when needed, replaced when lost, ended with it."""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass, field

from bumpscout_sandbox.errors import SandboxError
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import CheckRow, Job, JobResult
from bumpscout_sandbox.warm import WarmServer
from bumpscout_sandbox.warm_talk import ServerLost

__all__ = ["close_servers", "run_warm", "warm_row"]

MAX_LOST = 3
"""Servers lost in a row, after which this process starts each job cold."""


@dataclass
class _Pool:
    """Idle servers by the number of processors that they were made for; one job each at a time."""

    idle: dict[int, list[WarmServer]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    lost: int = 0
    reason: str = ""

    def take(self, limits: Limits) -> WarmServer | None:
        """Return an idle server or a new one, None where none can be had."""
        with self.lock:
            if self.lost >= MAX_LOST:
                return None
            if servers := self.idle.get(limits.cpus):
                return servers.pop()
        try:
            return WarmServer(limits).__enter__()
        except (ServerLost, SandboxError) as error:
            with self.lock:
                self.lost, self.reason = MAX_LOST, str(error)
            return None

    def give(self, server: WarmServer) -> None:
        """Take back a server that has done its job."""
        with self.lock:
            self.lost = 0
            self.idle.setdefault(server.limits.cpus, []).append(server)

    def lose(self, server: WarmServer, error: ServerLost) -> None:
        """End a server that cannot be trusted with another job."""
        with self.lock:
            self.lost, self.reason = self.lost + 1, str(error)
        server.__exit__()

    def close(self) -> None:
        """End all idle servers."""
        with self.lock:
            servers = [server for group in self.idle.values() for server in group]
            self.idle.clear()
            self.lost, self.reason = 0, ""
        for server in servers:
            server.__exit__()


_POOLS = [_Pool()]
"""The pool of this process is the last; the others belong to those that it was forked from."""


def run_warm(job: Job) -> JobResult | None:
    """Run a job on a warm server.

    A server that is lost on the way is replaced, and the job runs once more from its beginning.

    Returns:
        The result, or None where no server can be had or two were lost: it has to start cold then.
    """
    pool = _POOLS[-1]
    for _ in range(2):
        server = pool.take(job.limits)
        if server is None:
            return None
        try:
            result = server.run(job)
        except ServerLost as error:
            pool.lose(server, error)
        except BaseException:
            server.__exit__()
            raise
        else:
            pool.give(server)
            return result
    return None


def close_servers() -> None:
    """End the warm servers of this process that have no job."""
    _POOLS[-1].close()


def warm_row() -> CheckRow:
    """Say whether this machine offers warm starts; where it does not, the wall is the same."""
    limits = Limits.for_machine(1)
    pool = _POOLS[-1]
    server = pool.take(limits)
    if server is None:
        how = f"not available, each job starts a fresh interpreter: {pool.reason}"
    else:
        pool.give(server)
        how = "fork server, one cage of namespaces a job"
    return CheckRow(what="warm start", ok=True, how=how)


atexit.register(close_servers)
os.register_at_fork(after_in_child=lambda: _POOLS.append(_Pool()))
