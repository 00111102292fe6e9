"""The child side of `bumpscout_sandbox.confined`: limits itself, runs one parser, answers, ends."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import sysconfig

from bumpscout_sandbox.landlock import restrict_files
from bumpscout_tools.errors import BumpscoutError

__all__ = ["main"]

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


def main() -> None:
    """Read a request from stdin, carry it out under limits, write the answer to stdout."""
    request = json.loads(sys.stdin.buffer.read())
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    memory, seconds = int(request["memory_bytes"]), int(request["cpu_s"])
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
    ):
        resource.setrlimit(limit, (value, value))
    prefixes = {sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), *sys.path}
    restrict_files([*SYSTEM, *sorted(prefixes), *request["readable"]])
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
