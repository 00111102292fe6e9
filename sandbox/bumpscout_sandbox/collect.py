"""Takes declared files from a dead job's workspace, following nothing and trusting nothing."""

from __future__ import annotations

import os
from pathlib import Path

from bumpscout_sandbox.provider import OutputSpec
from bumpscout_sandbox.supervisor import open_output

__all__ = ["collect_outputs", "problem", "store"]

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
        try:
            source, size = open_output(workspace, spec.name, spec.max_bytes)
            try:
                artifacts[spec.name] = store(source, size, folder / spec.name)
            finally:
                os.close(source)
        except FileNotFoundError:
            problems += problem(spec, "")
        except ValueError as refusal:
            problems += problem(spec, str(refusal))
        except OSError as error:
            problems += problem(spec, f"cannot be collected: {error.strerror}")
    return artifacts, tuple(problems)


def problem(spec: OutputSpec, refusal: str) -> list[str]:
    """Return the sentence on an output that did not leave, if it deserves one.

    Args:
        spec: the output.
        refusal: why; empty where it was not written at all.
    """
    if not refusal and not spec.required:
        return []
    return [f"/out/{spec.name} {refusal or 'was not written'}."]


def store(source: int, size: int, target: Path) -> Path:
    """Copy the next `size` bytes of a descriptor to a new file that only this user can read."""
    write = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, write, 0o600), "wb") as copy:
        while size > 0 and (chunk := os.read(source, min(CHUNK, size))):
            copy.write(chunk)
            size -= len(chunk)
    return target
