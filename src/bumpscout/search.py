"""Carries out one search: vault, gate, agents and executor are put together here."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from bumpscout.cluster import local_executor, usable_cpus
from bumpscout.console import Progress, check_interrupt
from bumpscout.folder import Options, RunFolder
from bumpscout.rerun import write_rerun
from bumpscout.scan_limits import find_limits
from bumpscout.session import Session
from bumpscout.steps import (
    carried_out,
    check_same_data,
    check_there,
    deadline,
    find_examples,
    open_vault,
)
from bumpscout.verify import LEDGER_FILE
from bumpscout.words import printable
from bumpscout_agents.options import PlanOptions
from bumpscout_tools.scan.plan import SearchPlan

if TYPE_CHECKING:
    from bumpscout.result import Result
    from bumpscout_sandbox.gate import Gate

__all__ = ["SearchOptions", "dry_run", "resume_search", "run_search"]


class SearchOptions(PlanOptions):
    """What the command line fixes about the plan; planners are not told of `toys`."""

    toys: int | None = Field(default=None, ge=100, le=10_000_000, exclude=True)

    def apply(self, plan: SearchPlan) -> SearchPlan:
        """Return the plan with the options in it."""
        changed = super().apply(plan)
        return changed if self.toys is None else changed.model_copy(update={"toys": self.toys})

    @classmethod
    def of(cls, options: Options) -> SearchOptions:
        """Pick the options that belong to the plan."""
        return cls(
            replays=options.replays,
            luminosity_fb=options.luminosity_fb,
            sqrt_s_gev=options.sqrt_s_gev,
            blinding=options.blinding,
            toys=options.toys,
        )


def run_search(
    request: str, data: Path, out: Path, options: Options, *, as_json: bool = False
) -> str:
    """Carry out a search and return what is printed at its end.

    Args:
        request: what to look for, in English.
        data: file of events.
        out: new or empty folder.
        options: what the command line decided.
        as_json: return the content of ``result.json`` instead of the summary.

    Raises:
        ConfigurationError: if the folder or an option cannot be used.
        InputDataError: if the data cannot be searched.
        SandboxError: if there is no sandbox.
        AgentError: if no task succeeded, or the plan waits for approval.
    """
    check_there(data)
    folder = RunFolder.create(out, request, data, options)
    return carried_out(folder, partial(_carry_out, data=data), as_json=as_json)


def resume_search(
    folder: Path, data: Path | None, *, workers: int | None = None, as_json: bool = False
) -> str:
    """Go on with an interrupted search, or one whose plan was approved, and return what is printed.

    Args:
        folder: run folder; its request, options and seed are used.
        data: the same file of events, where it has moved.
        workers: processes, if not as many as the search began with.
        as_json: return the content of ``result.json`` instead of the summary.

    Raises:
        ConfigurationError: if the folder holds no unfinished run.
        InputDataError: if the data are missing, or not those that the search began with.
        BumpscoutError: as `run_search`.
    """
    opened = RunFolder.reopen(folder, workers)
    if opened.record.kind == "scan":
        from bumpscout.scan_run import resume_scan

        return resume_scan(opened, data, as_json=as_json)
    path = data or Path(opened.record.data)
    check_there(path)
    return carried_out(opened, partial(_carry_out, data=path), as_json=as_json)


def _carry_out(session: Session, progress: Progress, *, data: Path) -> Result:
    from bumpscout_agents.offline.priors import named_files
    from bumpscout_sandbox.choice import choose
    from bumpscout_sandbox.gate import Gate
    from bumpscout_sandbox.ledger import Ledger
    from bumpscout_sandbox.limits import Limits

    folder, options = session.folder.path, session.folder.record.options
    workers = options.workers or usable_cpus()
    out_of_time = deadline(options)
    write_rerun(folder)
    progress("data", f"reading {data.name}")
    session.vault = open_vault(data, options)
    check_same_data(session)
    provider = choose(options.sandbox)
    session.provider = provider.name
    progress("sandbox", f"scripts run in {provider.name}")
    cancel = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(provider.close)
        stack.callback(cancel.set)
        session.ledger = stack.enter_context(Ledger(folder / LEDGER_FILE))
        progress("workers", f"starting {workers} processes")
        executor = stack.enter_context(local_executor(workers))
        limits = Limits.for_machine()
        gate = Gate(
            session.vault,
            provider,
            session.ledger,
            folder,
            seed=options.seed,
            limits=limits.model_copy(update={"cpus": min(workers, limits.cpus)}),
            executor=executor,
            parallel=3 * workers,
            cancel=cancel,
            named=named_files(session.folder.record.request),
        )
        _run_graph(session, gate, progress, out_of_time)
        find_limits(session, executor, progress)
        progress("report", "drawing figures")
        find_examples(session)
        check_interrupt()
        stopped = session.record is None or session.record.status != "complete"
        return session.finish("stopped" if stopped else "complete")


def _run_graph(
    session: Session, gate: Gate, progress: Progress, out_of_time: Callable[[], bool]
) -> None:
    from bumpscout_agents import graph
    from bumpscout_agents.offline import OfflineModel
    from bumpscout_agents.services import Services
    from bumpscout_agents.trace import Trace

    record, path = session.folder.record, session.folder.path
    logging.getLogger("langgraph").setLevel(logging.ERROR)
    services = Services(
        gate=gate,
        model=OfflineModel(),
        trace=Trace(path / "trace.jsonl"),
        run_dir=path,
        progress=progress,
        options=SearchOptions.of(record.options),
        approve=record.options.approve,
        out_of_time=out_of_time,
        ask=_ask if sys.stdin.isatty() and sys.stderr.isatty() else None,
    )
    if graph.read_search(path) is None:
        session.record = graph.run_search(services, record.request)
    else:
        session.record = graph.resume_search(services)


def _ask(question: str) -> bool:
    import click

    return click.confirm(printable(question), default=False, err=True)


def dry_run(request: str, data: Path, options: Options, *, as_json: bool = False) -> str:
    """Return what a search would do: what was understood, and the plan; no script runs.

    Raises:
        ConfigurationError: if an option cannot be used.
        InputDataError: if the data cannot be searched.
    """
    import json

    from bumpscout_agents.nodes.planning import card_facts
    from bumpscout_agents.offline.planner import plan_request
    from bumpscout_agents.prior_events import without_events
    from bumpscout_sandbox.engine import resolve_on
    from bumpscout_sandbox.priors import read_priors

    check_there(data)
    vault = open_vault(data, options)
    card = vault.card()
    chosen = SearchOptions.of(options)
    reply = plan_request(request, card_facts(card), chosen.model_dump(mode="json"))
    planned = read_priors(chosen.apply(reply.plan), card.sha256)
    resolved = resolve_on(planned, vault.view(), options.seed, share=vault.explored_share)
    plan = resolved.plan
    understood = [*reply.understood, *resolved.understood]
    not_understood = [*reply.not_understood, *resolved.not_understood]
    if as_json:
        content = {
            "understood": understood,
            "not_understood": not_understood,
            "dataset": card.model_dump(mode="json"),
            "plan": plan.model_dump(mode="json"),
            "plan_sha256": plan.sha256(),
        }
        return json.dumps(content, indent=2)
    shown = without_events(plan)
    lines = [f"understood: {line}" for line in understood]
    lines += [f"not understood: {line}" for line in not_understood]
    lines += [f"data: {card.n_usable} of {card.n_events} events of {card.name} can be searched", ""]
    return printable("\n".join(lines), 20_000) + "\n" + shown.model_dump_json(indent=2)
