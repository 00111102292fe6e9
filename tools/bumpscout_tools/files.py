"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bumpscout_tools.errors import ConfigurationError

__all__ = ["append_line", "write_atomic"]


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: where to write; its folder is made where it is missing.
        content: text is written as UTF-8.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write {path}: {error.strerror}. Choose an output folder that you may write "
            "to and that has room."
        ) from error


def append_line(path: Path, text: str) -> None:
    """Add one line to a file; a last line that a kill has torn is ended first.

    Args:
        path: is made where it is missing.
        text: without a line break.

    Raises:
        ConfigurationError: if the file cannot be written.
    """
    try:
        with path.open("ab+") as file:
            torn = False
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            file.write(b"\n" * torn + text.encode() + b"\n")
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from error
