"""What a job costs beyond its own work: cold and warm starts of every sandbox that answers.

    python benchmarks/sandbox.py > benchmarks/sandbox.txt

Overhead is the time from `Provider.run` to its return, less the time that the script itself says it
took. The first job of a warm server, which pays for the server, is given apart. Machine load makes
times longer: it is printed, and so is the fastest job.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bumpscout_sandbox.choice import PROVIDERS
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, Provider

JOBS = {"nothing": "", "import torch, numpy": "import torch, numpy"}
SCRIPT = "import time\nstart = time.perf_counter()\n{body}\nprint(time.perf_counter() - start)\n"
LIMITS = Limits(cpus=1)
WARM, COLD = 200, 10


def run_times(
    provider: Provider, body: str, count: int, *, cold: bool
) -> list[tuple[float, float]]:
    """Return (whole time, the script's own time) of jobs in a row, in seconds."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            job = Job(
                script=SCRIPT.format(body=body), collect=Path(folder), limits=LIMITS, cold=cold
            )
            start = time.perf_counter()
            result = provider.run(job)
            took = time.perf_counter() - start
            if result.outcome != "ok":
                raise SystemExit(f"{provider.name}: {result.outcome} {result.stderr}")
            times.append((took, float(result.stdout)))
    return times


def row(name: str, times: list[tuple[float, float]]) -> str:
    """Return one line of the table, in milliseconds."""
    whole = [1e3 * took for took, _ in times]
    over = sorted(1e3 * (took - own) for took, own in times)
    return (
        f"{name:44} {len(times):4} {np.median(whole):9.1f} {over[0]:9.1f} "
        f"{np.median(over):9.1f} {over[int(0.9 * len(over))]:9.1f}"
    )


def bare(body: str, count: int) -> list[tuple[float, float]]:
    """Return the same for a subprocess without any wall."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        command = [sys.executable, "-c", SCRIPT.format(body=body)]
        own = float(subprocess.run(command, capture_output=True, check=True).stdout)
        times.append((time.perf_counter() - start, own))
    return times


def main() -> None:
    """Print the table."""
    print(f"{platform.platform()}, Python {platform.python_version()}")
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, load {load:.1f} at the start, user id {os.geteuid()}")
    print(f"\n{'milliseconds':44} {'jobs':>4} {'whole':>9} {'overhead':>9} {'':>9} {'':>9}")
    print(f"{'':44} {'':>4} {'median':>9} {'fastest':>9} {'median':>9} {'90%':>9}")
    for body_name, body in JOBS.items():
        print(row(f"no wall, {body_name}", bare(body, COLD)))
    for name, make in PROVIDERS.items():
        provider = make()
        failed = [check for check in provider.check() if not check.ok]
        if failed:
            print(f"{name}: does not answer here ({failed[0].remedy[:80]})")
            continue
        provider.close()
        for body_name, body in JOBS.items():
            print(row(f"{name} cold, {body_name}", run_times(provider, body, COLD, cold=True)))
        if name == "bubblewrap":
            first = run_times(provider, "", 1, cold=False)
            print(row(f"{name} warm, the first job starts the server", first))
            for body_name, body in JOBS.items():
                times = run_times(provider, body, WARM, cold=False)
                print(row(f"{name} warm, {body_name}", times))
        provider.close()
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
