"""Sees one job through to its end, whichever way it was started, and says how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bumpscout_sandbox.collect import collect_outputs
from bumpscout_sandbox.mounts import WORKSPACES
from bumpscout_sandbox.process import OutputPipes
from bumpscout_sandbox.provider import Job, JobResult, Outcome
from bumpscout_sandbox.supervisor import explain
from bumpscout_sandbox.watchdog import Watchdog

__all__ = ["JobProcess", "watch_job"]


class JobProcess(Protocol):
    """A job that stands and waits for `go`."""

    output: OutputPipes
    cpu_s: float

    def open_folder(self, path: str) -> int:
        """Return a descriptor of one of the job's folders; it stays the process's."""

    def go(self) -> None:
        """Let the script start."""

    def running(self) -> Iterator[float]:
        """Yield the seconds since `go` while the script runs, reading its output meanwhile."""

    def kill(self) -> int | None:
        """End every process of the job; return the exit status of a script that has ended."""


def watch_job(process: JobProcess, job: Job, baseline_bytes: int = 0) -> JobResult:
    """Run a job under its limits and collect what it leaves.

    Args:
        process: the job, not yet started.
        job: limits, outputs, cancellation.
        baseline_bytes: memory that the job shares with the server that it was forked from.

    Raises:
        SandboxFailure: if the job cannot be looked into or killed.
    """
    folders = {path: process.open_folder(path) for path in WORKSPACES}
    watchdog = Watchdog(job.limits, process.open_folder("/proc"), folders, baseline_bytes)
    stopped: tuple[Outcome, str] | None = None
    wall_s = 0.0
    process.go()
    for wall_s in process.running():
        if job.cancel is not None and job.cancel.is_set():
            stopped = "killed", "stopped by the caller"
        elif process.output.truncated:
            stopped = "output_truncated", f"stopped above {job.limits.output_bytes} bytes of output"
        else:
            stopped = watchdog.poll(wall_s)
        if stopped is not None:
            break
    status = process.kill()
    process.output.drain()
    watchdog.settle()
    cpu_s = max(watchdog.cpu_s, process.cpu_s)
    stderr = process.output.stderr.decode("utf-8", "replace")
    stopped = stopped or explain(status, stderr, process.output.truncated, cpu_s, watchdog)
    artifacts, problems = collect_outputs(folders["/out"], job.outputs, job.collect)
    if stopped is not None:
        problems = (f"The script was {stopped[1]}.", *problems)
    return JobResult(
        outcome=stopped[0] if stopped else "ok" if status == 0 else "error",
        exit_status=status,
        stdout=process.output.stdout.decode("utf-8", "replace"),
        stderr=stderr,
        wall_s=wall_s,
        cpu_s=cpu_s,
        max_rss_bytes=watchdog.max_rss_bytes,
        artifacts=artifacts,
        problems=problems,
    )
