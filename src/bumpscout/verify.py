"""Checks the ledger of a run folder against everything in the folder that knows its lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bumpscout.result import RESULT_FILE, read_result
from bumpscout_sandbox.ledger import Ledger, Mark
from bumpscout_sandbox.marks import CHECKPOINT_FILE, read_mark
from bumpscout_tools.errors import ConfigurationError

__all__ = ["CheckedLedger", "verify_ledger"]

LEDGER_FILE = "ledger.jsonl"


class CheckedLedger(BaseModel):
    """A ledger whose chain holds; `checked_against` says what else head and count agreed with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head_sha256: str
    n_lines: int
    n_tests: int
    n_repaired: int
    checked_against: tuple[str, ...]

    def sentence(self) -> str:
        """Return the answer in words."""
        files = self.checked_against[1:]
        more = (
            f"head and count agree with {', '.join(files)}"
            if files
            else "no other file of the run knows its lines yet, so a cut at the end would not show"
        )
        if self.n_repaired:
            more += f"; {self.n_repaired} torn by a crash and repaired, each counted as a test"
        return (
            f"The ledger holds: {self.n_lines} lines, {self.n_tests} tests, head "
            f"{self.head_sha256}; {more}."
        )


def verify_ledger(folder: Path) -> CheckedLedger:
    """Check the chain of ``ledger.jsonl`` against result, final scan, approval and checkpoint.

    Raises:
        ConfigurationError: if there is no ledger, or a file that knows its lines is unreadable.
        LedgerBroken: naming the first broken line.
    """
    path = folder / LEDGER_FILE
    if path.is_symlink() or not path.is_file():
        raise ConfigurationError(f"{folder} holds no {LEDGER_FILE}; give the folder of a run.")
    summary = read_result(folder).ledger if (folder / RESULT_FILE).exists() else None
    marks = list(_marks(folder))
    state = Ledger.verify(
        path,
        head=summary.head_sha256 if summary else None,
        count=summary.n_lines if summary else None,
        marks=marks,
    )
    tests, repaired = Ledger.count_tests(path)
    files = [RESULT_FILE] * (summary is not None) + [mark.where for mark in marks]
    return CheckedLedger(
        head_sha256=state.head,
        n_lines=state.count,
        n_tests=tests,
        n_repaired=repaired,
        checked_against=("chain", *files),
    )


def _marks(folder: Path) -> Iterator[Mark]:
    from bumpscout_agents.approval import APPROVAL_FILE, FROZEN_FILE
    from bumpscout_agents.nodes.scanning import FINAL_FILE
    from bumpscout_agents.records import Approval, FinalRecord
    from bumpscout_agents.rundir import read_record
    from bumpscout_sandbox.records import FrozenPlan

    if final := read_record(folder / FINAL_FILE, FinalRecord):
        yield Mark(FINAL_FILE, final.scan.ledger_head, final.scan.ledger_count)
    if approval := read_record(folder / APPROVAL_FILE, Approval):
        yield Mark(APPROVAL_FILE, approval.ledger_head, approval.ledger_count)
    if frozen := read_record(folder / FROZEN_FILE, FrozenPlan):
        yield Mark(FROZEN_FILE, frozen.ledger_head, frozen.ledger_count)
    if mark := read_mark(folder / CHECKPOINT_FILE):
        yield mark
