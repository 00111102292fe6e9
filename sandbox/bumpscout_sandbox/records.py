"""What the gate answers with: task runs, the frozen plan, the final scan; all of it plain JSON."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, JsonValue

from bumpscout_sandbox.provider import Outcome
from bumpscout_tools.scan.outcome import ScanOutcome, Verdict
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.significance import FinalSignificance

__all__ = ["FinalScan", "FrozenPlan", "TaskRun", "frozen_line"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskRun(_Record):
    """One run of one script on the data; stdout, stderr, summary and figures are untrusted text.

    Attributes:
        task_id: as given.
        outcome: how the job ended.
        accepted: whether its scores can be scanned.
        problems: plain sentences for whoever has to repair the script.
        stdout: capped.
        stderr: capped.
        wall_s: seconds in the wall.
        cpu_s: seconds of processor time.
        max_rss_bytes: largest resident memory seen.
        script_sha256: of the source text.
        vetted: whether the script is the template of the vetted library, to the letter.
        summary: content of summary.json, if any.
        figures: paths of the figures, re-encoded, relative to the run folder.
    """

    task_id: str
    outcome: Outcome
    accepted: bool
    problems: tuple[str, ...]
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    max_rss_bytes: int
    script_sha256: str
    vetted: bool
    summary: JsonValue = None
    figures: tuple[str, ...] = ()


class FrozenPlan(_Record):
    """A plan with its scripts, fixed; `ledger_head` is the line that says so."""

    plan: SearchPlan
    sha256: str
    scripts_sha256: tuple[str, ...]
    ledger_head: str
    ledger_count: int


def frozen_line(plan_sha256: str, scripts_sha256: Sequence[str]) -> dict[str, JsonValue]:
    """Return the line of the ledger that fixes a plan and its scripts."""
    return {
        "kind": "frozen",
        "plan_sha256": plan_sha256,
        "scripts_sha256": list(scripts_sha256),
    }


class FinalScan(_Record):
    """The final scan of a frozen plan; head and count are those of the ledger after it."""

    outcome: ScanOutcome
    significance: FinalSignificance
    verdict: Verdict
    ledger_head: str
    ledger_count: int
    n_tests: int
