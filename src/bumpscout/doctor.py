"""What this machine offers to a search: Python, packages, processors, memory, sandbox, GPU."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bumpscout.cluster import usable_cpus
from bumpscout_tools.errors import BumpscoutError

__all__ = ["PACKAGES", "Diagnosis", "Row", "diagnose", "package_versions", "platform_text"]

PACKAGES = (
    "bumpscout",
    "dask",
    "distributed",
    "docker",
    "h5py",
    "jinja2",
    "langgraph",
    "langgraph-checkpoint-sqlite",
    "lightgbm",
    "matplotlib",
    "mplhep",
    "numba",
    "numpy",
    "pyarrow",
    "pydantic",
    "scipy",
    "torch",
)
_MIN_MEMORY_GIB = 3.0
_NAMESPACES = (
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "forbidden to plain users by AppArmor, as Ubuntu does from 23.10 on",
        "allow them to bwrap with an AppArmor profile (apt install apparmor-profiles, then load "
        "bwrap-userns-restrict), or use Docker",
    ),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "forbidden to plain users",
        "sysctl kernel.unprivileged_userns_clone=1, or use Docker",
    ),
    ("user/max_user_namespaces", "0", "forbidden", "raise user.max_user_namespaces, or use Docker"),
)
"""Settings that forbid user namespaces: file, the value that does, what it means, what to do."""


class Row(BaseModel):
    """One finding; `bad` rows keep a search from running."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    area: str
    what: str
    state: Literal["ok", "note", "bad"]
    detail: str
    remedy: str = ""


class Diagnosis(BaseModel):
    """All findings; `ready` when nothing is bad."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ready: bool
    rows: tuple[Row, ...]


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that make the numbers."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def platform_text() -> str:
    """Return system, architecture and Python in one line."""
    return (
        f"{platform.system()} {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


def diagnose() -> Diagnosis:
    """Look at this machine; the sandbox is tried, not only looked for."""
    rows = (
        *_python_rows(),
        *_machine_rows(),
        *sandbox_rows(),
        namespace_row(),
        *_gpu_rows(),
        _model_row(),
    )
    return Diagnosis(ready=all(row.state != "bad" for row in rows), rows=rows)


def _python_rows() -> list[Row]:
    rows = [Row(area="python", what="Python", state="ok", detail=platform.python_version())]
    versions = package_versions()
    for name in PACKAGES:
        if name in versions:
            rows.append(Row(area="python", what=name, state="ok", detail=versions[name]))
        else:
            rows.append(
                Row(
                    area="python",
                    what=name,
                    state="bad",
                    detail="not installed",
                    remedy="install bumpscout again with constraints.txt",
                )
            )
    return rows


def _machine_rows() -> list[Row]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    enough = memory >= _MIN_MEMORY_GIB
    return [
        Row(area="machine", what="system", state="ok", detail=platform.platform()),
        Row(area="machine", what="processors", state="ok", detail=f"{usable_cpus()} usable"),
        Row(
            area="machine",
            what="memory",
            state="ok" if enough else "note",
            detail=f"{memory:.1f} GiB",
            remedy="" if enough else "use --workers 1",
        ),
    ]


def sandbox_rows() -> list[Row]:
    """Return the findings of every sandbox, each of which runs a trial job."""
    from bumpscout_sandbox.choice import survey

    try:
        found = survey()
    except BumpscoutError as error:
        return [Row(area="sandbox", what="choice", state="bad", detail=str(error))]
    rows: list[Row] = []
    for finding in found.providers:
        rows += [
            Row(
                area="sandbox",
                what=f"{finding.name}: {check.what}",
                # A sandbox that does not hold keeps nothing from running where another one does.
                state="ok" if check.ok else "note" if found.chosen else "bad",
                detail=check.how,
                remedy=check.remedy,
            )
            for check in finding.rows
        ]
    if found.chosen:
        rows.append(Row(area="sandbox", what="chosen", state="ok", detail=found.chosen))
    return rows


def namespace_row(sysctl: Path = Path("/proc/sys")) -> Row:
    """Say whether a plain user may make user namespaces, which bubblewrap and Apptainer need.

    Args:
        sysctl: where the kernel shows its settings.
    """
    for name, forbids, detail, remedy in _NAMESPACES:
        try:
            value = (sysctl / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if value == forbids:
            setting = f"{name.replace('/', '.')} = {value}"
            return Row(
                area="sandbox",
                what="user namespaces",
                state="note",
                detail=f"{detail} ({setting})",
                remedy=remedy,
            )
    return Row(area="sandbox", what="user namespaces", state="ok", detail="allowed to plain users")


def _gpu_rows() -> list[Row]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if not torch.cuda.is_available():
        return [Row(area="gpu", what="CUDA", state="note", detail="none; this version needs none")]
    return [
        Row(area="gpu", what=f"CUDA {index}", state="ok", detail=torch.cuda.get_device_name(index))
        for index in range(torch.cuda.device_count())
    ]


def _model_row() -> Row:
    return Row(
        area="model",
        what="offline",
        state="ok",
        detail="built in, a policy of fixed rules; needs no endpoint and no network",
    )
