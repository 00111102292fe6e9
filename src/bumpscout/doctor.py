"""What this machine offers to a search: Python, packages, processors, memory, sandbox, GPU."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bumpscout.cluster import usable_cpus
from bumpscout_tools.errors import BumpscoutError

__all__ = ["PACKAGES", "Diagnosis", "Row", "diagnose", "package_versions", "platform_text"]

PACKAGES = (
    "bumpscout",
    "dask",
    "distributed",
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
    rows = (*_python_rows(), *_machine_rows(), *sandbox_rows(), *_gpu_rows(), _model_row())
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
    """Return the findings of the sandbox provider, which runs a trial job."""
    from bumpscout_sandbox.bwrap import BubblewrapProvider

    provider = BubblewrapProvider()
    try:
        checks = provider.check()
    except BumpscoutError as error:
        return [Row(area="sandbox", what=provider.name, state="bad", detail=str(error))]
    return [
        Row(
            area="sandbox",
            what=f"{provider.name}: {check.what}",
            state="ok" if check.ok else "bad",
            detail=check.how,
            remedy=check.remedy,
        )
        for check in checks
    ]


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
