"""What a sandbox offers on this machine, found out by a trial run inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bumpscout_sandbox.errors import SandboxError
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import CheckRow, Job, Provider
from bumpscout_sandbox.scratch import scratch_folder

if TYPE_CHECKING:
    from bumpscout_sandbox.docker_engine import EngineFacts

__all__ = ["apptainer_rows", "check_rows", "docker_rows"]

MIB = 1 << 20
REMEDY = "Please report this together with `bumpscout doctor --json`."
TRIAL = """
import importlib.util, json, os, socket, sys

def refused(action):
    try:
        action()
    except OSError:
        return True
    return False

def other_room():
    for name in ("bumpscout", "bumpscout_agents", "bumpscout_sandbox", "bumpscout_prompts"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            return True
    return False

import numpy, bumpscout_tools
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines() if ":" in l)
print(json.dumps({
    "vetted library": True,
    "other rooms hidden": not other_room(),
    "privileges": os.getuid() != 0 and int(status["CapEff"], 16) == 0
        and int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"].strip() == "1",
    "network": refused(lambda: socket.create_connection(("192.0.2.1", 80), timeout=2)),
    "host files": refused(lambda: open("/in/x", "w")) and refused(lambda: open("/usr/x", "w")),
    "environment": set(os.environ) <= set(%r),
    "system calls": status["Seccomp"].strip() == "2",
}))
open("/out/trial.json", "w").write("{}")
"""
HIDDEN = "not mounted, or hidden by an empty mount"
LIMITS = (
    "wall time", "processor time", "memory", "processes", "disk", "number of files", "output",
    "no orphans",
)  # fmt: skip
"""What every sandbox limits, in the order in which it is shown."""
SUPERVISED = {
    "wall time": "supervisor inside, which the job cannot reach; the outer side 20 s later",
    "processor time": "RLIMIT_CPU for a process, supervisor for the sum",
    "output": "stdout and stderr are read up to a cap",
}
"""Limits that `bumpscout_sandbox.supervisor` enforces in the same way in every container."""


def check_rows(provider: Provider, root: bool, filtered: bool) -> list[CheckRow]:
    """Try bubblewrap and say row by row what holds and who enforces it.

    Args:
        provider: runs the trial.
        root: whether jobs are started by root.
        filtered: whether there is a filter of system calls for this architecture.
    """
    user = "a user id of its own without capabilities" if root else "a user namespace of its own"
    counted = "of that user id" if root else "of that user namespace (Linux 5.14 and later)"
    probed = {
        "vetted library": "read-only mount, the only package of ours",
        "other rooms hidden": HIDDEN,
        "privileges": f"{user}, no_new_privs",
        "network": "network namespace with nothing but its own loopback",
        "host files": "mount namespace, everything read-only but /out, /tmp, /dev/shm",
        "environment": "empty but for what the interpreter needs",
    }
    if filtered:
        probed["system calls"] = "seccomp filter"
    limits = {
        "wall time": "watchdog",
        "processor time": "RLIMIT_CPU for a process, watchdog for the sum",
        "memory": "RLIMIT_DATA for a process, watchdog for the sum (polled every 50 ms)",
        "processes": f"RLIMIT_NPROC: the kernel counts processes and threads {counted}",
        "disk": "size of the tmpfs mounts /out, /tmp and /dev/shm; RLIMIT_FSIZE for a file",
        "number of files": "watchdog (polled every 50 ms)",
        "output": "stdout and stderr are read up to a cap",
        "no orphans": "PID namespace; outputs are read after its first process is gone",
    }
    return _rows(provider, "bubblewrap", probed, limits)


def docker_rows(provider: Provider, found: EngineFacts) -> list[CheckRow]:
    """Try Docker and say row by row what holds and who enforces it.

    Args:
        provider: runs the trial.
        found: what the engine said of itself.
    """
    both = "the engine's seccomp filter and ours" if found.seccomp else "our seccomp filter alone"
    gpu = "passed through where asked" if found.gpus else "none: the engine has no NVIDIA runtime"
    probed = {
        "vetted library": "read-only mount, the only package of ours",
        "other rooms hidden": HIDDEN,
        "privileges": "a user id of its own, all capabilities dropped, no_new_privs",
        "network": "network none: nothing but its own loopback",
        "host files": "read-only root and mounts; tmpfs at /out, /tmp, /dev/shm",
        "environment": "empty but for what the interpreter needs",
        "system calls": both,
    }
    limits = {
        **SUPERVISED,
        "memory": "memory control group; RLIMIT_DATA for a process, supervisor for the sum",
        "processes": "pids control group and RLIMIT_NPROC; supervisor",
        "disk": "size of the tmpfs mounts /out, /tmp and /dev/shm; RLIMIT_FSIZE for a file",
        "number of files": "inodes of the tmpfs mounts",
        "no orphans": "PID namespace; the engine removes the container, also if its owner dies",
        "engine": f"Docker {found.version}",
        "GPU": f"{gpu} (untested)",
    }
    return _rows(provider, "Docker", probed, limits)


def apptainer_rows(provider: Provider, version: str) -> list[CheckRow]:
    """Try Apptainer and say row by row what holds and who enforces it.

    Args:
        provider: runs the trial.
        version: of Apptainer.
    """
    probed = {
        "vetted library": "read-only mount, the only package of ours",
        "other rooms hidden": HIDDEN,
        "privileges": "the caller's user id without capabilities, no_new_privs",
        "network": "network none: nothing but its own loopback",
        "host files": "contained, everything read-only but /out, /tmp, /dev/shm",
        "environment": "empty but for what the interpreter needs",
        "system calls": "our seccomp filter",
    }
    limits = {
        **SUPERVISED,
        "memory": "RLIMIT_DATA for a process, supervisor for the sum (polled every 50 ms)",
        "processes": "RLIMIT_NPROC: the kernel counts all of this user's; supervisor",
        "disk": "supervisor (polled every 50 ms); RLIMIT_FSIZE for a file",
        "number of files": "supervisor (polled every 50 ms)",
        "no orphans": "PID namespace",
        "engine": version,
    }
    return _rows(provider, "Apptainer", probed, limits)


def _rows(
    provider: Provider, name: str, probed: dict[str, str], limits: dict[str, str]
) -> list[CheckRow]:
    try:
        answer = _trial(provider)
    except SandboxError as error:
        return [CheckRow(what="sandbox", ok=False, how=name, remedy=str(error))]
    rows = [
        CheckRow(what=what, ok=answer[what], how=how, remedy="" if answer[what] else REMEDY)
        for what, how in probed.items()
    ]
    ordered = [*LIMITS, *(what for what in limits if what not in LIMITS)]
    return [*rows, *(CheckRow(what=what, ok=True, how=limits[what]) for what in ordered)]


def _trial(provider: Provider) -> dict[str, bool]:
    from bumpscout_sandbox.runtime import job_environment

    limits = Limits(
        wall_s=120, cpu_s=120, memory_bytes=1024 * MIB, workspace_bytes=16 * MIB, processes=64
    )
    # The shell and the C library may set these two themselves.
    known = sorted({*job_environment(limits), "PWD", "LC_CTYPE"})
    with scratch_folder() as folder:
        job = Job(script=TRIAL % (known,), collect=Path(folder), limits=limits, cold=True)
        result = provider.run(job)
    try:
        if result.outcome != "ok":
            raise ValueError(result.outcome)
        answer = json.loads(result.stdout)
    except ValueError:
        last = result.stderr.strip().rpartition("\n")[2][:300]
        raise SandboxError(
            f"The trial run in the sandbox ended with {result.outcome} (exit "
            f"{result.exit_status}): {last}. {' '.join(result.problems)}"
        ) from None
    return {str(key): value is True for key, value in answer.items()}
