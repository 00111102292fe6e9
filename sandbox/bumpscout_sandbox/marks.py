"""Keeps head and count of the ledger in the checkpoint of a run, in a table of its own."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from bumpscout_sandbox.errors import LedgerBroken
from bumpscout_sandbox.ledger import Mark
from bumpscout_tools.errors import ConfigurationError

__all__ = ["CHECKPOINT_FILE", "read_mark", "write_mark"]

CHECKPOINT_FILE = "checkpoint.sqlite"
TABLE = "CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, head TEXT, count INTEGER)"
WAIT_S = 10.0


def write_mark(path: Path, mark: Mark) -> None:
    """Keep head and count; the database is made where it is missing.

    Raises:
        ConfigurationError: if it cannot be written.
    """
    row = (mark.head, mark.count)
    try:
        if path.is_symlink():
            raise sqlite3.DatabaseError("it is a link")
        with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection, connection:
            connection.execute(TABLE)
            connection.execute("INSERT OR REPLACE INTO ledger VALUES (1, ?, ?)", row)
    except sqlite3.Error as error:
        raise ConfigurationError(f"The checkpoint {path} cannot be written: {error}.") from error


def read_mark(path: Path) -> Mark | None:
    """Return what the checkpoint knows of the ledger, or None where it knows nothing.

    Raises:
        LedgerBroken: if the checkpoint is damaged.
    """
    if not path.is_file() or path.is_symlink():
        return None
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S)) as connection:
            known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'ledger'"
            if connection.execute(known).fetchone() is None:
                return None
            row = connection.execute("SELECT head, count FROM ledger WHERE id = 1").fetchone()
    except sqlite3.Error as error:
        raise LedgerBroken(f"The checkpoint {path} is damaged: {error}.") from error
    if row is None:
        return None
    head, count = row
    if not isinstance(count, int) or not re.fullmatch(r"[0-9a-f]{64}", str(head)):
        raise LedgerBroken(f"The checkpoint {path} is damaged: it holds no hash of a ledger.")
    return Mark(path.name, str(head), count)
