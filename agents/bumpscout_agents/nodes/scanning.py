"""Nodes that scan: explore, refine, freeze, approve, final."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from bumpscout_agents.approval import FROZEN_FILE, read_approval, read_frozen, write_approval
from bumpscout_agents.dialogue import Dialogue
from bumpscout_agents.errors import NoTaskSucceeded, RunStateError, WaitingForApproval
from bumpscout_agents.nodes.tasks import scored_script, task_folder, tasks_of
from bumpscout_agents.offline.model import OfflineModel
from bumpscout_agents.prior_events import with_events, without_events
from bumpscout_agents.records import FinalRecord, State, TaskRecord
from bumpscout_agents.rundir import read_record, write_record
from bumpscout_agents.schemas import RefineReply
from bumpscout_sandbox.records import FrozenPlan
from bumpscout_tools.scan.outcome import ScanOutcome
from bumpscout_tools.scan.plan import SearchPlan

if TYPE_CHECKING:
    from bumpscout_agents.services import Services

__all__ = ["FINAL_FILE", "ScanningNodes"]

FINAL_FILE = "final.json"
_SHOWN_CELLS = 10


class ScanningNodes:
    """From accepted scores to the final scan."""

    def __init__(self, services: Services, dialogue: Dialogue) -> None:
        """Take what the nodes share."""
        self._services = services
        self._dialogue = dialogue

    def explore(self, state: State) -> State:
        """Scan the plan coarsely, with the detectors that left scores.

        Raises:
            NoTaskSucceeded: if there is none.
        """
        tasks, plan = self._usable(tasks_of(state), SearchPlan.model_validate(state["plan"]))
        sha = plan.sha256()
        path = self._services.run_dir / "scans" / f"explore-{sha[:16]}.json"
        if read_record(path, ScanOutcome) is None:
            self._services.progress("explore", "coarse scan", None, None)
            write_record(path, self._services.gate.explore(plan))
        return {
            "tasks": [task.model_dump(mode="json") for task in tasks],
            "plan": plan.model_dump(mode="json"),
            "explorations": state["explorations"] + 1,
            "explored_sha256": [*state.get("explored_sha256", []), sha],
        }

    def refine(self, state: State) -> State:
        """Let the planner look at the coarse scan: freeze the plan, or change it."""
        plan = SearchPlan.model_validate(state["plan"])
        rounds_left = self._services.explorations - state["explorations"]
        path = self._services.run_dir / "scans" / f"explore-{plan.sha256()[:16]}.json"
        outcome = read_record(path, ScanOutcome)
        if outcome is None:
            raise RunStateError(f"The coarse scan {path} is missing; start a new run.")
        options = self._services.options
        reply = self._dialogue.ask(
            "refine",
            RefineReply,
            {
                "plan": without_events(plan).model_dump(mode="json"),
                "outcome": _outcome_facts(outcome),
                "rounds_left": rounds_left,
            },
            attempt=state["explorations"],
            accept=lambda reply: _check_refined(plan, options.apply(with_events(reply.plan, plan))),
        )
        refined = reply.action == "refine"
        chosen = options.apply(with_events(reply.plan, plan)) if refined else plan
        self._services.progress("refine", reply.why, None, None)
        settled = chosen == plan or rounds_left < 1
        write_record(self._services.run_dir / "plan.json", chosen)
        return {"plan": chosen.model_dump(mode="json"), "settled": settled}

    def freeze(self, state: State) -> State:
        """Freeze the plan; from here on it cannot be changed."""
        plan = SearchPlan.model_validate(state["plan"])
        frozen = read_frozen(self._services.run_dir)
        if frozen is None or frozen.sha256 != plan.sha256():
            frozen = self._services.gate.freeze(plan)
            write_record(self._services.run_dir / FROZEN_FILE, frozen)
        message = f"plan {frozen.sha256[:12]} after {frozen.ledger_count} lines of the ledger"
        self._services.progress("freeze", message, None, None)
        return {"frozen_sha256": frozen.sha256}

    def approve(self, state: State) -> State:
        """Get the approval of the frozen plan.

        Raises:
            WaitingForApproval: if a person must be asked and there is no terminal.
        """
        services = self._services
        approval = read_approval(services.run_dir)
        if approval is None and services.approve == "auto":
            approval = write_approval(services.run_dir, "policy")
        elif approval is None:
            if services.ask is None:
                raise WaitingForApproval(
                    f"The plan {state['frozen_sha256'][:12]} in {services.run_dir / FROZEN_FILE} "
                    "is frozen and waits for an approval, and there is no terminal to ask at. Run "
                    f"`bumpscout approve {services.run_dir}`, then `bumpscout resume "
                    f"{services.run_dir}`."
                )
            yes = services.ask(
                f"Run the final scan of the frozen plan {state['frozen_sha256'][:12]}?"
            )
            approval = write_approval(services.run_dir, "person", approved=yes)
        if not approval.approved:
            return {
                "approved": False,
                "status": "stopped",
                "reason": "The frozen plan was not approved, so the final scan did not run.",
            }
        services.progress("approve", f"approved by {approval.by}", None, None)
        return {"approved": True}

    def final(self, state: State) -> State:
        """Run the final scan of the frozen and approved plan."""
        services = self._services
        frozen, approval = read_frozen(services.run_dir), read_approval(services.run_dir)
        if frozen is None or frozen.sha256 != state["frozen_sha256"]:
            raise RunStateError(
                f"The plan in {services.run_dir / FROZEN_FILE} is not the one that was frozen."
            )
        if approval is None or not approval.approved:
            raise RunStateError("The frozen plan has no approval any more; start a new run.")
        path = services.run_dir / FINAL_FILE
        known = read_record(path, FinalRecord)
        if known is None or known.plan_sha256 != frozen.sha256:
            scan = services.gate.final(
                frozen,
                services.progress,
                claim=self._claim(state, frozen),
                approved_by=approval.by,
                out_of_time=services.out_of_time,
            )
            write_record(path, FinalRecord(plan_sha256=frozen.sha256, scan=scan))
        return {"status": "running"}

    def _claim(self, state: State, frozen: FrozenPlan) -> Literal["confirmatory", "exploratory"]:
        """Return whether these events are new, or the replays run all choices that were made.

        Under staged blinding nobody saw the events of the claim before the plan was frozen. The
        choices of the offline policy do not depend on the events: it takes the plan from the
        request and leaves the refinement to the rule of the plan.
        """
        if frozen.plan.blinding == "staged":
            return "confirmatory"
        unchanged = set(state.get("explored_sha256", [])) == {frozen.sha256}
        replayed = unchanged and not frozen.plan.n_lost
        offline = isinstance(self._services.model, OfflineModel)
        return "confirmatory" if offline and replayed else "exploratory"

    def _usable(
        self, tasks: list[TaskRecord], plan: SearchPlan
    ) -> tuple[list[TaskRecord], SearchPlan]:
        """Return the plan with the detectors that have scores, after checking that they do.

        A detector whose scores were rejected after they had been seen stays in the plan, withheld:
        its tests count, and it makes no bump. One that left no scores is counted as lost. A script
        whose scores were accepted for another plan runs again where its task differs.
        """
        standing = [task for task in tasks if task.status == "accepted" or task.withheld]
        # The first plan has one detector a task; a reduced one has those of the standing tasks.
        first = len(plan.detectors) == len(tasks)
        pairs = [
            (task, plan.detectors[task.detector_index if first else place])
            for place, task in enumerate(standing)
        ]
        while any(task.status == "accepted" for task, _ in pairs):
            changes = {
                "detectors": tuple(detector for _, detector in pairs),
                "withheld": tuple(place for place, (task, _) in enumerate(pairs) if task.withheld),
                "n_lost": len(tasks) - len(pairs),
            }
            reduced = plan.model_copy(update=changes)
            failed = self._first_failure([task for task, _ in pairs], reduced)
            if failed is None:
                return tasks, reduced
            tasks = [failed if task.id == failed.id else task for task in tasks]
            pairs = [pair for pair in pairs if pair[0].id != failed.id]
        raise NoTaskSucceeded(_no_task(tasks))

    def _first_failure(self, standing: list[TaskRecord], plan: SearchPlan) -> TaskRecord | None:
        for index, task in enumerate(standing):
            script = scored_script(self._services.run_dir, task)
            if script is None:
                raise RunStateError(f"The script of task {task.id} is missing; start a new run.")
            run = self._services.gate.run_task(task.id, script, plan, index)
            if not run.accepted:
                why = "; ".join(run.problems) or run.outcome
                error = f"The script failed on the plan without the failed tasks: {why[:500]}"
                changes = {"status": "failed", "error": error, "withheld": False}
                failed = task.model_copy(update=changes)
                folder = task_folder(self._services.run_dir, task.id)
                write_record(folder / "status.json", failed)
                return failed
        return None


def _no_task(tasks: list[TaskRecord]) -> str:
    errors = " ".join(f"Task {task.id} ({task.detector}): {task.error}" for task in tasks)
    return (
        f"None of the {len(tasks)} tasks of the plan gave scores that may be scanned. {errors} The "
        "scripts, reviews and outputs are in the folder tasks of the run."
    )


def _check_refined(plan: SearchPlan, refined: SearchPlan) -> None:
    if refined.detectors != plan.detectors:
        raise ValueError("the detectors of the plan and their order must stay as they are")
    if (refined.withheld, refined.n_lost) != (plan.withheld, plan.n_lost):
        raise ValueError("which detectors are withheld or lost must stay as it is")
    if refined.blinding != plan.blinding:
        raise ValueError("the blinding of the plan must stay as it is")


def _outcome_facts(outcome: ScanOutcome) -> dict[str, JsonValue]:
    """Return a coarse scan in short: counts, and the hottest cells."""
    hottest: list[JsonValue] = [
        outcome.cells[index].model_dump(mode="json") for index in outcome.ranking[:_SHOWN_CELLS]
    ]
    fired: list[JsonValue] = [
        f"{test_id}: {guard.message}"
        for test_id, guards in outcome.guards.items()
        for guard in guards
        if guard.fired
    ]
    return {
        "n_events": outcome.n_events,
        "n_cells": len(outcome.cells),
        "n_believable": sum(cell.believable for cell in outcome.cells),
        "described": outcome.described,
        "hottest": hottest,
        "guards_fired": fired[:20],
    }
