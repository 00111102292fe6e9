"""Lists the runs below a folder, from their files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bumpscout.console import RUN_FILE
from bumpscout.folder import read_record
from bumpscout.result import RESULT_FILE, Result, read_result
from bumpscout_tools.errors import ConfigurationError

__all__ = ["RunLine", "find_runs"]

_DEPTH = 2


class RunLine(BaseModel):
    """One run; ``unfinished``: no result was written; ``unreadable``: its files are damaged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    run_id: str
    started: str
    status: Literal["complete", "stopped", "failed", "unfinished", "unreadable"]
    verdict: str | None
    headline: str
    request: str


def find_runs(root: Path) -> list[RunLine]:
    """Return the runs in `root` and up to two folders below it, the oldest first.

    Raises:
        ConfigurationError: if `root` is no folder.
    """
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no folder; give --root a folder that holds runs.")
    found = [_line(folder) for folder in _candidates(root, _DEPTH)]
    return sorted(found, key=lambda line: (line.started, line.folder))


def _candidates(folder: Path, depth: int) -> list[Path]:
    if (folder / RUN_FILE).is_file():
        return [folder]
    if depth == 0:
        return []
    try:
        below = [
            item
            for item in folder.iterdir()
            if item.is_dir() and not item.is_symlink() and not item.name.startswith(".")
        ]
    except OSError:
        return []
    return [found for item in below for found in _candidates(item, depth - 1)]


def _line(folder: Path) -> RunLine:
    try:
        record = read_record(folder)
        result: Result | None = None
        if (folder / RESULT_FILE).exists():
            result = read_result(folder)
    except ConfigurationError as error:
        return RunLine(
            folder=str(folder),
            run_id="",
            started="",
            status="unreadable",
            verdict=None,
            headline=str(error),
            request="",
        )
    return RunLine(
        folder=str(folder),
        run_id=record.run_id,
        started=record.started,
        status=result.status if result else "unfinished",
        verdict=result.verdict if result else None,
        headline=result.headline if result else "No result was written: running, or killed.",
        request=record.request,
    )
