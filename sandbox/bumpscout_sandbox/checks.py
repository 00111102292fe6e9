"""What a bubblewrap sandbox offers on this machine, found out by a trial run inside it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bumpscout_sandbox.errors import SandboxError
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import CheckRow, Job, Provider

__all__ = ["check_rows"]

MIB = 1 << 20
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
    "library": True,
    "rooms": not other_room(),
    "root": os.getuid() != 0 and int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0
        and status["NoNewPrivs"].strip() == "1",
    "network": refused(lambda: socket.create_connection(("192.0.2.1", 80), timeout=2)),
    "files": refused(lambda: open("/in/x", "w")) and refused(lambda: open("/usr/x", "w")),
    "filter": status["Seccomp"].strip() == "2",
}))
open("/out/trial.json", "w").write("{}")
"""


def check_rows(provider: Provider, root: bool, filtered: bool) -> list[CheckRow]:
    """Run a trial job and say row by row what holds and who enforces it.

    Args:
        provider: runs the trial.
        root: whether jobs are started by root.
        filtered: whether there is a filter of system calls for this architecture.
    """
    try:
        answer = _trial(provider)
    except SandboxError as error:
        return [CheckRow(what="sandbox", ok=False, how="bubblewrap", remedy=str(error))]
    user = "a user id of its own without capabilities" if root else "a user namespace of its own"
    counted = "of that user id" if root else "of that user namespace (Linux 5.14 and later)"
    remedy = "Please report this together with `bumpscout doctor --json`."
    probed = (
        ("vetted library", "library", "read-only mount, the only package of ours"),
        ("other rooms hidden", "rooms", "not mounted, or hidden by an empty mount"),
        ("privileges", "root", f"{user}, no_new_privs"),
        ("network", "network", "network namespace with nothing but its own loopback"),
        ("host files", "files", "mount namespace, everything read-only but /out, /tmp, /dev/shm"),
    )
    rows = [
        CheckRow(what=what, ok=answer[key], how=how, remedy="" if answer[key] else remedy)
        for what, key, how in probed
    ]
    if filtered:
        rows.append(CheckRow(what="system calls", ok=answer["filter"], how="seccomp filter"))
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
    return [*rows, *(CheckRow(what=what, ok=True, how=how) for what, how in limits.items())]


def _trial(provider: Provider) -> dict[str, bool]:
    with tempfile.TemporaryDirectory() as folder:
        limits = Limits(
            wall_s=120, cpu_s=120, memory_bytes=1024 * MIB, workspace_bytes=16 * MIB, processes=64
        )
        result = provider.run(Job(script=TRIAL, collect=Path(folder), limits=limits))
    try:
        answer = json.loads(result.stdout)
    except ValueError:
        last = result.stderr.strip().rpartition("\n")[2][:300]
        raise SandboxError(
            f"The trial run in the sandbox ended with {result.outcome} (exit "
            f"{result.exit_status}): {last}. {' '.join(result.problems)}"
        ) from None
    return {str(key): value is True for key, value in answer.items()}
