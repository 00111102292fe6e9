"""Nodes that describe the data and plan the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, JsonValue

from bumpscout_agents.catalogue import plan_schema, tool_catalogue
from bumpscout_agents.dialogue import Dialogue
from bumpscout_agents.quoting import cap, cap_strings
from bumpscout_agents.records import State, TaskRecord
from bumpscout_agents.rundir import write_record
from bumpscout_agents.schemas import PlannerReply
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.plan import SearchPlan

if TYPE_CHECKING:
    from bumpscout_agents.services import Services

__all__ = ["PlanningNodes", "card_facts"]

MAX_REQUEST_CHARS = 20_000


def card_facts(card: BaseModel) -> dict[str, JsonValue]:
    """Return a dataset card as capped JSON, for prompts and policies."""
    facts = cap_strings(card.model_dump(mode="json"))
    return facts if isinstance(facts, dict) else {}


class PlanningNodes:
    """Describe the data; plan."""

    def __init__(self, services: Services, dialogue: Dialogue) -> None:
        """Take what the nodes share."""
        self._services = services
        self._dialogue = dialogue

    def describe(self, state: State) -> State:
        """Write down the request and what is known about the data."""
        card = self._services.gate.card
        write_atomic(self._services.run_dir / "request.txt", state["request"])
        write_record(self._services.run_dir / "card.json", card)
        n_events = card.model_dump(mode="json").get("n_events")
        self._services.progress("describe", f"{n_events} events", None, None)
        return {"status": "running"}

    def plan(self, state: State) -> State:
        """Turn the request into a plan with one task for each detector."""
        options = self._services.options
        card = card_facts(self._services.gate.card)
        reply = self._dialogue.ask(
            "planner",
            PlannerReply,
            {
                "request": cap(state["request"], MAX_REQUEST_CHARS),
                "card": card,
                "options": options.model_dump(mode="json"),
                "tools": tool_catalogue(),
                "plan_schema": plan_schema(),
            },
            accept=lambda reply: _check_plan(options.apply(reply.plan), card),
        )
        resolved = self._services.gate.resolve(options.apply(reply.plan))
        plan = resolved.plan
        understood = [*reply.understood, *resolved.understood]
        not_understood = [*reply.not_understood, *resolved.not_understood]
        write_record(self._services.run_dir / "plan.json", plan)
        for sentence in understood:
            self._services.progress("plan", f"understood: {sentence}", None, None)
        for sentence in not_understood:
            self._services.progress("plan", f"not understood: {sentence}", None, None)
        tasks = [
            TaskRecord(id=f"{index + 1:02d}", detector=detector.name, detector_index=index)
            for index, detector in enumerate(plan.detectors)
        ]
        return {
            "understood": understood,
            "not_understood": not_understood,
            "plan": plan.model_dump(mode="json"),
            "tasks": [task.model_dump(mode="json") for task in tasks],
            "current": 0,
            "explorations": 0,
            "settled": False,
        }


def _check_plan(plan: SearchPlan, card: dict[str, JsonValue]) -> None:
    """Refuse a plan that leaves detectors out, or names features which the view does not have."""
    if plan.withheld or plan.n_lost:
        raise ValueError("withheld and n_lost are what a search finds out; leave them out")
    listed = card.get("features")
    if not isinstance(listed, list):
        return
    known = [item.get("name") if isinstance(item, dict) else item for item in listed]
    for detector in plan.detectors:
        unknown = [name for name in detector.features if name not in known]
        if unknown or not detector.features:
            raise ValueError(
                f"the plan uses the features {unknown}; the view has {', '.join(map(str, known))}"
            )
