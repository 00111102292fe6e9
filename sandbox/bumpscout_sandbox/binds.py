"""What a container is shown of this machine: pairs of a path here and a path inside, all read-only.

The same sight as `bumpscout_sandbox.mounts` gives to bubblewrap: system, interpreter, vetted
library, script and inputs; of ours only ``bumpscout_tools``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bumpscout_tools
from bumpscout_sandbox.mounts import ETC, SYSTEM, TOOLS_AT, hidden_paths, interpreter_prefixes
from bumpscout_sandbox.supervised import PROCESSORS, Stage

__all__ = ["Bind", "job_binds", "system_binds"]


@dataclass(frozen=True)
class Bind:
    """One read-only mount; `source` exists on this machine."""

    source: Path
    target: str


def job_binds(stage: Stage) -> list[Bind]:
    """Return what every job needs: the vetted library, its script and its inputs."""
    library = Path(bumpscout_tools.__file__).resolve().parent
    processors = [Bind(Path(PROCESSORS), PROCESSORS)] if Path(PROCESSORS).is_dir() else []
    return [
        Bind(stage.sys, "/sys"),
        *processors,
        Bind(library, f"{TOOLS_AT}/{library.name}"),
        Bind(stage.job, "/job"),
        Bind(stage.passwd, "/etc/passwd"),
        Bind(stage.nothing, "/etc/resolv.conf"),
        *(Bind(path, f"/in/{name}") for name, path in stage.inputs.items()),
    ]


def system_binds(stage: Stage) -> list[Bind]:
    """Return what a job needs where the image holds nothing: system and interpreter.

    Raises:
        SandboxUnavailable: if the interpreter lives where too much else would be shown.
    """
    shown = [Path("/usr"), *(Path(name) for name in SYSTEM if _own_folder(Path(name)))]
    shown += [Path(name) for name in ETC if Path(name).exists()]
    for prefix in interpreter_prefixes():
        # A mount of its own below a shown folder is not shown with it.
        if not any(prefix.is_relative_to(path) and _same_device(prefix, path) for path in shown):
            shown.append(prefix)
    hidden = [
        Bind(stage.hollow if path.is_dir() else stage.nothing, str(path))
        for path in hidden_paths()
        if any(path.is_relative_to(folder) for folder in shown)
    ]
    return [*(Bind(path, str(path)) for path in shown), *hidden]


def _own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _same_device(first: Path, second: Path) -> bool:
    return first.stat().st_dev == second.stat().st_dev
