"""Small CSV files of a user as rows of fields: bounded in size, and refused with the line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from bumpscout_tools.errors import InputDataError

__all__ = ["bad_line", "csv_rows", "is_number", "number"]

_MAX_BYTES = 4 << 20
_MAX_COLUMNS = 32
_MAX_DIGITS = 400


def csv_rows(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line with its fields; comments (#) and empty lines are passed over.

    Args:
        path: the file.
        what: it holds, as messages name it: "a binned spectrum".

    Raises:
        InputDataError: a file that cannot be read, is no text, or is larger than 4 MiB.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputDataError(f"Cannot read {path}: it is a folder, a pipe or a device.")
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputDataError(f"Cannot read {path}: {error.strerror}.") from error
    if len(content) > _MAX_BYTES:
        raise InputDataError(f"{path} is larger than 4 MiB, so it is not {what}.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputDataError(
            f"{path} is no text (byte {error.start}), but {what} is a CSV file."
        ) from error
    if "\0" in text:
        raise InputDataError(f"{path} holds bytes of 0: it is no text, but {what} is a CSV file.")
    for line, content_of in enumerate(text.splitlines(), start=1):
        bare = content_of.strip()
        if not bare or bare.startswith("#"):
            continue
        fields = [field.strip() for field in bare.split(",", _MAX_COLUMNS)]
        if len(fields) > _MAX_COLUMNS:
            raise bad_line(path, line, f"more than {_MAX_COLUMNS} columns, so it is not {what}")
        yield line, fields


def is_number(field: str) -> bool:
    """Return whether a field can be read as a number of at most 400 characters."""
    if len(field) > _MAX_DIGITS:
        return False
    try:
        float(field)
    except ValueError:
        return False
    return True


def number(path: Path, line: int, field: str) -> float:
    """Return the number that a field holds.

    Raises:
        InputDataError: a field that is no number, or not finite.
    """
    if len(field) > _MAX_DIGITS:
        raise bad_line(path, line, f"{len(field)} characters are no number: {field[:20]!r}...")
    if not is_number(field):
        raise bad_line(path, line, f"{field[:40]!r} is not a number")
    value = float(field)
    if not math.isfinite(value):
        raise bad_line(path, line, f"{field[:40]!r} is not finite")
    return value


def bad_line(path: Path, line: int, what: str) -> InputDataError:
    """Return an error that names the file and the line."""
    return InputDataError(f"{path}, line {line}: {what}.")
