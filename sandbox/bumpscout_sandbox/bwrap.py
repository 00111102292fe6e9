"""The bubblewrap provider: runs a job in fresh namespaces, as root and as a plain user."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from bumpscout_sandbox.bwrap_command import (
    USER_NAMESPACES,
    Descriptors,
    bubblewrap,
    folders,
    input_mounts,
    is_root,
    launcher,
    namespaces,
    restrictions,
    sealed,
)
from bumpscout_sandbox.checks import check_rows
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.process import OutputPipes, WallProcess
from bumpscout_sandbox.provider import CheckRow, Job, JobResult
from bumpscout_sandbox.runtime import SCRIPT_AT, interpreter, job_environment, job_uid
from bumpscout_sandbox.seccomp import filter_program
from bumpscout_sandbox.warm_pool import close_servers, run_warm
from bumpscout_sandbox.watch import watch_job
from bumpscout_tools.errors import ConfigurationError

__all__ = ["BubblewrapProvider"]


@dataclass(frozen=True)
class BubblewrapProvider:
    """Runs jobs with bubblewrap.

    Started by root, a job gets a user id of its own, which exists nowhere else, without
    capabilities and without a user namespace; started by a plain user, it gets a user namespace in
    which no other can be made. Jobs are forked from a warm server of this process, each into
    namespaces of its own; where no server can be had, and for jobs that ask for it, each starts a
    fresh interpreter.
    """

    name: str = "bubblewrap"

    def check(self) -> list[CheckRow]:
        """Say what this machine offers; includes a trial run. See `Provider.check`."""
        return check_rows(self, is_root(), filter_program() is not None)

    def run(self, job: Job) -> JobResult:
        """Run one job. See `Provider.run`."""
        if job.limits.gpus:
            raise ConfigurationError(
                "The bubblewrap sandbox passes no graphics processors through; use the Docker "
                "sandbox, or run without them."
            )
        result = None if job.cold else run_warm(job)
        return self._run_cold(job) if result is None else result

    def close(self) -> None:
        """End the warm servers of this process. See `Provider.close`."""
        close_servers()

    def _run_cold(self, job: Job) -> JobResult:
        uid = job_uid() if is_root() else os.geteuid()
        texts = {
            SCRIPT_AT: job.script.encode("utf-8", "surrogatepass"),
            "/etc/passwd": b"bumpscout:x:%d:%d::/tmp:/bin/sh\n" % (uid, uid),
        }
        with Descriptors() as descriptors, contextlib.ExitStack() as stack:
            command = [bubblewrap(), *namespaces(), *folders(job.limits.workspace_bytes)]
            command += [*input_mounts(texts, job.inputs, descriptors), *sealed()]
            if program := filter_program():
                command += ["--seccomp", str(descriptors.text(program))]
            process = WallProcess(
                command,
                [*launcher(), *restrictions(job.limits, uid), *interpreter()],
                job_environment(job.limits),
                tuple(descriptors.numbers),
                OutputPipes(job.limits.output_bytes),
            )
            try:
                stack.enter_context(process)
            except SandboxUnavailable as error:
                raise SandboxUnavailable(
                    f"bubblewrap does not start: {error} {USER_NAMESPACES}"
                ) from error
            return watch_job(process, job)
