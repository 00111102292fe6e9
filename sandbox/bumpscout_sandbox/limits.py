"""What one job may use: time, memory, processes, disk, output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Limits", "machine_cpus", "machine_memory_bytes"]

MIB = 1 << 20
GIB = 1 << 30


class Limits(BaseModel):
    """Limits of one job; who enforces each of them is said by `Provider.check`.

    Attributes:
        wall_s: seconds of wall time from the start of the script.
        cpu_s: seconds of processor time, summed over all processes.
        memory_bytes: memory of all processes together; the files in the workspace come on top.
        processes: processes and threads together, at one time.
        workspace_bytes: size of /out, and of /tmp and /dev/shm each.
        workspace_inodes: files and folders in /out, and in /tmp and /dev/shm each.
        output_bytes: stdout and stderr, each.
        cpus: threads that numerical libraries inside are told to use.
        gpus: graphics processors that are passed through; none by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    wall_s: float = Field(default=1800.0, gt=0)
    cpu_s: float = Field(default=7200.0, gt=0)
    memory_bytes: int = Field(default=4 * GIB, ge=64 * MIB)
    processes: int = Field(default=96, ge=8)
    workspace_bytes: int = Field(default=GIB, ge=MIB)
    workspace_inodes: int = Field(default=4096, ge=16)
    output_bytes: int = Field(default=MIB, ge=1024)
    cpus: int = Field(default=1, ge=1)
    gpus: int = Field(default=0, ge=0)

    @classmethod
    def for_machine(cls, cpus: int | None = None) -> Self:
        """Return defaults that fit this machine.

        Half of the memory at most and 16 GiB at most go to one job, a sixteenth to its workspace.

        Args:
            cpus: processors that one job may use; all that this process may use by default.
        """
        count = cpus or machine_cpus()
        memory = machine_memory_bytes()
        return cls(
            wall_s=1800.0,
            cpu_s=1800.0 * count,
            memory_bytes=max(64 * MIB, min(memory // 2, 16 * GIB)),
            processes=64 + 8 * count,
            workspace_bytes=max(64 * MIB, min(memory // 16, 2 * GIB)),
            cpus=count,
        )


def machine_cpus() -> int:
    """Return the number of processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def machine_memory_bytes() -> int:
    """Return the memory of this machine, or of the container that this process runs in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (Path("/sys/fs/cgroup") / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total
