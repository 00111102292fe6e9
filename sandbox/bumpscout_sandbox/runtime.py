"""How a script is started inside a wall, whichever wall it is: interpreter, environment, user."""

from __future__ import annotations

import secrets
import sys

from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.mounts import TOOLS_AT

__all__ = ["SCRIPT_AT", "interpreter", "job_environment", "job_uid"]

SCRIPT_AT = "/job/script.py"
FIRST_UID, UID_COUNT = 0x60000000, 0x10000000


def interpreter(python: str = sys.executable) -> list[str]:
    """Return the command that runs the script of a job.

    Args:
        python: path of the interpreter inside.
    """
    # -P and -s keep /out, the script's folder and user site-packages off sys.path; not -I, which
    # would also ignore PYTHONHASHSEED, and a script has to give the same scores again.
    return [python, "-P", "-s", "-B", SCRIPT_AT]


def job_environment(limits: Limits) -> dict[str, str]:
    """Return the whole environment of a job; nothing of the caller's is in it."""
    threads = str(limits.cpus)
    counted = ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR", "VECLIB")
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "bumpscout",
        "LANG": "C.UTF-8",
        "PYTHONPATH": TOOLS_AT,
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "NUMBA_CACHE_DIR": "/tmp/numba",
        **{f"{name}_NUM_THREADS": threads for name in counted},
    }


def job_uid() -> int:
    """Return a user id that exists nowhere else: the kernel counts processes a user."""
    return FIRST_UID + secrets.randbelow(UID_COUNT)
