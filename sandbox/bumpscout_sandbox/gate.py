"""The gate: the only way from scores to numbers.

Scripts run in the wall and leave scores; here they are checked, cached by content and handed to the
vetted scan. Every test is in the ledger before its result is known.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_sandbox.blinding import Approver
from bumpscout_sandbox.card import DatasetCard
from bumpscout_sandbox.engine import Claim, Progress, ScanEngine, ToolsEngine, resolve_on
from bumpscout_sandbox.figures import keep_figures
from bumpscout_sandbox.judge import Judge, detector_of, unplanned_tests
from bumpscout_sandbox.ledger import Ledger, Mark
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.marks import CHECKPOINT_FILE, read_mark, write_mark
from bumpscout_sandbox.priors import read_priors
from bumpscout_sandbox.provider import NAME_PATTERN, Provider
from bumpscout_sandbox.records import FinalScan, FrozenPlan, TaskRun, frozen_line
from bumpscout_sandbox.scoring import ReplayScripts, ScoreRun, run_scores
from bumpscout_sandbox.store import ScoreStore, content_key, text_sha256
from bumpscout_sandbox.text import printable
from bumpscout_sandbox.vault import Vault
from bumpscout_tools.errors import ConfigurationError, DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.cross_sections import Resolved
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.script import ScriptTask

if TYPE_CHECKING:
    from bumpscout_tools.scan.outcome import ScanOutcome

__all__ = ["FinalScan", "FrozenPlan", "Gate", "TaskRun"]

FloatArray = npt.NDArray[np.float64]


class Gate:
    """Runs scripts for one search and turns their scores into tests; see the module."""

    def __init__(
        self,
        vault: Vault,
        provider: Provider,
        ledger: Ledger,
        run_dir: Path,
        *,
        seed: int,
        limits: Limits | None = None,
        executor: Executor | None = None,
        parallel: int = 1,
        cancel: threading.Event | None = None,
        engine: ScanEngine | None = None,
        cold: bool = False,
        named: Collection[str] = (),
    ) -> None:
        """Put the gate together.

        Args:
            vault: the opened file.
            provider: the wall.
            ledger: open; every test is appended to it.
            run_dir: folder of the run; accepted scores are cached below ``cache``, figures are left
                below ``tasks``.
            seed: decides the tasks, the tests and the replays.
            limits: of each script; by default those of the machine.
            executor: runs tests, toys and replays side by side; serial by default.
            parallel: replays in flight.
            cancel: set it to end a running script.
            engine: the scan; that of the vetted library by default.
            cold: start a fresh interpreter for each script, where the wall would fork a warm one.
            named: files of signal events that the user has named; plans may take priors from them.

        Raises:
            LedgerBroken: if the checkpoint of the run knows lines that the ledger has not.
        """
        self._vault = vault
        self._view = vault.view()
        self._card = vault.card()
        self._provider = provider
        self._ledger = ledger
        self._run_dir = run_dir
        self._seed = seed
        self._limits = limits or Limits.for_machine()
        self._executor = executor or SerialExecutor()
        self._parallel = parallel
        self._cancel = cancel
        self._engine: ScanEngine = engine or ToolsEngine()
        self._cold = cold
        self._named = tuple(named)
        self._store = ScoreStore(run_dir / "cache")
        known = read_mark(run_dir / CHECKPOINT_FILE)
        if known is not None:
            ledger.check_contains(known)
        self._recorded = {json.dumps(body, sort_keys=True) for body in ledger.bodies()}

    @property
    def card(self) -> DatasetCard:
        """Return the dataset card of the vault."""
        return self._card

    @property
    def ledger(self) -> Ledger:
        """Return the open ledger."""
        return self._ledger

    def resolve(self, plan: SearchPlan) -> Resolved:
        """Return the plan with its visible cross sections as efficiencies, its priors as events.

        Raises:
            ConfigurationError: if plan and data do not fit together, or a prior is taken from a
                file that the user has not named.
            InputDataError: if too little is left to search, or a prior cannot be used.
        """
        plan = read_priors(plan, self._card.sha256, self._named)
        return resolve_on(
            plan, self._view, self._seed, self._engine, share=self._vault.explored_share
        )

    def run_task(self, task_id: str, script: str, plan: SearchPlan, detector_index: int) -> TaskRun:
        """Run a detector's script in the wall on the data and judge what it leaves.

        A script that was accepted for the same view and task is not run again. The last accepted
        script of a detector is the one that `explore` and `freeze` use. What a script prints is
        shown to its writer, so one that is not vetted sees masses drawn from a smooth fit: no later
        script can remember which events make a bump. Under staged blinding all scripts do.

        Args:
            task_id: names the folder of its figures: ``tasks/<task_id>``.
            script: source text that a coder or a template wrote.
            plan: the search plan.
            detector_index: which of the plan's detectors the script is for.

        Raises:
            ConfigurationError: if plan and data do not fit together, or the index is none.
            SandboxError: if the wall failed; a failing script is a `TaskRun` that is not accepted.
        """
        detector = detector_of(plan, detector_index)
        if not re.fullmatch(NAME_PATTERN, task_id):
            raise ConfigurationError(f"The task id {task_id!r} cannot name a folder.")
        prepared = self._engine.prepare(plan, self._view, self._seed)
        task = prepared.tasks[detector_index]
        vetted, shown = script == self._engine.render(detector), prepared.view
        if self._blinded or not vetted:
            shown = self._engine.with_smooth_masses(plan, prepared, self._seed)
        key = content_key(script, shown, task)
        known = self._store.load_run(key)
        if known is not None:
            if known.accepted:
                self._store.accept(detector, script)
            return known.model_copy(update={"task_id": task_id, "vetted": vetted})
        run = self._score(script, task, shown, vetted)
        task_run = TaskRun(
            task_id=task_id,
            outcome=run.result.outcome,
            accepted=run.scores is not None,
            problems=tuple(printable(problem, 1000) for problem in run.problems),
            stdout=run.result.stdout,
            stderr=run.result.stderr,
            wall_s=run.result.wall_s,
            cpu_s=run.result.cpu_s,
            max_rss_bytes=run.result.max_rss_bytes,
            script_sha256=text_sha256(script),
            vetted=vetted,
            summary=run.summary,
            figures=keep_figures(self._run_dir, task_id, run.figures),
        )
        self._store.save(key, task_run, run.scores)
        if task_run.accepted:
            self._store.accept(detector, script)
        return task_run

    def explore(self, plan: SearchPlan) -> ScanOutcome:
        """Scan the coarse working points of a plan with the accepted scripts.

        Raises:
            ConfigurationError: if a detector of the plan has no accepted script.
            DetectorError: if an accepted script fails on the task of this plan.
        """
        points = plan.working_points.model_copy(update={"refine_rounds": 0})
        coarse = plan.model_copy(update={"working_points": points})
        scripts = self._accepted(plan)
        outcome = self._engine.execute(
            coarse,
            self._view,
            self._seed,
            self._executor,
            lambda index, task, view: self._scores(
                plan.detectors[index], scripts[index], task, view
            ),
            self._recorder("explore"),
        )
        self._mark()
        return outcome

    def freeze(self, plan: SearchPlan) -> FrozenPlan:
        """Fix a plan and its scripts, and write so into the ledger.

        Raises:
            ConfigurationError: if a detector of the plan has no accepted script.
        """
        scripts = tuple(text_sha256(script) for script in self._accepted(plan))
        head = self._ledger.append(frozen_line(plan.sha256(), scripts))
        self._mark()
        return FrozenPlan(
            plan=plan,
            sha256=plan.sha256(),
            scripts_sha256=scripts,
            ledger_head=head,
            ledger_count=self._ledger.count,
        )

    def final(
        self,
        frozen: FrozenPlan,
        progress: Progress,
        *,
        claim: Claim = "exploratory",
        approved_by: Approver | None = None,
        out_of_time: Callable[[], bool] = lambda: False,
    ) -> FinalScan:
        """Carry out a frozen plan, replay it on background alone, and decide.

        Args:
            frozen: what `freeze` returned.
            progress: called with (stage, message, done, total).
            claim: ``confirmatory`` where the plan was frozen before these events were seen, or
                where the replays run the whole policy with its choices.
            approved_by: who approved the frozen plan; staged blinding needs it.
            out_of_time: asked after each replay; True ends the replays.

        Raises:
            ConfigurationError: if plan or scripts are not the frozen ones, or one is missing.
            LedgerBroken: if the ledger is not the one that the plan was frozen in.
            BlindingRefused: under staged blinding without an approval, or for a second plan.
            DetectorError: if a script fails.
        """
        plan = frozen.plan
        if plan.sha256() != frozen.sha256:
            raise ConfigurationError(
                f"The plan {plan.sha256()} is not {frozen.sha256}, which was frozen and approved."
            )
        self._check_frozen(frozen)
        scripts = tuple(self._store.script(sha256) for sha256 in frozen.scripts_sha256)
        view = self._vault.claimed(frozen.sha256, frozen.scripts_sha256, approved_by, self._ledger)
        progress("scan", "final scan", None, None)
        outcome = self._engine.execute(
            plan,
            view,
            self._seed,
            self._executor,
            lambda index, task, view: self._scores(
                plan.detectors[index], scripts[index], task, view
            ),
            self._recorder("final"),
        )
        self._mark()
        prepared = self._engine.prepare(plan, view, self._seed)
        scores = [
            self._scores(detector, script, task, prepared.view)
            for detector, script, task in zip(plan.detectors, scripts, prepared.tasks, strict=True)
        ]
        replays, key = self._replays(plan, scripts), "/".join(frozen.scripts_sha256)
        significance = self._engine.significance(
            plan,
            prepared,
            scores,
            outcome,
            seed=self._seed,
            executor=self._executor,
            run_script=replays,
            scripts_key=key,
            folder=self._store.folder,
            progress=progress,
            parallel=self._parallel,
            out_of_time=out_of_time,
        )
        outcome = self._engine.conclude(plan, prepared, scores, outcome, significance)
        if self._blinded:
            explored = self._vault.explored_share
            outcome = outcome.model_copy(update={"luminosity_share": 1.0 - explored})
        judge = Judge(
            engine=self._engine,
            plan=plan,
            significance=significance,
            claim=claim,
            # Under staged blinding exploration saw other events than those of the claim.
            objections=() if self._blinded else unplanned_tests(self._ledger, outcome),
            unvetted=frozenset(i for i, text in enumerate(replays.scripts) if text is not None),
            controls=lambda best: self._engine.controls(
                plan,
                prepared,
                scores,
                best,
                significance,
                seed=self._seed,
                executor=self._executor,
                run_script=replays,
                scripts_key=key,
                folder=self._store.folder,
                progress=progress,
                parallel=self._parallel,
                out_of_time=out_of_time,
            ),
        )
        outcome, verdict = judge.decide(outcome)
        return FinalScan(
            outcome=outcome,
            significance=significance,
            verdict=verdict,
            ledger_head=self._ledger.head,
            ledger_count=self._ledger.count,
            n_tests=len(self._ledger.test_ids()),
        )

    def _check_frozen(self, frozen: FrozenPlan) -> None:
        mark = Mark("the frozen plan", frozen.ledger_head, frozen.ledger_count)
        self._ledger.check_contains(mark)
        lines = itertools.islice(self._ledger.bodies(), max(0, mark.count - 1), mark.count)
        if next(lines, None) != frozen_line(frozen.sha256, frozen.scripts_sha256):
            raise ConfigurationError(
                f"Line {mark.count} of the ledger {self._ledger.path} does not freeze this plan "
                "with these scripts: the frozen plan was changed. Restore it or start a new search."
            )

    def _recorder(self, scan: str) -> Callable[[dict[str, JsonValue]], None]:
        def record(test: dict[str, JsonValue]) -> None:
            line: dict[str, JsonValue] = {"kind": "test", "scan": scan, **test}
            text = json.dumps(line, sort_keys=True)
            # A search that goes on after an interruption comes again to tests that have their line.
            if text not in self._recorded:
                self._ledger.append(line)
                self._recorded.add(text)

        return record

    def _mark(self) -> None:
        state = Mark("", self._ledger.head, self._ledger.count)
        write_mark(self._run_dir / CHECKPOINT_FILE, state)

    @property
    def _blinded(self) -> bool:
        return self._card.blinding == "staged"

    def _accepted(self, plan: SearchPlan) -> tuple[str, ...]:
        scripts = [self._store.accepted(detector) for detector in plan.detectors]
        missing = [str(index) for index, script in enumerate(scripts) if script is None]
        if missing:
            raise ConfigurationError(
                f"The plan's detectors number {', '.join(missing)} have no accepted script; run "
                "their tasks first."
            )
        return tuple(script for script in scripts if script is not None)

    def _scores(
        self, detector: DetectorPlan, script: str, task: ScriptTask, view: View
    ) -> FloatArray:
        key = content_key(script, view, task)
        scores = self._store.load_scores(key, len(view), task.windows_gev)
        if scores is not None:
            return scores
        run = self._score(script, task, view, script == self._engine.render(detector))
        if run.scores is None:
            raise DetectorError(
                f"The accepted script of {task.detector} fails on the task of this plan: "
                f"{' '.join(run.problems)}"
            )
        self._store.save_scores(key, run.scores)
        return run.scores

    def _score(self, script: str, task: ScriptTask, view: View, vetted: bool) -> ScoreRun:
        task = task.model_copy(update={"n_jobs": self._limits.cpus})
        return run_scores(
            self._provider, script, task, view, self._limits, self._cancel, vetted=vetted,
            cold=self._cold,
        )  # fmt: skip

    def _replays(self, plan: SearchPlan, scripts: tuple[str, ...]) -> ReplayScripts:
        unvetted = tuple(
            None if script == self._engine.render(detector) else script
            for detector, script in zip(plan.detectors, scripts, strict=True)
        )
        limits = self._limits.model_copy(update={"cpus": 1})
        return ReplayScripts(unvetted, self._provider, limits, self._engine, self._cold)
