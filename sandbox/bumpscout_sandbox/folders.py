"""A root file system of empty folders, on which a container's read-only mounts are put."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from bumpscout_sandbox.mounts import SYSTEM, TOOLS_AT, WORKSPACES

__all__ = ["IMAGE_PYTHON", "folder_archive"]

IMAGE_PYTHON = "/opt/python/bin/python"
"""Where an image built from ``sandbox/Dockerfile`` has its interpreter."""


def folder_archive() -> bytes:
    """Return the folders and links as a tar archive, the same bytes every time."""
    names = {"etc", "in", "job", "proc", "sys", "dev", "usr", TOOLS_AT.strip("/")}
    names |= {path.strip("/") for path in WORKSPACES}
    names |= {name.strip("/") for name in SYSTEM if Path(name).is_dir()}
    for name in tuple(names):
        names |= {str(parent) for parent in Path(name).parents if str(parent) != "."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in sorted(names):
            entry = tarfile.TarInfo(name)
            link = Path("/", name)
            if f"/{name}" in SYSTEM and link.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(link.readlink())
            else:
                # A tmpfs takes over the mode of the folder that it is mounted on.
                mode = 0o1777 if f"/{name}" in WORKSPACES else 0o755
                entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
    return buffer.getvalue()
