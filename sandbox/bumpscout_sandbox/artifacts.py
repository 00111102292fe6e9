"""Parses what a script left behind: npy, JSON and PNG, each in a confined child."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_sandbox.confined import ConfinedLimits, ConfinedReply, call_confined
from bumpscout_sandbox.provider import OutputSpec
from bumpscout_tools.errors import InputDataError

__all__ = ["Artifact", "check_artifacts", "read_json", "read_npy", "read_png"]

FloatArray = npt.NDArray[np.float64]
WALL_S = 60.0


@dataclass(frozen=True)
class Artifact:
    """One artifact that passed: exactly one of `array`, `value` and `png` means anything."""

    name: str
    kind: Literal["npy", "json", "png"]
    sha256: str
    array: FloatArray | None = None
    value: JsonValue = None
    png: bytes = b""


def check_artifacts(
    specs: tuple[OutputSpec, ...], files: Mapping[str, Path]
) -> tuple[dict[str, Artifact], tuple[str, ...]]:
    """Parse the collected outputs of a job.

    Args:
        specs: what was declared; other files are not looked at.
        files: raw copies by name (`JobResult.artifacts`).

    Returns:
        What passed, by name, and one sentence for each file that did not.
    """
    passed: dict[str, Artifact] = {}
    problems: list[str] = []
    for spec in specs:
        path = files.get(spec.name)
        if path is None:
            continue
        try:
            passed[spec.name] = _read(spec, path)
        except InputDataError as error:
            problems.append(f"{error}.".replace("..", "."))
    return passed, tuple(problems)


def read_npy(path: Path, max_bytes: int) -> FloatArray:
    """Return the float64 array of one .npy file.

    Raises:
        InputDataError: if it is damaged, too large, or holds anything but float64 numbers.
    """
    array = _call("parse_npy", path, max_bytes).arrays["array"]
    return array.astype(np.float64, copy=False)


def read_json(path: Path, max_bytes: int) -> JsonValue:
    """Return the value of one JSON file.

    Raises:
        InputDataError: if it is damaged, too large, too deep, or holds NaN or overlong numbers.
    """
    return _call("parse_json", path, max_bytes).data["value"]


def read_png(path: Path, max_bytes: int) -> bytes:
    """Return the pixels of one PNG, encoded anew.

    Raises:
        InputDataError: if it is no PNG or too large.
    """
    return _call("parse_png", path, max_bytes).arrays["png"].tobytes()


def _read(spec: OutputSpec, path: Path) -> Artifact:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if spec.kind == "npy":
        array = read_npy(path, spec.max_bytes)
        return Artifact(spec.name, spec.kind, digest, array=array)
    if spec.kind == "json":
        value = read_json(path, spec.max_bytes)
        return Artifact(spec.name, spec.kind, digest, value=value)
    return Artifact(spec.name, spec.kind, digest, png=read_png(path, spec.max_bytes))


def _call(function: str, path: Path, max_bytes: int) -> ConfinedReply:
    limits = ConfinedLimits(
        wall_s=WALL_S,
        memory_bytes=(2 << 30) + 4 * max_bytes,
        reply_bytes=(64 << 20) + 2 * max_bytes,
    )
    try:
        return call_confined(
            f"bumpscout_sandbox.parsers:{function}",
            {"path": str(path.resolve()), "max_bytes": max_bytes},
            subject=path.name,
            readable=[path],
            limits=limits,
        )
    except InputDataError as error:
        message = str(error)
        if message.startswith(path.name):
            raise
        raise InputDataError(f"{path.name} {message}") from error
