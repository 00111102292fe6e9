"""What a search leaves behind: the records of its state, its files and its end."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from bumpscout_agents.schemas import Finding
from bumpscout_agents.trace import TraceTotals
from bumpscout_sandbox.records import FinalScan, FrozenPlan
from bumpscout_tools.scan.plan import SearchPlan

__all__ = [
    "Approval",
    "Attempt",
    "FinalRecord",
    "ReportText",
    "SearchRecord",
    "State",
    "TaskRecord",
    "TaskStatus",
]

Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
TaskStatus = Literal["pending", "written", "ready", "ran", "accepted", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskRecord(_Record):
    """One task: the scores of one detector of the plan.

    Attributes:
        id: two digits, the name of its folder.
        detector: name of the detector.
        detector_index: its place among the detectors of the first plan.
        status: where it stands.
        attempts: how many scripts were written.
        script_sha256: of the last script.
        vetted: whether the accepted script is a template of the tool library.
        error: why it failed.
        withheld: whether a failed task left scores that were seen before they were rejected: they
            are scanned and count as tests, and make no bump.
        sandbox_s: time in the sandbox, all attempts together.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[0-9]{2,4}$")]
    role: Literal["coder"] = "coder"
    detector: str
    detector_index: int = Field(ge=0)
    status: TaskStatus = "pending"
    attempts: int = Field(default=0, ge=0)
    script_sha256: str | None = None
    vetted: bool = False
    error: str | None = None
    withheld: bool = False
    sandbox_s: float = 0.0


class Attempt(_Record):
    """One attempt at a task: ``review.json`` in its folder."""

    number: int = Field(ge=1)
    script_sha256: str
    summary: str = ""
    static_findings: tuple[Finding, ...] = ()
    code_review: tuple[Finding, ...] | None = None
    result_review: tuple[Finding, ...] | None = None
    rejected_by: Literal["static checks", "code review", "run", "result review"] | None = None

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of all reviews."""
        return (*self.static_findings, *(self.code_review or ()), *(self.result_review or ()))


class Approval(_Record):
    """``approval.json``: the answer to a frozen plan."""

    plan_sha256: Sha
    ledger_head: str
    ledger_count: int = Field(ge=0)
    approved: bool
    by: Literal["policy", "person"]
    time: float


class FinalRecord(_Record):
    """``final.json``: the final scan of the plan with this hash."""

    plan_sha256: Sha
    scan: FinalScan


class ReportText(_Record):
    """The summary in sentences, with the cited numbers filled in."""

    headline: str
    paragraphs: tuple[str, ...]
    written_by: str


class SearchRecord(_Record):
    """A search as it stands: finished, stopped, or how far it came."""

    request: str
    status: Literal["running", "complete", "stopped"]
    reason: str | None = None
    understood: tuple[str, ...] = ()
    not_understood: tuple[str, ...] = ()
    plan: SearchPlan | None = None
    tasks: tuple[TaskRecord, ...] = ()
    explorations: int = 0
    frozen: FrozenPlan | None = None
    approval: Approval | None = None
    final: FinalScan | None = None
    report: ReportText | None = None
    model: str
    cost: TraceTotals


class State(TypedDict, total=False):
    """The state of the graph: JSON values only; what is large lies in files of the run folder."""

    request: str
    model: str
    status: str
    reason: str | None
    understood: list[str]
    not_understood: list[str]
    plan: dict[str, JsonValue]
    tasks: list[dict[str, JsonValue]]
    current: int
    explorations: int
    explored_sha256: list[str]
    settled: bool
    frozen_sha256: str
    approved: bool
