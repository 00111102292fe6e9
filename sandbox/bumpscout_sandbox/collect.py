"""Copies declared files out of a dead job's workspace, following nothing and trusting nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bumpscout_sandbox.provider import OutputSpec

__all__ = ["collect_outputs"]

CHUNK = 1 << 20


def collect_outputs(
    workspace: int, specs: tuple[OutputSpec, ...], folder: Path
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Copy the declared outputs of a job.

    Call it after every process of the job is dead, so that nothing is swapped in between. Links,
    FIFOs, devices, folders and files above their cap are refused.

    Args:
        workspace: open descriptor of the workspace folder.
        specs: what may leave.
        folder: existing host folder for the copies.

    Returns:
        The copies by name, and one sentence for each output that is missing or was refused.
    """
    artifacts: dict[str, Path] = {}
    problems: list[str] = []
    for spec in specs:
        target = folder / spec.name
        try:
            refusal = _copy(workspace, spec, target)
        except FileNotFoundError:
            refusal = "was not written" if spec.required else ""
        except OSError as error:
            refusal = f"cannot be collected: {error.strerror}"
        else:
            if not refusal:
                artifacts[spec.name] = target
        if refusal:
            problems.append(f"/out/{spec.name} {refusal}.")
    return artifacts, tuple(problems)


def _copy(workspace: int, spec: OutputSpec, target: Path) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    kind = os.stat(spec.name, dir_fd=workspace, follow_symlinks=False).st_mode
    if not stat.S_ISREG(kind):
        return f"is refused: {_describe(kind)}, no regular file"
    source = os.open(spec.name, flags, dir_fd=workspace)
    try:
        size = os.fstat(source).st_size
        if size > spec.max_bytes:
            return f"is refused: {size} bytes, at most {spec.max_bytes} may leave"
        write = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target.unlink(missing_ok=True)
        with os.fdopen(os.open(target, write, 0o600), "wb") as copy:
            left = spec.max_bytes
            while left > 0 and (chunk := os.read(source, min(CHUNK, left))):
                copy.write(chunk)
                left -= len(chunk)
    finally:
        os.close(source)
    return ""


def _describe(mode: int) -> str:
    for test, text in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return text
    return "a device"
