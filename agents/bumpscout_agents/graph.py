"""The graph of a search on LangGraph: from a request to a final scan, resumable at every node."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bumpscout_agents.approval import read_approval, read_frozen
from bumpscout_agents.checkpoint import CHECKPOINT_FILE, open_saver
from bumpscout_agents.dialogue import Dialogue
from bumpscout_agents.errors import RunStateError
from bumpscout_agents.nodes.planning import PlanningNodes
from bumpscout_agents.nodes.reporting import REPORT_FILE, ReportingNodes
from bumpscout_agents.nodes.scanning import FINAL_FILE, ScanningNodes
from bumpscout_agents.nodes.tasks import TaskNodes, tasks_of
from bumpscout_agents.records import FinalRecord, ReportText, SearchRecord, State
from bumpscout_agents.rundir import read_record
from bumpscout_agents.trace import Trace
from bumpscout_tools.scan.plan import SearchPlan

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph.state import CompiledStateGraph

    from bumpscout_agents.services import Services

__all__ = ["read_search", "resume_search", "run_search"]

_THREAD = {"thread_id": "search"}
_MAX_STEPS = 2000


def run_search(services: Services, request: str) -> SearchRecord:
    """Run a new search in an empty run folder.

    Args:
        services: gate, model, trace and wishes.
        request: what the user wrote, in plain words; it may be empty.

    Returns:
        The finished search, or a stopped one where the plan was not approved.

    Raises:
        AgentError: if the model failed, no task succeeded, or an approval is waited for; all that
            was done is in the run folder, see `read_search`.
        BumpscoutError: what gate and tools raise.
    """
    if _state(services.run_dir) is not None:
        raise RunStateError(
            f"{services.run_dir} already holds a search; resume it, or choose another folder."
        )
    start: State = {"request": request, "model": services.model.name, "status": "running"}
    _invoke(services, start)
    return _finished(services.run_dir)


def resume_search(services: Services) -> SearchRecord:
    """Go on with a search that was interrupted or waits for an approval.

    The interrupted node runs again; what it had saved already is not repeated. A finished search is
    returned as it is.

    Raises:
        RunStateError: if the folder holds no search, or one of another model.
        BumpscoutError: as `run_search`.
    """
    state = _state(services.run_dir)
    if state is None:
        raise RunStateError(f"{services.run_dir} holds no search that could be resumed.")
    if state.get("model") != services.model.name:
        raise RunStateError(
            f"The search in {services.run_dir} was begun with the model {state.get('model')!r} and "
            f"cannot go on with {services.model.name!r}; give --model {state.get('model')}."
        )
    if state.get("status") not in ("complete", "stopped"):
        _invoke(services, None)
    return _finished(services.run_dir)


def read_search(run_dir: Path) -> SearchRecord | None:
    """Return how far a search came, or None where the folder holds none.

    Raises:
        RunStateError: if its files are damaged.
    """
    state = _state(run_dir)
    if state is None:
        return None
    try:
        return _record(run_dir, state)
    except (KeyError, TypeError, ValueError) as error:
        raise RunStateError(
            f"The state of the search in {run_dir} is damaged; start a new run."
        ) from error


def _invoke(services: Services, start: State | None) -> None:
    from langsmith import tracing_context

    config: RunnableConfig = {"configurable": _THREAD, "recursion_limit": _MAX_STEPS}
    # A tracing service that the environment names for other programs gets nothing of a search.
    with open_saver(services.run_dir) as saver, tracing_context(enabled=False):
        _build(services, saver).invoke(start, config, durability="sync")


def _finished(run_dir: Path) -> SearchRecord:
    record = read_search(run_dir)
    if record is None or record.status == "running":
        raise RunStateError(f"The search in {run_dir} ended without a result; resume it.")
    return record


def _state(run_dir: Path) -> State | None:
    if not (run_dir / CHECKPOINT_FILE).exists():
        return None
    with open_saver(run_dir) as saver:
        found = saver.get_tuple({"configurable": _THREAD})
    if found is None:
        return None
    values = found.checkpoint["channel_values"]
    return cast("State", values.get("__start__") or values)


def _record(run_dir: Path, state: State) -> SearchRecord:
    frozen, final = read_frozen(run_dir), read_record(run_dir / FINAL_FILE, FinalRecord)
    if final is not None and (frozen is None or final.plan_sha256 != frozen.sha256):
        final = None
    plan = state.get("plan")
    trace = Trace(run_dir / "trace.jsonl")
    return SearchRecord.model_validate(
        {
            "request": state["request"],
            "status": state["status"],
            "reason": state.get("reason"),
            "understood": state.get("understood", ()),
            "not_understood": state.get("not_understood", ()),
            "plan": SearchPlan.model_validate(plan) if plan else None,
            "tasks": tasks_of(state),
            "explorations": state.get("explorations", 0),
            "frozen": frozen,
            "approval": read_approval(run_dir),
            "final": final.scan if final else None,
            "report": read_record(run_dir / REPORT_FILE, ReportText),
            "model": state["model"],
            "cost": trace.totals(),
        }
    )


def _build(services: Services, saver: SqliteSaver) -> CompiledStateGraph[State, None, State, State]:
    """Put the graph together."""
    from langgraph.graph import END, START, StateGraph

    dialogue = Dialogue(services.model, services.trace)
    planning = PlanningNodes(services, dialogue)
    tasks = TaskNodes(services, dialogue)
    scanning = ScanningNodes(services, dialogue)
    reporting = ReportingNodes(services, dialogue)
    graph = StateGraph(State)
    graph.add_node("describe", planning.describe)
    graph.add_node("make_plan", planning.plan)
    graph.add_node("code", tasks.code)
    graph.add_node("review", tasks.review)
    graph.add_node("execute", tasks.execute)
    graph.add_node("review_result", tasks.review_result)
    graph.add_node("explore", scanning.explore)
    graph.add_node("refine", scanning.refine)
    graph.add_node("freeze", scanning.freeze)
    graph.add_node("approve", scanning.approve)
    graph.add_node("final", scanning.final)
    graph.add_node("report", reporting.report)
    graph.add_edge(START, "describe")
    graph.add_edge("describe", "make_plan")
    graph.add_edge("make_plan", "code")
    graph.add_edge("code", "review")
    graph.add_conditional_edges("review", _after_review, ["execute", "code", "explore"])
    graph.add_edge("execute", "review_result")
    graph.add_conditional_edges("review_result", _after_review, ["execute", "code", "explore"])
    graph.add_edge("explore", "refine")
    graph.add_conditional_edges("refine", _after_refine, ["freeze", "explore"])
    graph.add_edge("freeze", "approve")
    graph.add_conditional_edges("approve", _after_approve, {"final": "final", "end": END})
    graph.add_edge("final", "report")
    graph.add_edge("report", END)
    return graph.compile(checkpointer=saver)


def _after_review(state: State) -> str:
    """Go on with the current task, or to the scan after the last one."""
    if state["current"] >= len(state["tasks"]):
        return "explore"
    return "execute" if state["tasks"][state["current"]]["status"] == "ready" else "code"


def _after_refine(state: State) -> str:
    return "freeze" if state["settled"] else "explore"


def _after_approve(state: State) -> str:
    return "final" if state["approved"] else "end"
