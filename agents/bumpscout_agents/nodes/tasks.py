"""Nodes of one task: write a script, review it, run it in the sandbox, review the run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bumpscout_agents.catalogue import tool_catalogue
from bumpscout_agents.dialogue import Dialogue
from bumpscout_agents.errors import RunStateError
from bumpscout_agents.nodes.planning import card_facts
from bumpscout_agents.offline.reviewers import review_run
from bumpscout_agents.prior_events import without_events
from bumpscout_agents.quoting import cap, cap_strings
from bumpscout_agents.records import Attempt, State, TaskRecord
from bumpscout_agents.rundir import read_record, read_text, write_record
from bumpscout_agents.schemas import CoderReply, ReviewReply
from bumpscout_agents.static_checks import blocked, check_script
from bumpscout_sandbox.records import TaskRun
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.plan import SearchPlan

if TYPE_CHECKING:
    from bumpscout_agents.services import Services

__all__ = ["TaskNodes", "current_task", "scored_script", "task_folder", "tasks_of"]

_EARLIER_ATTEMPTS = 2


def tasks_of(state: State) -> list[TaskRecord]:
    """Return the tasks of a state."""
    return [TaskRecord.model_validate(task) for task in state.get("tasks", [])]


def current_task(state: State) -> TaskRecord:
    """Return the task that the graph works on."""
    return tasks_of(state)[state["current"]]


def task_folder(run_dir: Path, task_id: str, attempt: int | None = None) -> Path:
    """Return the folder of a task, or of one of its attempts."""
    folder = run_dir / "tasks" / task_id
    return folder if attempt is None else folder / f"attempt-{attempt}"


def scored_script(run_dir: Path, task: TaskRecord) -> str | None:
    """Return the script of the last attempt that left usable scores, None where none did."""
    for number in range(task.attempts, 0, -1):
        folder = task_folder(run_dir, task.id, number)
        run = read_record(folder / "run.json", TaskRun)
        if run is not None and run.accepted:
            return read_text(folder / "script.py")
    return None


class TaskNodes:
    """Code, review, execute, review the result."""

    def __init__(self, services: Services, dialogue: Dialogue) -> None:
        """Take what the nodes share."""
        self._services = services
        self._dialogue = dialogue

    def code(self, state: State) -> State:
        """Let the coder write a script; after a rejection, with the exact findings."""
        task = current_task(state)
        number = task.attempts + 1
        self._say("code", task, f"attempt {number}")
        reply = self._dialogue.ask(
            "coder",
            CoderReply,
            {
                "task": self._task_facts(state, task),
                "card": card_facts(self._services.gate.card),
                "tools": tool_catalogue(),
                "attempts": self._earlier(task),
            },
            task_id=task.id,
            attempt=number,
        )
        sha = hashlib.sha256(reply.script.encode()).hexdigest()
        attempt = Attempt(number=number, script_sha256=sha, summary=reply.summary)
        self._write(task.id, number, "script.py", reply.script)
        self._write_attempt(task.id, attempt)
        changes = {"status": "written", "attempts": number, "script_sha256": sha}
        return self._changed(state, task.model_copy(update=changes))

    def review(self, state: State) -> State:
        """Check the script, then let the code reviewer see it; a blocker of either blocks."""
        task = current_task(state)
        script, attempt = self._script(task), self._attempt(task, task.attempts)
        static = tuple(check_script(script))
        attempt = attempt.model_copy(update={"static_findings": static})
        if blocked(static):
            return self._rejected(
                state, attempt.model_copy(update={"rejected_by": "static checks"})
            )
        reply = self._dialogue.ask(
            "code_reviewer",
            ReviewReply,
            {
                "task": self._task_facts(state, task),
                "script": script,
                "static_findings": [finding.model_dump(mode="json") for finding in static],
                "tools": tool_catalogue(),
            },
            task_id=task.id,
            attempt=task.attempts,
        )
        own = tuple(finding for finding in reply.findings if finding not in static)
        attempt = attempt.model_copy(update={"code_review": own})
        if not reply.approve:
            return self._rejected(state, attempt.model_copy(update={"rejected_by": "code review"}))
        self._write_attempt(task.id, attempt)
        self._say("review", task, f"approved with {len(attempt.findings())} remarks")
        return self._changed(state, task.model_copy(update={"status": "ready"}))

    def execute(self, state: State) -> State:
        """Run the script in the sandbox, unless this very script has run already."""
        task = current_task(state)
        run = self._known_run(task)
        if run is None:
            self._say("execute", task, "runs in the sandbox")
            plan = SearchPlan.model_validate(state["plan"])
            run = self._services.gate.run_task(
                task.id, self._script(task), plan, task.detector_index
            )
        self._write(task.id, task.attempts, "stdout.txt", run.stdout)
        self._write(task.id, task.attempts, "stderr.txt", run.stderr)
        write_record(task_folder(self._services.run_dir, task.id, task.attempts) / "run.json", run)
        changes = {"status": "ran", "sandbox_s": self._sandbox_s(task)}
        return self._changed(state, task.model_copy(update=changes))

    def review_result(self, state: State) -> State:
        """Check the run, then let the physics reviewer see its report."""
        task = current_task(state)
        attempt, run = self._attempt(task, task.attempts), self._run(task, task.attempts)
        if run is None:
            raise RunStateError(f"The report of the run of task {task.id} is missing.")
        facts = _run_facts(run)
        checks = review_run({"run": facts})
        if not checks.approve:
            changes = {"result_review": checks.findings, "rejected_by": "run"}
            return self._rejected(state, attempt.model_copy(update=changes))
        reply = self._dialogue.ask(
            "physics_reviewer",
            ReviewReply,
            {
                "task": self._task_facts(state, task),
                "card": card_facts(self._services.gate.card),
                "run": facts,
            },
            task_id=task.id,
            attempt=task.attempts,
        )
        attempt = attempt.model_copy(update={"result_review": reply.findings})
        if not reply.approve:
            return self._rejected(
                state, attempt.model_copy(update={"rejected_by": "result review"})
            )
        self._write_attempt(task.id, attempt)
        self._say("result", task, "scores accepted")
        accepted = task.model_copy(update={"status": "accepted", "vetted": run.vetted})
        return self._changed(state, accepted)

    def _rejected(self, state: State, attempt: Attempt) -> State:
        """Book a rejection: back to the coder, or the end of the task."""
        task = current_task(state)
        self._write_attempt(task.id, attempt)
        why = next(item.message for item in attempt.findings() if item.severity == "blocker")
        self._say("review", task, f"rejected by {attempt.rejected_by}: {cap(why, 300)}")
        changes: dict[str, JsonValue] = {"status": "pending"}
        if task.attempts >= self._services.attempts:
            changes = {
                "status": "failed",
                "withheld": scored_script(self._services.run_dir, task) is not None,
                "error": f"Rejected by {attempt.rejected_by} in attempt {task.attempts} of "
                f"{self._services.attempts}: {cap(why, 500)}",
            }
        return self._changed(state, task.model_copy(update=changes))

    def _changed(self, state: State, task: TaskRecord) -> State:
        """Return the update of a state in which one task changed, and go on to the next task."""
        write_record(task_folder(self._services.run_dir, task.id) / "status.json", task)
        tasks = list(state["tasks"])
        tasks[state["current"]] = task.model_dump(mode="json")
        done = task.status in ("accepted", "failed")
        return {"tasks": tasks, "current": state["current"] + 1 if done else state["current"]}

    def _task_facts(self, state: State, task: TaskRecord) -> dict[str, JsonValue]:
        plan = SearchPlan.model_validate(state["plan"])
        detector = without_events(plan).detectors[task.detector_index].model_dump(mode="json")
        windows = plan.windows.model_dump(mode="json")
        return {"id": task.id, "detector": detector, "windows": windows}

    def _earlier(self, task: TaskRecord) -> list[JsonValue]:
        first = max(1, task.attempts - _EARLIER_ATTEMPTS + 1)
        shown: list[JsonValue] = []
        for number in range(first, task.attempts + 1):
            attempt, run = self._attempt(task, number), self._run(task, number)
            shown.append(
                {
                    "attempt": number,
                    "script": cap(self._script(task, number), 20_000),
                    "rejected_by": attempt.rejected_by,
                    "findings": [item.model_dump(mode="json") for item in attempt.findings()],
                    "run": _run_facts(run) if run else None,
                }
            )
        return shown

    def _known_run(self, task: TaskRecord) -> TaskRun | None:
        """Return the report of an earlier run of the same script, in this attempt or before."""
        for number in range(task.attempts, 0, -1):
            run = self._run(task, number)
            if run is not None and run.script_sha256 == task.script_sha256:
                return run
        return None

    def _sandbox_s(self, task: TaskRecord) -> float:
        """Return the time in the sandbox over all attempts; a script that was repeated ran once."""
        runs = [self._run(task, number) for number in range(1, task.attempts + 1)]
        return sum({run.script_sha256: run.wall_s for run in runs if run is not None}.values())

    def _script(self, task: TaskRecord, number: int | None = None) -> str:
        folder = task_folder(self._services.run_dir, task.id, number or task.attempts)
        script = read_text(folder / "script.py")
        if script is None:
            raise RunStateError(f"The script {folder / 'script.py'} is missing; start a new run.")
        return script

    def _attempt(self, task: TaskRecord, number: int) -> Attempt:
        path = task_folder(self._services.run_dir, task.id, number) / "review.json"
        attempt = read_record(path, Attempt)
        if attempt is None:
            raise RunStateError(f"The review {path} is missing; start a new run.")
        return attempt

    def _run(self, task: TaskRecord, number: int) -> TaskRun | None:
        folder = task_folder(self._services.run_dir, task.id, number)
        return read_record(folder / "run.json", TaskRun)

    def _write(self, task_id: str, number: int, name: str, text: str) -> None:
        """Write a file of an attempt, and the same in the folder of the task for the last one."""
        write_atomic(task_folder(self._services.run_dir, task_id, number) / name, text)
        write_atomic(task_folder(self._services.run_dir, task_id) / name, text)

    def _write_attempt(self, task_id: str, attempt: Attempt) -> None:
        for number in (attempt.number, None):
            folder = task_folder(self._services.run_dir, task_id, number)
            write_record(folder / "review.json", attempt)

    def _say(self, stage: str, task: TaskRecord, message: str) -> None:
        text = f"task {task.id} ({task.detector}): {message}"
        self._services.progress(stage, text, None, None)


def _run_facts(run: TaskRun) -> dict[str, JsonValue]:
    """Return a run as it may be shown to a model: capped, and without times that differ."""
    return {
        "outcome": run.outcome,
        "accepted": run.accepted,
        "problems": [cap(problem, 500) for problem in run.problems[:20]],
        "stdout": cap(run.stdout),
        "stderr": cap(run.stderr),
        "summary": cap_strings(run.summary),
        "n_figures": len(run.figures),
    }
