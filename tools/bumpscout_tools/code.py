"""Which code computed something: results kept on disk are not mixed with those of other code."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_sha256"]

_COMPUTES = ("numpy", "scipy", "numba", "lightgbm", "scikit-learn", "torch")


@cache
def code_sha256() -> str:
    """Return a hash of the sources of this library and of the versions of what it computes with."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    for name in _COMPUTES:
        try:
            digest.update(f"{name} {version(name)}\n".encode())
        except PackageNotFoundError:
            continue
    return digest.hexdigest()
