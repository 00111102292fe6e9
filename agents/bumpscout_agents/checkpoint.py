"""The checkpoint of a search: SQLite, JSON values only, so that reading it runs nothing."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bumpscout_agents.errors import RunStateError

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite import SqliteSaver

__all__ = ["CHECKPOINT_FILE", "JsonSerializer", "open_saver"]

CHECKPOINT_FILE = "checkpoint.sqlite"


class JsonSerializer:
    """Writes values as JSON and reads nothing else: no msgpack extensions, no pickles.

    Errors of a node, which LangGraph stores beside its state, become their text.
    """

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the type ``json`` and the text.

        Raises:
            TypeError: for a value that is neither JSON nor an error.
        """
        return "json", json.dumps(obj, default=_error_text).encode()

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the value.

        Raises:
            RunStateError: if the checkpoint holds anything but JSON.
        """
        kind, content = data
        if kind != "json":
            raise RunStateError(
                f"The checkpoint holds a value of type {kind!r}; bumpscout writes JSON only. It "
                "was damaged or made by another program; start a new run."
            )
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RunStateError("The checkpoint is damaged; start a new run.") from error


def _error_text(value: object) -> str:
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    raise TypeError(f"The state of a search holds JSON only, not {type(value).__name__}.")


@contextmanager
def open_saver(run_dir: Path) -> Iterator[SqliteSaver]:
    """Open the checkpoint of a run folder and close it at the end.

    Raises:
        RunStateError: if the file is no database.
    """
    # LangGraph reads this when it is imported; our serializer does not depend on it.
    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
    from langgraph.checkpoint.sqlite import SqliteSaver

    class JsonSaver(SqliteSaver):
        """A saver that knows no types beyond JSON, so that there is no list of allowed ones."""

        def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> JsonSaver:
            """Return the saver as it is."""
            del extra_allowlist
            return self

    path = run_dir / CHECKPOINT_FILE
    if path.is_symlink():
        raise RunStateError(f"{path} is a link; bumpscout did not make it.")
    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            saver = JsonSaver(connection, serde=JsonSerializer())
            saver.setup()
            yield saver
    except sqlite3.DatabaseError as error:
        raise RunStateError(
            f"{path} is damaged ({error}); the files of the run are unharmed, start a new run."
        ) from error
