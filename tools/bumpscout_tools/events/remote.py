"""Files at addresses (root://, https://, S3): fetched whole into a file of limited size, then read.

Parsers run where there is no network, so bytes are fetched before, by the process that was asked,
through fsspec; they are not looked at on the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bumpscout_tools.errors import ConfigurationError, InputDataError

__all__ = ["MAX_FETCHED_BYTES", "is_remote", "kept_copy", "local_copy"]

MAX_FETCHED_BYTES = 64 << 30
"""Most bytes of a file that are fetched; free space on the disk limits it further."""
_BLOCK = 8 << 20
_ADDRESS = re.compile(r"(root|roots|https?|s3)://\S+")
_EXTRAS = {
    "root": ("xrootd", "fsspec_xrootd"),
    "roots": ("xrootd", "fsspec_xrootd"),
    "s3": ("remote", "s3fs"),
    "http": ("remote", "aiohttp"),
    "https": ("remote", "aiohttp"),
}


def is_remote(file: str) -> bool:
    """Return whether this is an address rather than a path.

    >>> is_remote("root://eospublic.cern.ch//eos/opendata/f.root"), is_remote("events.h5")
    (True, False)
    """
    return _ADDRESS.fullmatch(file) is not None


@contextlib.contextmanager
def local_copy(address: str, max_bytes: int = MAX_FETCHED_BYTES) -> Iterator[Path]:
    """Fetch a file and give it while the context lasts.

    Args:
        address: as `is_remote` knows them.
        max_bytes: a larger file is refused.

    Raises:
        ConfigurationError: if the extra for such addresses is not installed.
        InputDataError: if the file cannot be had, or is too large.
    """
    with tempfile.TemporaryDirectory(prefix="bumpscout-fetch-") as folder:
        path = Path(folder) / "events"
        _fetch_or_say_why(address, path, max_bytes)
        yield path


def kept_copy(address: str, folder: Path, max_bytes: int = MAX_FETCHED_BYTES) -> Path:
    """Fetch a file unless the folder has it from before, and return its path there.

    Args:
        address: as `is_remote` knows them.
        folder: of fetched files; the name begins with a hash of the address.
        max_bytes: a larger file is refused.

    Raises:
        ConfigurationError: if the extra for such addresses is not installed, or the folder cannot
            be written to.
        InputDataError: if the file cannot be had, or is too large.
    """
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    base = re.sub(r"[^\w.-]", "_", address.partition("?")[0].rstrip("/").rpartition("/")[2])
    path = folder / f"{digest}-{base[-80:]}"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as part:
            _fetch_or_say_why(address, Path(part) / "events", max_bytes)
            (Path(part) / "events").replace(path)
    except OSError as error:
        raise ConfigurationError(f"Cannot keep {path}: {error.strerror}.") from error
    return path


def _fetch_or_say_why(address: str, path: Path, max_bytes: int) -> None:
    scheme = address.partition("://")[0]
    extra, module = _EXTRAS.get(scheme, ("remote", "fsspec"))
    room = min(max_bytes, shutil.disk_usage(path.parent).free // 2)
    try:
        _fetch(address, path, room)
    except ImportError as error:
        raise ConfigurationError(
            f"Addresses with {scheme}:// need the extra {extra!r} ({module} is missing): "
            f"pip install 'bumpscout[{extra}]'; or fetch the file yourself and give its path."
        ) from error
    except InputDataError:
        raise
    except Exception as error:
        # Each protocol has errors of its own, and without a network there are more.
        reason = (str(error) or type(error).__name__).strip().split("\n", 1)[0][:200]
        raise InputDataError(
            f"{address[:300]} cannot be fetched: {type(error).__name__}: {reason}. Check the "
            "address and the network, or fetch the file yourself and give its path."
        ) from error


def _fetch(address: str, path: Path, room: int) -> None:
    import fsspec

    opened: Any = fsspec.open(address, mode="rb")
    with opened as source, path.open("wb") as target:
        done = 0
        while block := source.read(_BLOCK):
            done += len(block)
            if done > room:
                raise InputDataError(
                    f"{address[:300]} is larger than {room} bytes, the most that is fetched; give "
                    "a part of it."
                )
            target.write(block)
