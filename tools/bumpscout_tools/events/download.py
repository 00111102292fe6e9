"""Downloads into a cache: resumed where they broke off, checked, and used without a network.

A file in the cache is whole: what is being downloaded is ``NAME.part`` beside it. Checksums that
the catalogue does not know are kept in ``pins.json`` at the first download and checked ever after.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.events.catalogue import DataFile
from bumpscout_tools.files import write_atomic

__all__ = ["CACHE_VARIABLE", "Fetched", "cache_folder", "cached", "fetch_file"]

CACHE_VARIABLE = "BUMPSCOUT_CACHE"
"""Environment variable that names the cache folder."""

Progress = Callable[[int, int | None], None]

_PINS = "pins.json"
_BLOCK = 1 << 16
"""What a broken transfer loses at most; requests drops the block it was reading."""

_CONNECT_S, _READ_S = 15.0, 60.0
_ATTEMPTS = 5
_ATTEMPTS_UNREACHED = 2
_NOT_FOUND, _GONE, _RANGE_REFUSED, _PARTIAL, _TOO_MANY = 404, 410, 416, 206, 429


class Fetched(NamedTuple):
    """A file in the cache.

    Attributes:
        path: where it is.
        checksum: what it was checked against, ``md5:...`` or ``sha256:...``.
        was_cached: nothing was downloaded.
        pinned_now: the catalogue knew no checksum, and this one was kept just now.
    """

    path: Path
    checksum: str
    was_cached: bool
    pinned_now: bool


class _Broken(Exception):
    """The transfer broke off and may be taken up again."""


class _Unreached(_Broken):
    """No server answered; there may be no network at all."""


def cache_folder() -> Path:
    """Return the folder of downloaded data: ``$BUMPSCOUT_CACHE``, or the cache of this user."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("bumpscout") / "data"


def cached(folder: Path, name: str, file: DataFile) -> Path | None:
    """Return the path of a file that is in the cache, without checking its content.

    Args:
        folder: the cache.
        name: of the data set.
        file: which of its files.
    """
    path = folder / name / file.name
    return path if path.is_file() else None


def fetch_file(
    folder: Path,
    name: str,
    file: DataFile,
    progress: Progress,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Return a file from the cache, downloading what is not there.

    Args:
        folder: the cache; made where it is missing.
        name: of the data set.
        file: which of its files.
        progress: told the bytes that are there and the size, None where it is not known.
        wait: called with the seconds between two attempts.

    Raises:
        InputDataError: there is no network, the file is not where the catalogue says, or what came
            is not the file.
        ConfigurationError: the cache cannot be written, the disk is full, or another process
            downloads the same file.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    target = folder / name
    path = target / file.name
    known = file.checksum or _pins(target).get(file.name)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _locked(target, file.name):
            was_cached = path.is_file() and _matches(path, known)
            if not was_cached:
                keeper = pooch.create(
                    path=target,
                    base_url="",
                    registry={file.name: known},
                    urls={file.name: file.url},
                )
                keeper.fetch(file.name, downloader=_Transfer(path, file, progress, wait))
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write {path}: {error.strerror or error}. Make room or name another folder in "
            f"{CACHE_VARIABLE}; what was downloaded is kept, and the same command goes on."
        ) from error
    except ValueError as error:
        raise InputDataError(_wrong(file, path)) from error
    pinned = known is None
    if known is None:
        known = "sha256:" + _digest(path, "sha256")
        write_atomic(
            target / _PINS, json.dumps({**_pins(target), file.name: known}, indent=2) + "\n"
        )
    return Fetched(path, known, was_cached, pinned)


