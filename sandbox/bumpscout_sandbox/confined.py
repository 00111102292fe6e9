"""Runs one of our own parsers on a foreign file in a fresh child process that can do little else.

It needs no sandbox provider: the child is a Python of ours with an empty environment, limits on
memory, time, files and processes, and (where the kernel has Landlock) no access to files but the
named ones. What a hostile file can reach is the parser in that child; the answer comes back as
plain numbers and JSON on a pipe, never as pickle, and is checked here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

import bumpscout_sandbox
import bumpscout_tools
from bumpscout_sandbox.errors import SandboxFailure
from bumpscout_sandbox.limits import machine_memory_bytes
from bumpscout_sandbox.text import printable
from bumpscout_tools.errors import (
    BumpscoutError,
    ConfigurationError,
    InputDataError,
    MissingExtraError,
)

__all__ = ["ConfinedLimits", "ConfinedReply", "call_confined"]

DTYPES = ("<f8", "<u8", "<i8", "|u1")
MAX_HEADER_BYTES = 8 << 20
CHUNK = 1 << 20
RAISED: dict[str, type[BumpscoutError]] = {
    "InputDataError": InputDataError,
    "ConfigurationError": ConfigurationError,
    "MissingExtraError": MissingExtraError,
}
BOOT = (
    "import sys; sys.path[:] = [p for p in sys.path if p not in {paths}] + {paths}; "
    "from bumpscout_sandbox.confined_child import main; main()"
)


class ConfinedLimits(BaseModel):
    """Limits of one parser.

    Attributes:
        wall_s: seconds from start to answer.
        memory_bytes: address space of the child.
        reply_bytes: size of the answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    wall_s: float = Field(default=120.0, gt=0)
    memory_bytes: int = Field(default=4 << 30, gt=0)
    reply_bytes: int = Field(default=4 << 30, gt=0)

    @classmethod
    def for_file(cls, path: Path) -> ConfinedLimits:
        """Return limits that suit a table of this size, half the machine at most."""
        half = machine_memory_bytes() // 2
        wanted = (4 << 30) + 16 * path.stat().st_size
        return cls(wall_s=600.0, memory_bytes=max(2 << 30, min(wanted, half)))


@dataclass(frozen=True)
class ConfinedReply:
    """What a parser answered: JSON values and arrays of plain numbers."""

    data: dict[str, JsonValue]
    arrays: dict[str, npt.NDArray[np.generic]]


class _ArrayHeader(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    dtype: str
    shape: list[int]


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    data: dict[str, JsonValue] = {}
    arrays: list[_ArrayHeader] = []
    error: str | None = None
    message: str = ""


def call_confined(
    function: str,
    arguments: dict[str, JsonValue],
    *,
    subject: str,
    readable: Sequence[Path] = (),
    limits: ConfinedLimits | None = None,
) -> ConfinedReply:
    """Call a function of ours in a confined child.

    Args:
        function: ``module:function`` of this room; it takes the arguments by name and returns
            (dict of JSON values, dict of arrays).
        arguments: plain JSON.
        subject: what is being parsed, as error messages name it.
        readable: files that the child may read.
        limits: of the child.

    Raises:
        InputDataError: if the file cannot be parsed, or the parser crashed, hung or ate the memory.
        ConfigurationError: if the function said so.
        SandboxFailure: if the child could not be started.
    """
    limits = limits or ConfinedLimits()
    request = {
        "function": function,
        "arguments": arguments,
        "readable": [str(path.resolve()) for path in readable],
        "memory_bytes": limits.memory_bytes,
        "cpu_s": math.ceil(limits.wall_s),
    }
    reply, stderr, status = _exchange(json.dumps(request).encode(), limits, subject)
    return _decode(reply, subject, stderr, status)


def _exchange(request: bytes, limits: ConfinedLimits, subject: str) -> tuple[bytearray, bytes, int]:
    roots = sorted({str(Path(m.__file__ or "").resolve().parents[1]) for m in _OURS})
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", BOOT.format(paths=roots)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
                 "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            cwd="/",
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise SandboxFailure(f"The parser process cannot be started: {error.strerror}.") from error
    with child:
        try:
            return _converse(child, request, limits, subject)
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)


def _converse(
    child: subprocess.Popen[bytes], request: bytes, limits: ConfinedLimits, subject: str
) -> tuple[bytearray, bytes, int]:
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise SandboxFailure("The parser process has no pipes.")
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(request)
        child.stdin.close()
    reply, errors = bytearray(), bytearray()
    sinks = {
        child.stdout.fileno(): (reply, limits.reply_bytes),
        child.stderr.fileno(): (errors, 1 << 16),
    }
    deadline = time.monotonic() + limits.wall_s
    while sinks:
        left = deadline - time.monotonic()
        if left <= 0:
            raise InputDataError(
                f"{subject}: the parser was stopped after {limits.wall_s:g} s. The file may be "
                "damaged, hostile or far too large."
            )
        for descriptor in select.select(list(sinks), [], [], left)[0]:
            chunk = os.read(descriptor, CHUNK)
            sink, room = sinks[descriptor]
            if not chunk:
                del sinks[descriptor]
            elif sink is errors:
                sink += chunk[: room - len(sink)]
            elif len(sink) + len(chunk) > room:
                raise InputDataError(f"{subject} holds more than {room} bytes of data.")
            else:
                sink += chunk
    return reply, bytes(errors), child.wait(timeout=max(1.0, deadline - time.monotonic()))


def _decode(reply: bytearray, subject: str, stderr: bytes, status: int) -> ConfinedReply:
    line_end = reply.find(b"\n", 0, MAX_HEADER_BYTES)
    try:
        header = _Header.model_validate_json(bytes(reply[: max(line_end, 0)]))
        arrays = _arrays(header, memoryview(reply)[line_end + 1 :])
    except (ValidationError, ValueError):
        reason = f"signal {-status}" if status < 0 else f"exit status {status}"
        last = printable(stderr.decode("utf-8", "replace").strip().rpartition("\n")[2], 200)
        raise InputDataError(
            f"{subject} cannot be parsed: the parser ended with "
            f"{reason}{': ' if last else ''}{last}. The file may be damaged, hostile or far too "
            "large."
        ) from None
    if header.error is not None:
        message = printable(header.message, 800)
        if header.error in RAISED:
            raise RAISED[header.error](message)
        raise InputDataError(
            f"{subject} cannot be parsed: {printable(header.error, 60)}: {message}"
        )
    return ConfinedReply(header.data, arrays)


def _arrays(header: _Header, body: memoryview) -> dict[str, npt.NDArray[np.generic]]:
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    start = 0
    for entry in header.arrays:
        if entry.dtype not in DTYPES or min(entry.shape, default=0) < 0 or len(entry.shape) > 8:
            raise ValueError(entry.name)
        dtype = np.dtype(entry.dtype)
        end = start + math.prod(entry.shape) * dtype.itemsize
        if end > len(body):
            raise ValueError(entry.name)
        arrays[entry.name] = np.frombuffer(body[start:end], dtype=dtype).reshape(entry.shape)
        start = end
    if start != len(body):
        raise ValueError("trailing bytes")
    return arrays


_OURS = (bumpscout_sandbox, bumpscout_tools)
