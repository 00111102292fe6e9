"""Files of a run folder: written whole or not at all, read as if a stranger had made them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from bumpscout_agents.errors import RunStateError
from bumpscout_tools.files import write_atomic

__all__ = ["MAX_BYTES", "read_record", "read_text", "write_record"]

MAX_BYTES = 256 * 1024 * 1024

M = TypeVar("M", bound=BaseModel)


def write_record(path: Path, record: BaseModel | JsonValue) -> None:
    """Write a record as JSON.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    content = record.model_dump(mode="json") if isinstance(record, BaseModel) else record
    write_atomic(path, json.dumps(content, indent=1) + "\n")


def read_text(path: Path) -> str | None:
    """Return the text of a regular file, or None where there is none.

    Raises:
        RunStateError: if it is a link, no regular file, too large or no UTF-8.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunStateError(
            f"Cannot read {path}: {error.strerror}. The run folder was damaged; start a new run."
        ) from error
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RunStateError(f"{path} is no regular file; bumpscout did not write it.")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise RunStateError(f"{path} is larger than {MAX_BYTES} bytes; bumpscout did not write it.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RunStateError(f"{path} is no UTF-8 text; bumpscout did not write it.") from error


def read_record(path: Path, record: type[M]) -> M | None:
    """Return the record in a JSON file, or None where there is no file.

    Raises:
        RunStateError: if the file does not hold such a record.
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        return record.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        detail = ""
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            detail = f" ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise RunStateError(
            f"{path} does not hold what bumpscout writes there{detail}. The run folder was damaged "
            "or changed; start a new run."
        ) from error