class _Transfer:
    """A downloader for pooch that takes up broken transfers."""

    def __init__(
        self,
        path: Path,
        file: DataFile,
        progress: Progress,
        wait: Callable[[float], None],
    ) -> None:
        self._part = path.with_name(path.name + ".part")
        self._mark = path.with_name(path.name + ".part.json")
        self._file = file
        self._progress, self._wait = progress, wait

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        at_first = self._have()
        for attempt in range(1, _ATTEMPTS + 1):
            before = self._have()
            try:
                self._transfer(url)
                break
            except _Broken as error:
                nothing_yet = isinstance(error, _Unreached) and self._have() == at_first
                limit = _ATTEMPTS_UNREACHED if nothing_yet else _ATTEMPTS
                if attempt >= limit and self._have() == before:
                    raise InputDataError(
                        f"{self._file.name} could not be downloaded from {url}: {error}. Check the "
                        f"network; {self._have()} bytes are kept, and the same command goes on."
                    ) from error
                self._wait(2.0 ** (attempt - 1))
        else:
            raise InputDataError(
                f"{self._file.name} broke off {_ATTEMPTS} times on the way from {url}; "
                f"{self._have()} bytes are kept, and the same command goes on."
            )
        self._part.replace(output_file)
        self._forget()

    def _have(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)

    def _transfer(self, url: str) -> None:
        import requests
        import urllib3

        have = self._have()
        headers = {"Accept-Encoding": "identity", "User-Agent": "bumpscout"}
        if have:
            headers["Range"] = f"bytes={have}-"
            tag = self._tag()
            if tag:
                headers["If-Range"] = tag
        broken = (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError)
        try:
            with requests.get(
                url, headers=headers, stream=True, timeout=(_CONNECT_S, _READ_S)
            ) as answer:
                self._receive(url, answer, have)
        except requests.ConnectionError as error:
            host = urllib3.util.parse_url(url).host
            raise _Unreached(f"no connection to {host} ({type(error).__name__})") from error
        except broken as error:
            raise _Broken(_reason(error)) from error

    def _receive(self, url: str, answer: Any, have: int) -> None:
        if answer.status_code == _RANGE_REFUSED:
            if have == self._file.bytes or _total(answer) == have:
                return
            self._forget()
            raise _Broken("the server refused to go on where the transfer broke off")
        if answer.status_code >= 500 or answer.status_code == _TOO_MANY:
            raise _Broken(f"the server answers {answer.status_code} {answer.reason}")
        if answer.status_code in (_NOT_FOUND, _GONE):
            raise InputDataError(
                f"{self._file.name} is not at {url} (the server answers {answer.status_code}). The "
                "record may have moved; look at its page and report it."
            )
        if not answer.ok:
            raise InputDataError(
                f"{self._file.name} cannot be downloaded from {url}: the server answers "
                f"{answer.status_code} {answer.reason}."
            )
        if answer.status_code != _PARTIAL or _start(answer) != have:
            have = 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        if self._file.bytes is not None and total not in (None, self._file.bytes):
            self._forget()
            raise InputDataError(
                f"{self._file.name} at {url} has {total} bytes and the catalogue says "
                f"{self._file.bytes}; it is another file or an error page."
            )
        write_atomic(self._mark, json.dumps({"etag": _strong_tag(answer)}) + "\n")
        with self._part.open("ab" if have else "wb") as out:
            for block in answer.iter_content(_BLOCK):
                out.write(block)
                have += len(block)
                self._progress(have, total)
        if total is not None and have != total:
            raise _Broken(f"the transfer ended after {have} of {total} bytes")

    def _tag(self) -> str | None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            tag = json.loads(self._mark.read_text()).get("etag")
            return tag if isinstance(tag, str) else None
        return None


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    with (folder / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"Another process downloads {folder / name} just now; wait for it."
            ) from error
        yield


def _pins(target: Path) -> dict[str, str]:
    try:
        read = json.loads((target / _PINS).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        read = None
    sound = isinstance(read, dict) and all(isinstance(value, str) for value in read.values())
    if not sound:
        raise ConfigurationError(
            f"{target / _PINS} is damaged; delete it, and checksums are kept anew."
        )
    return dict(read)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _matches(path: Path, known: str | None) -> bool:
    if known is None:
        return True
    algorithm, _, value = known.partition(":")
    return _digest(path, algorithm) == value


def _wrong(file: DataFile, path: Path) -> str:
    return (
        f"What came from {file.url} is not {file.name}: its checksum is another one. The download "
        f"was dropped; try again, and if that does not help look at the record or at "
        f"{path.parent / _PINS}."
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def _total(answer: Any) -> int | None:
    total = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _start(answer: Any) -> int | None:
    start = str(answer.headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else None


def _strong_tag(answer: Any) -> str | None:
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else None
