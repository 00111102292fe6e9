"""What a job can see of this machine: bubblewrap arguments for system, interpreter and library.

Everything is read-only. Of ours only ``bumpscout_tools`` is visible, at `TOOLS_AT`; where all
packages share one site-packages (an installed wheel), the others and the clients are hidden.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import bumpscout_tools
from bumpscout_sandbox.errors import SandboxUnavailable

__all__ = [
    "HIDDEN",
    "TOOLS_AT",
    "WORKSPACES",
    "hidden_paths",
    "interpreter_prefixes",
    "system_mounts",
]

TOOLS_AT = "/opt/bumpscout"
"""Folder that is on PYTHONPATH inside and holds ``bumpscout_tools`` alone."""

WORKSPACES = ("/out", "/tmp", "/dev/shm")
"""Folders that a job may write to; each is a tmpfs of its own."""

HIDDEN = (
    "bumpscout",
    "bumpscout_agents",
    "bumpscout_prompts",
    "bumpscout_sandbox",
    "distributed",
    "docker",
    "langchain",
    "langgraph",
    "langsmith",
    "openai",
    "sqlalchemy",
)
"""Packages of site-packages that no job sees; names that continue with ``_`` are hidden too."""

SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin")
ETC = ("/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime")


def system_mounts() -> list[str]:
    """Return the arguments that show system, interpreter and vetted library, all read-only.

    Raises:
        SandboxUnavailable: if the interpreter lives where too much else would be shown.
    """
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            arguments += ["--ro-bind", name, name]
    shown = [Path("/usr"), *(Path(name) for name in SYSTEM)]
    arguments += _parents(Path("/etc/any"))
    for name in ETC:
        arguments += ["--ro-bind-try", name, name]
    for prefix in interpreter_prefixes():
        if not any(prefix.is_relative_to(path) for path in shown):
            arguments += [*_parents(prefix), "--ro-bind", str(prefix), str(prefix)]
            shown.append(prefix)
    library = Path(bumpscout_tools.__file__).resolve().parent
    target = Path(TOOLS_AT) / library.name
    arguments += [*_parents(target), "--ro-bind", str(library), str(target)]
    for path in hidden_paths():
        if path.is_dir():
            arguments += ["--perms", "0555", "--tmpfs", str(path), "--remount-ro", str(path)]
        else:
            arguments += ["--ro-bind", "/dev/null", str(path)]
    return arguments


def interpreter_prefixes() -> list[Path]:
    """Return the folders that the running interpreter needs, outer ones first.

    Raises:
        SandboxUnavailable: if one of them is a home folder or the root of the file system.
    """
    named = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    prefixes = {Path(name) for name in named} | {Path(name).resolve() for name in named}
    home = Path.home()
    for prefix in prefixes:
        if prefix != Path("/usr") and (home.is_relative_to(prefix) or prefix == Path("/")):
            raise SandboxUnavailable(
                f"The Python in use lives in {prefix}, so a job that sees its interpreter would "
                "see private files. Install bumpscout in a virtual environment in a folder of its "
                "own."
            )
    return sorted(prefixes, key=lambda prefix: (len(prefix.parts), prefix))


def hidden_paths() -> list[Path]:
    """Return what is to be hidden in every site-packages of the running interpreter."""
    folders = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for prefix in interpreter_prefixes():
        folders |= {prefix / "lib" / version / name for name in ("site-packages", "dist-packages")}
        folders.add(prefix / "local" / "lib" / version / "dist-packages")
    folders |= {
        Path("/usr/lib/python3/dist-packages"),
        Path(f"/usr/local/lib/{version}/dist-packages"),
    }
    return sorted(
        path
        for folder in {folder.resolve() for folder in folders if folder.is_dir()}
        for path in folder.iterdir()
        if _is_hidden(path)
    )


def _is_hidden(path: Path) -> bool:
    if path.suffix in (".dist-info", ".egg-info") or path.is_symlink():
        return False
    stem = path.name.partition(".")[0]
    return any(stem == name or stem.startswith(f"{name}_") for name in HIDDEN) and (
        stem != "bumpscout_tools"
    )


def _parents(path: Path) -> list[str]:
    # Started by root, bubblewrap makes missing parents 0700, which the job's user cannot enter.
    arguments: list[str] = []
    for parent in reversed(path.parents[:-1]):
        if str(parent) not in WORKSPACES:
            arguments += ["--dir", str(parent), "--chmod", "0755", str(parent)]
    return arguments
