"""Files of a run folder: reading what a stranger may have made."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bumpscout_tools.errors import ConfigurationError

__all__ = ["MAX_JSON_BYTES", "inside", "read_bytes", "read_model"]

MAX_JSON_BYTES = 64 * 1024 * 1024

Model = TypeVar("Model", bound=BaseModel)


def read_bytes(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """Read a regular file, never through a symbolic link and never beyond `limit` bytes.

    Raises:
        ConfigurationError: if the file is missing, is no regular file, or is too large.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read {path}: {error.strerror}. Give the folder of a bumpscout run."
        ) from error
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ConfigurationError(f"{path} is not a regular file; it was not written by us.")
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ConfigurationError(
            f"{path} is larger than {limit} bytes, the most that is read of a run folder."
        )
    return data


def read_model(path: Path, model: type[Model], limit: int = MAX_JSON_BYTES) -> Model:
    """Read and validate a JSON file of a run folder.

    Raises:
        ConfigurationError: if the file cannot be read or does not follow the schema of `model`.
    """
    try:
        return model.model_validate_json(read_bytes(path, limit))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ConfigurationError(
            f"{path} does not follow its schema: {where}: {first['msg']} "
            f"({error.error_count()} problems). It was written by another program or was damaged."
        ) from error


def inside(folder: Path, name: str) -> Path:
    """Return the path of a plain file name inside a folder.

    Raises:
        ConfigurationError: if the name would lead elsewhere.
    """
    if name in {"", ".", ".."} or "/" in name or "\x00" in name:
        raise ConfigurationError(f"{name!r} is no plain file name.")
    return folder / name
