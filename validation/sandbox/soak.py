"""Long run of the sandbox: many jobs in a row, then several searches side by side; what is left?

    python validation/sandbox/soak.py [--jobs 1000] [--searches 8] [--each 60]

It counts descriptors, processes, mounts, control groups, temporary files and memory before and
after, and checks that every job got its own answer. It ends with exit code 1 if anything is left or
an answer is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, OutputSpec
from bumpscout_sandbox.warm_pool import warm_row

MIB = 1 << 20
LIMITS = Limits(
    wall_s=120, cpu_s=120, memory_bytes=1024 * MIB, processes=48, workspace_bytes=32 * MIB
)
ANSWER = OutputSpec(name="answer.json", kind="json", max_bytes=1000)
SCRIPT = """
import json, os, subprocess, sys
mine = {name!r}
found = [f for d in ("/out", "/tmp", "/dev/shm") for f in os.listdir(d)]
for folder in ("/out", "/tmp", "/dev/shm"):
    open(folder + "/" + mine, "w").write("x" * 100000)
if {number} % 10 == 3:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
if {number} % 10 == 7:
    os.kill(os.getpid(), 9)
seen = sorted(p for p in os.listdir("/proc") if p.isdigit())
json.dump([mine, open("/in/name.txt").read(), found, seen[:2]], open("/out/answer.json", "w"))
"""


def run_jobs(prefix: str, count: int) -> list[str]:
    """Run jobs in a row, some of which kill themselves; return what went wrong."""
    wall, wrong = BubblewrapProvider(), []
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        for number in range(count):
            mine = f"{prefix}-{number}"
            (folder / "name.txt").write_text(mine)
            job = Job(
                script=SCRIPT.format(name=mine, number=number),
                collect=folder,
                inputs={"name.txt": folder / "name.txt"},
                outputs=(ANSWER,),
                limits=LIMITS,
            )
            result = wall.run(job)
            if number % 10 == 7:
                if (result.outcome, result.exit_status) != ("error", 137):
                    wrong.append(f"{mine}: {result.outcome} {result.exit_status}")
                continue
            path = result.artifacts.get(ANSWER.name)
            said = json.loads(path.read_text()) if path else None
            if result.outcome != "ok" or said != [mine, mine, [], ["1", "2"]]:
                wrong.append(f"{mine}: {result.outcome} {said} {result.problems}")
    return wrong


def state() -> dict[str, int]:
    """Count what could leak, on the whole machine and in this process."""
    own = Path("/proc/self")
    kilobytes = next(
        int(line.split()[1]) for line in (own / "status").read_text().splitlines()
        if line.startswith("VmRSS")
    )  # fmt: skip
    temporary = Path(tempfile.gettempdir())
    return {
        "descriptors": len(list((own / "fd").iterdir())),
        "processes below": len(below(os.getpid())),
        "mounts": sum(
            " - tmpfs " in line or " - proc " in line
            for line in (own / "mountinfo").read_text().splitlines()
        ),
        "control groups": sum(_ours(str(p)) for p in Path("/sys/fs/cgroup").rglob("cgroup.procs")),
        "temporary files": sum(1 for p in temporary.iterdir() if p.name.startswith("soak-")),
        "memory MiB": kilobytes >> 10,
    }


def _ours(name: str) -> bool:
    # A container engine may be at work on the same machine.
    return "docker" not in name and "containerd" not in name


def below(pid: int) -> set[int]:
    """Return all processes that descend from one."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found: set[int] = set()
    left = [pid]
    while left:
        left = [child for parent in left for child in children.get(parent, [])]
        found.update(left)
    return found


def main() -> int:
    """Run both parts and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--searches", type=int, default=8)
    parser.add_argument("--each", type=int, default=60, help="jobs of each search")
    parser.add_argument("--part", help="run the jobs of one search; used by the program itself")
    options = parser.parse_args()
    if options.part:
        print(json.dumps(run_jobs(options.part, options.each)))
        return 0
    before = state()
    print(f"warm start: {warm_row().how}")
    run_jobs("first", 20)
    warm, start = state(), time.monotonic()
    wrong = run_jobs("row", options.jobs)
    took = time.monotonic() - start
    after = state()
    each = 1e3 * took / max(options.jobs, 1)
    print(f"{options.jobs} jobs in a row: {len(wrong)} wrong, {each:.1f} ms each")
    command = [sys.executable, __file__, "--each", str(options.each), "--part"]
    start = time.monotonic()
    searches = [
        subprocess.Popen([*command, f"search{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(options.searches)
    ]
    seen = below(os.getpid())
    while any(search.poll() is None for search in searches):
        time.sleep(0.2)
        seen |= below(os.getpid())
    for search in searches:
        wrong += json.loads(search.communicate()[0])
    took = time.monotonic() - start
    print(f"{options.searches} searches of {options.each} jobs side by side: {took:.0f} s, "
          f"{len(wrong)} wrong")  # fmt: skip
    BubblewrapProvider().close()
    deadline = time.monotonic() + 15
    while orphans := [pid for pid in seen if Path("/proc", str(pid)).exists()]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    end = state()
    print(f"{len(seen)} processes were seen at work; {len(orphans)} of them are still there")
    print(f"{'':18} {'at start':>9} {'warm':>9} {'after row':>9} {'at end':>9}")
    for name in before:
        print(f"{name:18} {before[name]:9} {warm[name]:9} {after[name]:9} {end[name]:9}")
    leaks = [n for n in warm if after[n] > warm[n] + (20 if n == "memory MiB" else 0)]
    leaks += [n for n in before if end[n] > before[n] and n not in ("memory MiB", "descriptors")]
    leaks += ["a process"] * bool(orphans)
    for line in (*wrong[:20], *(f"left: {name}" for name in leaks)):
        print(line)
    print("nothing is left, no answer went astray" if not wrong and not leaks else "FAILED")
    return 1 if wrong or leaks else 0


if __name__ == "__main__":
    sys.exit(main())
