"""What the graph of a search works with: the gate, a model, the trace, and the user's wishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel

from bumpscout_agents.model import Model
from bumpscout_agents.options import PlanOptions
from bumpscout_agents.trace import Trace
from bumpscout_sandbox.records import FinalScan, FrozenPlan, TaskRun
from bumpscout_tools.scan.cross_sections import Resolved
from bumpscout_tools.scan.outcome import ScanOutcome
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["GateLike", "Progress", "Services"]


class Progress(Protocol):
    """Takes progress: stage, message, and how much of how much is done where that is known."""

    def __call__(self, stage: str, message: str, done: int | None, total: int | None) -> None:
        """Take one report."""
        ...


class GateLike(Protocol):
    """What the graph uses of `bumpscout_sandbox.gate.Gate`.

    Runs and scores are kept by content on the disk, so that the same call after a resume repeats
    nothing.
    """

    @property
    def card(self) -> BaseModel:
        """Return the dataset card."""
        ...

    def resolve(self, plan: SearchPlan) -> Resolved:
        """Turn visible cross sections of a plan into efficiencies of the fitted mass range."""
        ...

    def run_task(self, task_id: str, script: str, plan: SearchPlan, detector_index: int) -> TaskRun:
        """Run a script in the sandbox and keep its scores for this detector of the plan."""
        ...

    def explore(self, plan: SearchPlan) -> ScanOutcome:
        """Run the coarse scan of a plan with the accepted scripts."""
        ...

    def freeze(self, plan: SearchPlan) -> FrozenPlan:
        """Fix a plan and its scripts."""
        ...

    def final(
        self,
        frozen: FrozenPlan,
        progress: Callable[[str, str, int | None, int | None], None],
        *,
        claim: Literal["confirmatory", "exploratory"] = ...,
        approved_by: Literal["policy", "person"] | None = ...,
        out_of_time: Callable[[], bool] = ...,
    ) -> FinalScan:
        """Run the final scan and the replays of a frozen plan."""
        ...


@dataclass(frozen=True)
class Services:
    """Everything that the nodes of one search share.

    Attributes:
        gate: the only way from scores to numbers.
        model: who answers the roles.
        trace: where every call to the model is booked.
        run_dir: the run folder; plan, tasks and scans are written there.
        progress: takes reports for the terminal.
        options: what the command line fixes about the plan.
        approve: ``auto`` approves frozen plans by policy, ``ask`` asks a person.
        ask: shows a question and returns the answer, or None where there is no terminal.
        attempts: how often a coder may try one task.
        explorations: how often the plan may be scanned before it is frozen.
        out_of_time: True ends the replays.
    """

    gate: GateLike
    model: Model
    trace: Trace
    run_dir: Path
    progress: Progress
    options: PlanOptions = field(default_factory=PlanOptions)
    approve: Literal["ask", "auto"] = "auto"
    ask: Callable[[str], bool] | None = None
    attempts: int = 3
    explorations: int = 3
    out_of_time: Callable[[], bool] = lambda: False
