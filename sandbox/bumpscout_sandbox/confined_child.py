"""The child side of `bumpscout_sandbox.confined`: limits itself, runs one parser, answers, ends."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from bumpscout_sandbox.landlock import restrict_files
from bumpscout_sandbox.seccomp import filter_program
from bumpscout_sandbox.supervisor import load_filter
from bumpscout_tools.errors import BumpscoutError

__all__ = ["confine", "main"]

ALLOWED = "bumpscout_sandbox.parsers"
SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/proc/self",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
)  # fmt: skip
EXPECTED = (
    BumpscoutError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError,
    OSError, RuntimeError, SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What parsers raise on a bad file; anything else ends the child with a traceback."""


CAPABILITY_VERSION_3 = 0x20080522
DAC_READ_SEARCH = 1 << 2


def main() -> None:
    """Read a request from stdin, carry it out under limits, write the answer to stdout."""
    request = json.loads(sys.stdin.buffer.read())
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    confine(int(request["memory_bytes"]), int(request["cpu_s"]), request["readable"])
    module, _, name = str(request["function"]).partition(":")
    try:
        if module != ALLOWED or name.startswith("_"):
            raise ValueError(f"{module}:{name} is no parser")
        data, arrays = getattr(importlib.import_module(module), name)(**request["arguments"])
        arrays = {
            key: value if value.flags.c_contiguous else value.copy()
            for key, value in arrays.items()
        }
        header = {
            "data": data,
            "arrays": [
                {"name": key, "dtype": value.dtype.str, "shape": list(value.shape)}
                for key, value in arrays.items()
            ],
        }
    except EXPECTED as error:
        header, arrays = {"error": type(error).__name__, "message": str(error)[:2000]}, {}
    answer.write(json.dumps(header, allow_nan=False).encode() + b"\n")
    for value in arrays.values():
        answer.write(value.data.cast("B") if value.size else b"")
    answer.flush()
    # No interpreter shutdown: a parser that was turned gets no second chance to run code.
    os._exit(0)


def confine(memory_bytes: int, cpu_s: int, readable: Sequence[str]) -> None:
    """Take from this process all that a parser does not need, for good.

    Args:
        memory_bytes: address space.
        cpu_s: seconds of processor time.
        readable: files that stay readable, beside system, interpreter and packages.
    """
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        resource.setrlimit(limit, (value, value))
    prefixes = {sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), *sys.path}
    restrict_files([*SYSTEM, *sorted(prefixes), *readable])
    if os.geteuid() == 0:
        _keep_reading_alone()
    load_filter(filter_program(alone=True) or b"")


def _keep_reading_alone() -> None:
    # Root keeps what it needs to read the file of somebody else, and no other capability.
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    kept = (ctypes.c_uint32 * 6)(DAC_READ_SEARCH, DAC_READ_SEARCH, 0, 0, 0, 0)
    held = Path("/proc/self/status").read_text(encoding="ascii")
    if not int(held.partition("CapPrm:")[2].split()[0], 16) & DAC_READ_SEARCH:
        kept = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, kept) != 0:
        raise OSError(ctypes.get_errno(), "capset")
