"""Checks the ledger of a run folder against its result."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bumpscout.result import RESULT_FILE, read_result
from bumpscout_sandbox.ledger import Ledger
from bumpscout_tools.errors import ConfigurationError

__all__ = ["CheckedLedger", "verify_ledger"]

LEDGER_FILE = "ledger.jsonl"


class CheckedLedger(BaseModel):
    """A ledger whose chain holds; `checked_against` says what else head and count agreed with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head_sha256: str
    n_lines: int
    checked_against: tuple[Literal["chain", "result.json"], ...]

    def sentence(self) -> str:
        """Return the answer in words."""
        more = (
            "head and count agree with result.json"
            if "result.json" in self.checked_against
            else "the run has no result yet, so lines cut off at the end would not show"
        )
        return f"The ledger holds: {self.n_lines} lines, head {self.head_sha256}; {more}."


def verify_ledger(folder: Path) -> CheckedLedger:
    """Check the chain of ``ledger.jsonl``, and head and count where a result states them.

    Raises:
        ConfigurationError: if there is no ledger, or the result is unreadable.
        LedgerBroken: naming the first broken line.
    """
    path = folder / LEDGER_FILE
    if path.is_symlink() or not path.is_file():
        raise ConfigurationError(f"{folder} holds no {LEDGER_FILE}; give the folder of a run.")
    summary = read_result(folder).ledger if (folder / RESULT_FILE).exists() else None
    if summary is None:
        state = Ledger.verify(path)
        return CheckedLedger(
            head_sha256=state.head, n_lines=state.count, checked_against=("chain",)
        )
    state = Ledger.verify(path, head=summary.head_sha256, count=summary.n_lines)
    return CheckedLedger(
        head_sha256=state.head, n_lines=state.count, checked_against=("chain", "result.json")
    )
