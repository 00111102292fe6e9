"""A deterministic policy behind the protocol of a model, for searches without a language model."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from bumpscout_agents.errors import ModelFailed
from bumpscout_agents.model import ModelReply, ModelRequest
from bumpscout_agents.offline.planner import plan_request
from bumpscout_agents.offline.reporter import write_report
from bumpscout_agents.offline.reviewers import review_code, review_run
from bumpscout_agents.schemas import CoderReply, RefineReply, Reply, Role
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

__all__ = ["OfflineModel"]

Payload = dict[str, JsonValue]


class OfflineModel:
    """Answers each role by rule, from the payload of the request.

    The same request gets the same reply. Scripts are the templates of the tool library.
    """

    def __init__(self, render: Callable[[DetectorPlan], str] | None = None) -> None:
        """Take the function that writes scripts; by default ``bumpscout_tools.scripts.render``."""
        self._render = render

    @property
    def name(self) -> str:
        """Return ``offline``."""
        return "offline"

    def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request.

        Raises:
            ModelFailed: if the payload lacks what the role needs.
        """
        answers: dict[Role, Callable[[Payload], Reply]] = {
            "planner": _plan,
            "coder": self._code,
            "code_reviewer": review_code,
            "physics_reviewer": review_run,
            "refine": _refine,
            "reporter": write_report,
        }
        try:
            reply = answers[request.role](request.payload)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFailed(
                f"The offline policy cannot answer as {request.role}: its facts are incomplete "
                f"({type(error).__name__}: {error})."
            ) from error
        return ModelReply(text=reply.model_dump_json(), model=self.name)

    def _code(self, payload: Payload) -> CoderReply:
        from bumpscout_tools import scripts

        task = _mapping(payload["task"])
        detector = DetectorPlan.model_validate(task["detector"])
        render = self._render or scripts.render
        return CoderReply(
            script=render(detector),
            summary=f"The template of the tool library for {detector.name}, unchanged.",
        )


def _plan(payload: Payload) -> Reply:
    request = payload["request"]
    if not isinstance(request, str):
        raise TypeError("the request is no text")
    return plan_request(request, _mapping(payload["card"]), _mapping(payload["options"]))


def _refine(payload: Payload) -> RefineReply:
    """Leave the refinement to the rule of the plan, which every replay repeats."""
    plan = SearchPlan.model_validate(payload["plan"])
    outcome = _mapping(payload["outcome"])
    if not outcome.get("n_believable"):
        why = "No cell of the coarse scan could be fitted, so there is nothing to refine."
        return RefineReply(action="stop", plan=plan, why=why)
    if plan.working_points.refine_rounds == 0:
        return RefineReply(action="stop", plan=plan, why="The plan asks for no refinement.")
    why = "The final scan refines the hottest working points by the rule of the plan."
    return RefineReply(action="refine", plan=plan, why=why)


def _mapping(value: JsonValue) -> Payload:
    if not isinstance(value, dict):
        raise TypeError("an object was expected")
    return value
