"""The engine behind the gate: the scan of the vetted library, loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_tools.events.view import View
from bumpscout_tools.scan.cross_sections import Resolved, resolve_cross_sections

if TYPE_CHECKING:
    from bumpscout_tools.detectors.guards import GuardReport
    from bumpscout_tools.scan.execute import Prepared
    from bumpscout_tools.scan.outcome import Cell, ScanOutcome, Verdict
    from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan
    from bumpscout_tools.scan.significance import FinalSignificance
    from bumpscout_tools.script import ScriptTask

__all__ = ["Claim", "Progress", "RunScript", "ScanEngine", "ToolsEngine", "resolve_on"]

FloatArray = npt.NDArray[np.float64]
Claim = Literal["confirmatory", "exploratory"]
Progress = Callable[[str, str, int | None, int | None], None]
RunScript = Callable[[int, "ScriptTask", View], FloatArray]
Record = Callable[[dict[str, JsonValue]], None]


class ScanEngine(Protocol):
    """What the gate needs of a scan; picklable, because replays run on other processes."""

    def prepare(self, plan: SearchPlan, view: View, seed: int) -> Prepared:
        """Return layout, restricted view and tasks; see `bumpscout_tools.scan.execute.prepare`."""

    def with_smooth_masses(self, plan: SearchPlan, prepared: Prepared, seed: int) -> View:
        """Return the events with masses drawn from a smooth fit; see `scan.blinding`."""

    def execute(
        self,
        plan: SearchPlan,
        view: View,
        seed: int,
        executor: Executor,
        run_script: RunScript,
        record: Record,
    ) -> ScanOutcome:
        """Carry out a plan; see `bumpscout_tools.scan.execute.execute`."""

    def significance(
        self,
        plan: SearchPlan,
        prepared: Prepared,
        scores: Sequence[FloatArray],
        outcome: ScanOutcome,
        *,
        seed: int,
        executor: Executor,
        run_script: RunScript,
        scripts_key: str,
        folder: Path,
        progress: Progress,
        parallel: int,
        out_of_time: Callable[[], bool],
    ) -> FinalSignificance:
        """Return scan p and procedure p; see `bumpscout_tools.scan.significance`."""

    def conclude(
        self,
        plan: SearchPlan,
        prepared: Prepared,
        scores: Sequence[FloatArray],
        outcome: ScanOutcome,
        significance: FinalSignificance,
    ) -> ScanOutcome:
        """Return the calibrated ranking with guards; see `bumpscout_tools.scan.conclude`."""

    def controls(
        self,
        plan: SearchPlan,
        prepared: Prepared,
        scores: Sequence[FloatArray],
        cell: Cell,
        significance: FinalSignificance,
        *,
        seed: int,
        executor: Executor,
        run_script: RunScript,
        scripts_key: str,
        folder: Path,
        progress: Progress,
        parallel: int,
        out_of_time: Callable[[], bool],
    ) -> tuple[GuardReport, ...]:
        """Run the scripts again on the same events, changed; see `scan.controls`."""

    def decide(
        self,
        plan: SearchPlan,
        outcome: ScanOutcome,
        significance: FinalSignificance,
        claim: Claim,
        objections: tuple[str, ...],
    ) -> Verdict:
        """Return the verdict; see `bumpscout_tools.scan.verdict.decide`."""

    def render(self, detector: DetectorPlan) -> str:
        """Return the text of the vetted script of a detector."""

    def run_vetted(self, task: ScriptTask, view: View) -> FloatArray:
        """Return the scores that the vetted script gives, computed without the wall."""


class ToolsEngine:
    """The scan of `bumpscout_tools`."""

    def prepare(self, plan: SearchPlan, view: View, seed: int) -> Prepared:
        """See `ScanEngine.prepare`."""
        from bumpscout_tools.scan.execute import prepare

        return prepare(plan, view, np.random.default_rng(seed))

    def with_smooth_masses(self, plan: SearchPlan, prepared: Prepared, seed: int) -> View:
        """See `ScanEngine.with_smooth_masses`."""
        from bumpscout_tools.scan.blinding import with_smooth_masses

        return with_smooth_masses(plan, prepared, np.random.default_rng((seed, 4)))

    def execute(
        self,
        plan: SearchPlan,
        view: View,
        seed: int,
        executor: Executor,
        run_script: RunScript,
        record: Record,
    ) -> ScanOutcome:
        """See `ScanEngine.execute`."""
        from bumpscout_tools.scan.execute import execute

        return execute(plan, view, np.random.default_rng(seed), executor, run_script, record)

    def significance(
        self,
        plan: SearchPlan,
        prepared: Prepared,
        scores: Sequence[FloatArray],
        outcome: ScanOutcome,
        *,
        seed: int,
        executor: Executor,
        run_script: RunScript,
        scripts_key: str,
        folder: Path,
        progress: Progress,
        parallel: int,
        out_of_time: Callable[[], bool],
    ) -> FinalSignificance:
        """See `ScanEngine.significance`."""
        from bumpscout_tools.scan.significance import final_significance

        return final_significance(
            plan,
            prepared,
            scores,
            outcome,
            seed=seed,
            executor=executor,
            run_script=run_script,
            scripts_key=scripts_key,
            folder=folder,
            progress=progress,
            parallel=parallel,
            out_of_time=out_of_time,
        )

    def conclude(
        self,
        plan: SearchPlan,
        prepared: Prepared,
        scores: Sequence[FloatArray],
        outcome: ScanOutcome,
        significance: FinalSignificance,
    ) -> ScanOutcome:
        """See `ScanEngine.conclude`."""
        from bumpscout_tools.scan.conclude import conclude

        return conclude(plan, prepared, scores, outcome, significance.calibration)

    def controls(
        self,
        plan: SearchPlan,
        prepared: Prepared,
        scores: Sequence[FloatArray],
        cell: Cell,
        significance: FinalSignificance,
        *,
        seed: int,
        executor: Executor,
        run_script: RunScript,
        scripts_key: str,
        folder: Path,
        progress: Progress,
        parallel: int,
        out_of_time: Callable[[], bool],
    ) -> tuple[GuardReport, ...]:
        """See `ScanEngine.controls`."""
        from bumpscout_tools.scan.controls import control_guard, memory_guard

        memory = memory_guard(prepared, scores, cell, seed=seed, run_script=run_script)
        if memory.fired:
            return (memory,)
        controls = control_guard(
            plan,
            prepared,
            significance,
            seed=seed,
            executor=executor,
            run_script=run_script,
            scripts_key=scripts_key,
            folder=folder,
            progress=progress,
            parallel=parallel,
            out_of_time=out_of_time,
        )
        return memory, controls

    def decide(
        self,
        plan: SearchPlan,
        outcome: ScanOutcome,
        significance: FinalSignificance,
        claim: Claim,
        objections: tuple[str, ...],
    ) -> Verdict:
        """See `ScanEngine.decide`."""
        from bumpscout_tools.scan.verdict import decide

        return decide(plan, outcome, significance, claim=claim, objections=objections)

    def render(self, detector: DetectorPlan) -> str:
        """See `ScanEngine.render`."""
        from bumpscout_tools.scripts import render

        return render(detector)

    def run_vetted(self, task: ScriptTask, view: View) -> FloatArray:
        """See `ScanEngine.run_vetted`."""
        from bumpscout_tools.scripts import run_vetted

        return run_vetted(task, view)


def resolve_on(
    plan: SearchPlan,
    view: View,
    seed: int,
    engine: ScanEngine | None = None,
    *,
    share: float = 1.0,
) -> Resolved:
    """Return the plan with its visible cross sections as efficiencies of a view's fitted range.

    Args:
        plan: the search plan.
        view: the events.
        seed: of the search.
        engine: the scan.
        share: of the luminosity that these events are.

    Raises:
        ConfigurationError: if plan and view do not fit together.
        InputDataError: if too little is left to search.
    """
    if not plan.working_points.cross_sections_pb:
        return Resolved(plan)
    prepared = (engine or ToolsEngine()).prepare(plan, view, seed)
    return resolve_cross_sections(plan, round(len(prepared.view) / share))
