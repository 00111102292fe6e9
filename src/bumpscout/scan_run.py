"""Carries out `bumpscout scan`: the plan of a file with vetted detectors, no model, no sandbox.

Only code of the vetted library touches the events, so no wall is needed; everything else is as in a
search: the file is parsed in a confined child, every test is in the ledger before its result is
known, and the whole plan is replayed on background alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout.cluster import local_executor, usable_cpus
from bumpscout.console import Progress, check_interrupt
from bumpscout.folder import SCAN_FILE, Options, RunFolder
from bumpscout.grid_run import final_grid, prepare_grid
from bumpscout.rerun import write_rerun
from bumpscout.scan_config import read_config
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
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic

if TYPE_CHECKING:
    from bumpscout.result import Result
    from bumpscout.scan_config import ScanConfig
    from bumpscout_sandbox.engine import Claim, ToolsEngine
    from bumpscout_sandbox.ledger import Ledger
    from bumpscout_sandbox.records import FinalScan, FrozenPlan
    from bumpscout_tools.events.view import View
    from bumpscout_tools.scan.plan import SearchPlan
    from bumpscout_tools.script import ScriptTask

__all__ = ["resume_scan", "run_scan"]

FloatArray = npt.NDArray[np.float64]

_REGISTERED = (
    "The configuration declares that this plan was written down before anyone saw these events, so "
    "the claim is confirmatory."
)
_NOT_REGISTERED = (
    "Nothing says that the plan was written down before anyone saw these events, so the claim is "
    "exploratory. The plan can be registered for other events with `preregistered: {}`."
)


def run_scan(
    config_file: Path,
    out: Path,
    *,
    data: Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    max_minutes: float | None = None,
    as_json: bool = False,
) -> str:
    """Carry out the plan of a configuration and return what is printed at its end.

    Args:
        config_file: see `ScanConfig`.
        out: new or empty folder.
        data: file of events, instead of that of the configuration.
        seed: instead of that of the configuration.
        workers: processes; one a processor by default.
        max_minutes: no further replay starts after this time.
        as_json: return the content of ``result.json`` instead of the summary.

    Raises:
        ConfigurationError: if configuration or folder cannot be used.
        InputDataError: if the data cannot be searched.
        DetectorError: if a detector fails on these data.
    """
    config = read_config(config_file)
    path = data or config.data
    if path is None:
        raise ConfigurationError(
            f"{config_file} names no data; add `data: FILE` to it, or give --data."
        )
    check_there(path)
    _check_blinding(config.plan)
    options = Options(
        model="none",
        seed=config.seed if seed is None else seed,
        workers=workers,
        max_minutes=max_minutes,
        luminosity_fb=config.plan.luminosity_fb,
        sqrt_s_gev=config.plan.background.sqrt_s_gev,
        replays=config.plan.replays.n,
        toys=config.plan.toys,
    )
    request = f"scan by the plan of {config_file.name}"
    folder = RunFolder.create(out, request, path, options, "scan")
    kept = config.model_copy(update={"data": path.absolute(), "seed": options.seed})
    write_atomic(folder.path / SCAN_FILE, kept.model_dump_json(indent=2) + "\n")
    return carried_out(folder, partial(_carry_out, data=path), as_json=as_json)


def resume_scan(folder: RunFolder, data: Path | None, *, as_json: bool = False) -> str:
    """Go on with an interrupted scan; finished replays are not repeated.

    Raises:
        BumpscoutError: as `run_scan`.
    """
    path = data or Path(folder.record.data)
    check_there(path)
    return carried_out(folder, partial(_carry_out, data=path), as_json=as_json)


def _check_blinding(plan: SearchPlan) -> None:
    if plan.blinding != "open":
        raise ConfigurationError(
            "blinding: staged needs the vault of a search and an approval; a scan has neither, so "
            "its plan must say `blinding: open`."
        )


def _carry_out(session: Session, progress: Progress, *, data: Path) -> Result:
    from bumpscout_agents.records import SearchRecord
    from bumpscout_agents.trace import TraceTotals
    from bumpscout_sandbox.engine import ToolsEngine, resolve_on
    from bumpscout_sandbox.ledger import Ledger, Mark
    from bumpscout_sandbox.marks import CHECKPOINT_FILE, read_mark, write_mark
    from bumpscout_sandbox.priors import read_priors

    folder, options = session.folder.path, session.folder.record.options
    config = read_config(folder / SCAN_FILE)
    workers = options.workers or usable_cpus()
    out_of_time = deadline(options)
    write_rerun(folder)
    progress("data", f"reading {data.name}")
    asked = [name for detector in config.plan.detectors for name in detector.features]
    session.vault = open_vault(data, options, asked)
    check_same_data(session)
    write_atomic(folder / "card.json", session.vault.card().model_dump_json(indent=1) + "\n")
    engine, view = ToolsEngine(), session.vault.view()
    grid = None
    if config.plan.spectra:
        progress("scores", "scoring the events")
        grid = prepare_grid(
            config.plan, view, seed=options.seed, cache=folder / "cache", workers=workers
        )
    if grid:
        resolved = grid.resolved
    else:
        planned = read_priors(config.plan, session.vault.card().sha256)
        resolved = resolve_on(planned, view, options.seed, engine)
    plan = resolved.plan
    write_atomic(folder / "plan.json", plan.model_dump_json(indent=1) + "\n")
    with Ledger(folder / LEDGER_FILE) as ledger:
        session.ledger = ledger
        known = read_mark(folder / CHECKPOINT_FILE)
        if known is not None:
            ledger.check_contains(known)
        frozen = _freeze(plan, engine, ledger)
        write_mark(folder / CHECKPOINT_FILE, Mark("", ledger.head, ledger.count))
        with contextlib.ExitStack() as stack:
            claim: Claim = "confirmatory" if config.preregistered else "exploratory"
            progress("workers", f"starting {workers} {'threads' if grid else 'processes'}")
            # Threads share the events of a grid; its work is compiled code, which runs beside.
            pool = ThreadPoolExecutor(workers) if grid else local_executor(workers)
            executor = stack.enter_context(pool)
            if grid:
                final, session.examples, session.limits = final_grid(
                    frozen,
                    grid,
                    ledger,
                    folder=folder,
                    seed=options.seed,
                    workers=workers,
                    executor=executor,
                    progress=progress,
                    out_of_time=out_of_time,
                    claim=claim,
                )
            else:
                final = _scan(
                    frozen,
                    view,
                    engine,
                    ledger,
                    folder=folder,
                    seed=options.seed,
                    workers=workers,
                    executor=executor,
                    progress=progress,
                    out_of_time=out_of_time,
                    claim=claim,
                )
            session.record = SearchRecord(
                request=session.folder.record.request,
                status="complete",
                understood=(*resolved.understood, _registered(config)),
                not_understood=resolved.not_understood,
                plan=plan,
                frozen=frozen,
                final=final,
                model=options.model,
                cost=TraceTotals(
                    model_calls=0, prompt_tokens=0, completion_tokens=0, model_wall_s=0
                ),
            )
            if not grid:
                find_limits(session, executor, progress)
        progress("report", "drawing figures")
        find_examples(session)
        check_interrupt()
        return session.finish("complete")


def _freeze(plan: SearchPlan, engine: ToolsEngine, ledger: Ledger) -> FrozenPlan:
    """Freeze the plan once; a scan that goes on finds it in its ledger.

    Raises:
        ConfigurationError: if another plan was frozen there.
    """
    from bumpscout_sandbox.records import FrozenPlan
    from bumpscout_sandbox.store import text_sha256

    detectors = () if plan.spectra else plan.detectors  # fixed scores are made by no script
    scripts = tuple(text_sha256(engine.render(detector)) for detector in detectors)
    line: dict[str, JsonValue] = {
        "kind": "frozen",
        "plan_sha256": plan.sha256(),
        "scripts_sha256": list(scripts),
    }
    known = [b for b in ledger.bodies() if isinstance(b, dict) and b.get("kind") == "frozen"]
    if any(body != line for body in known):
        raise ConfigurationError(
            f"{ledger.path} froze another plan than {SCAN_FILE} holds now. Restore {SCAN_FILE}, or "
            "begin a new scan with another --out."
        )
    head = ledger.head if known else ledger.append(line)
    return FrozenPlan(
        plan=plan,
        sha256=plan.sha256(),
        scripts_sha256=scripts,
        ledger_head=head,
        ledger_count=ledger.count,
    )


def _registered(config: ScanConfig) -> str:
    return _REGISTERED if config.preregistered else _NOT_REGISTERED.format(config.plan.sha256())


def _replayed(_index: int, task: ScriptTask, view: View) -> FloatArray:
    """Score a replay; a function of the module, so that it can be sent to other processes."""
    from bumpscout_tools.scripts import run_vetted

    return run_vetted(task, view)


class _OnData:
    """Gives the scores of the vetted detectors on the data; kept on disk for a resumed scan."""

    def __init__(self, plan: SearchPlan, engine: ToolsEngine, cache: Path, workers: int) -> None:
        from bumpscout_sandbox.store import ScoreStore

        self._plan, self._engine, self._workers = plan, engine, workers
        self._store = ScoreStore(cache)

    def __call__(self, index: int, task: ScriptTask, view: View) -> FloatArray:
        from bumpscout_sandbox.store import content_key
        from bumpscout_tools.scripts import run_vetted

        detector = self._plan.detectors[index]
        script = self._engine.render(detector)
        key = content_key(script, view, task)
        scores = self._store.load_scores(key, len(view), task.windows_gev)
        if scores is None:
            scores = run_vetted(task, view, self._workers)
            self._store.accept(detector, script)
            self._store.save_scores(key, scores)
        return scores


def _scan(
    frozen: FrozenPlan,
    view: View,
    engine: ToolsEngine,
    ledger: Ledger,
    *,
    folder: Path,
    seed: int,
    workers: int,
    executor: Executor,
    progress: Progress,
    out_of_time: Callable[[], bool],
    claim: Claim,
) -> FinalScan:
    from bumpscout_sandbox.ledger import Mark
    from bumpscout_sandbox.marks import CHECKPOINT_FILE, write_mark
    from bumpscout_sandbox.records import FinalScan

    plan = frozen.plan
    known = ledger.test_ids()

    def record(test: dict[str, JsonValue]) -> None:
        if test["test_id"] not in known:
            ledger.append({"kind": "test", "scan": "final", **test})

    progress("scan", "scanning")
    cache = folder / "cache"
    on_data = _OnData(plan, engine, cache, workers)
    outcome = engine.execute(plan, view, seed, executor, on_data, record)
    write_mark(folder / CHECKPOINT_FILE, Mark("", ledger.head, ledger.count))
    prepared = engine.prepare(plan, view, seed)
    scores = [on_data(index, task, prepared.view) for index, task in enumerate(prepared.tasks)]
    significance = engine.significance(
        plan,
        prepared,
        scores,
        outcome,
        seed=seed,
        executor=executor,
        run_script=_replayed,
        scripts_key="/".join(frozen.scripts_sha256),
        folder=cache,
        progress=progress,
        parallel=3 * workers,
        out_of_time=out_of_time,
    )
    outcome = engine.conclude(plan, prepared, scores, outcome, significance)
    return FinalScan(
        outcome=outcome,
        significance=significance,
        verdict=engine.decide(plan, outcome, significance, claim, ()),
        ledger_head=ledger.head,
        ledger_count=ledger.count,
        n_tests=len(ledger.test_ids()),
    )
