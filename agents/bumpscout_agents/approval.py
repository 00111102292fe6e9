"""Approvals of frozen plans: files that bind an answer to a plan and to a ledger."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from bumpscout_agents.errors import RunStateError
from bumpscout_agents.records import Approval
from bumpscout_agents.rundir import read_record, write_record
from bumpscout_sandbox.records import FrozenPlan

__all__ = ["APPROVAL_FILE", "FROZEN_FILE", "read_approval", "read_frozen", "write_approval"]

APPROVAL_FILE = "approval.json"
FROZEN_FILE = "frozen.json"


def read_frozen(run_dir: Path) -> FrozenPlan | None:
    """Return the frozen plan of a run, or None where none was frozen.

    Raises:
        RunStateError: if the file was changed: its plan no longer has its hash.
    """
    frozen = read_record(run_dir / FROZEN_FILE, FrozenPlan)
    if frozen is not None and frozen.plan.sha256() != frozen.sha256:
        raise RunStateError(
            f"The plan in {run_dir / FROZEN_FILE} does not have the hash that was frozen; the file "
            "was changed. Start a new run."
        )
    return frozen


def write_approval(
    run_dir: Path, by: Literal["policy", "person"], *, approved: bool = True
) -> Approval:
    """Answer the frozen plan of a run.

    Raises:
        RunStateError: if no plan of this run is frozen.
    """
    frozen = read_frozen(run_dir)
    if frozen is None:
        raise RunStateError(f"{run_dir} has no frozen plan that could be approved.")
    approval = Approval(
        plan_sha256=frozen.sha256,
        ledger_head=frozen.ledger_head,
        ledger_count=frozen.ledger_count,
        approved=approved,
        by=by,
        time=time.time(),
    )
    write_record(run_dir / APPROVAL_FILE, approval)
    return approval


def read_approval(run_dir: Path) -> Approval | None:
    """Return the answer to the frozen plan, or None where there is none for this very plan.

    Raises:
        RunStateError: if a file of the run was changed.
    """
    frozen = read_frozen(run_dir)
    approval = read_record(run_dir / APPROVAL_FILE, Approval)
    if frozen is None or approval is None:
        return None
    given = (approval.plan_sha256, approval.ledger_head, approval.ledger_count)
    return approval if given == (frozen.sha256, frozen.ledger_head, frozen.ledger_count) else None
