"""What a trial of `calibrate` keeps of its scan, so that verdicts can be given when all are done.

Procedure p of a trial is its rank in the replays of other trials, and null mean and width of the
cells come from all of them: both are known at the end alone. So a trial keeps its cells, the
largest excesses of its scan-p toys, its guards, and how its null generator closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.events.view import View
from bumpscout_tools.scan.execute import Prepared, RunScript
from bumpscout_tools.scan.null import NullModel
from bumpscout_tools.scan.outcome import ProcedureP, ScanOutcome, ScanP
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.scan_p import toy_maxima
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.significance import NullSummary, null_summary
from bumpscout_tools.scan.verdict import Decision, decision, null_objections
from bumpscout_tools.script import ScriptTask
from bumpscout_tools.statistics import clopper_pearson

__all__ = ["KeptScores", "ScanRecord", "verdict_of"]

FloatArray = npt.NDArray[np.float64]

MOST_TOYS = 2000
"""Toys of scan p in a trial: enough to tell whether p lies below that of three sigma."""
KEPT = 50
"""Largest toys that are kept: an excess below all of them has a scan p that claims nothing."""


class KeptScores:
    """Runs a detector and keeps its scores."""

    def __init__(self, run_script: RunScript) -> None:
        """Take what runs the detectors."""
        self._run_script = run_script
        self.scores: list[FloatArray] = []

    def __call__(self, index: int, task: ScriptTask, view: View) -> FloatArray:
        """Return the scores of one detector, (n, n_windows)."""
        self.scores.append(self._run_script(index, task, view))
        return self.scores[-1]


class ScanRecord(BaseModel):
    """One scan, as far as its verdict needs it beside the cells.

    Attributes:
        described: whether some order of the background family describes the inclusive spectrum.
        guards: names of the guards that fired on the largest excess.
        local_z: largest raw local z of a cell that can be believed; None where there is none.
        toys: the largest values of the toys' largest excess, falling, at most `KEPT`.
        n_toys: how many toys there were.
        null: of the generator fitted to these data; None where none was.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    described: bool
    guards: tuple[str, ...] = ()
    local_z: float | None = None
    toys: tuple[float, ...] = ()
    n_toys: int = 0
    null: NullSummary | None = None

    @classmethod
    def of(
        cls,
        plan: SearchPlan,
        prepared: Prepared,
        scores: Sequence[FloatArray],
        outcome: ScanOutcome,
        null: NullModel | None,
        seed: int,
    ) -> Self:
        """Record a scan.

        Args:
            plan: the search plan.
            prepared: layout and restricted view of the data.
            scores: per detector (n, n_windows).
            outcome: what the scan found.
            null: the generator fitted to these data, if any.
            seed: decides toys and the comparison with the generator.
        """
        best = outcome.best()
        fired = outcome.guards.get(best.test_id, ()) if best is not None else ()
        z = [cell.local_z for cell in outcome.cells if cell.believable]
        n_toys = min(plan.toys, MOST_TOYS) if best is not None else 0
        toys = np.zeros(0)
        if n_toys:
            toys = toy_maxima(plan, prepared, scores, seed, SerialExecutor(), n_toys)
        return cls(
            described=outcome.described,
            guards=tuple(guard.name for guard in fired if guard.fired),
            local_z=max(z) if z else None,
            toys=tuple(round(float(x), 4) for x in np.sort(toys)[::-1][:KEPT]),
            n_toys=n_toys,
            null=null_summary(null, prepared, seed) if null is not None else None,
        )

    def objections(self) -> list[str]:
        """Return what kind of thing speaks against a claim: a guard, the spectrum, the null."""
        found = [f"guard: {name}" for name in self.guards]
        if not self.described:
            found.append("spectrum not described")
        if null_objections(self.null):
            found.append("null generator does not close")
        return found


def verdict_of(
    plan: SearchPlan, record: ScanRecord | None, observed: float, pool: FloatArray
) -> Decision:
    """Return the verdict of one trial.

    Args:
        plan: the search plan; its rules of scan p and replays hold.
        record: of its scan; None where the scan failed.
        observed: its statistic, the largest calibrated excess.
        pool: (m,) statistics of background-only replays that are not its own.
    """
    if record is None or not record.n_toys or not np.isfinite(observed):
        return "undecided"
    k = int(np.count_nonzero(np.array(record.toys) >= observed))
    low, high = clopper_pearson(k, record.n_toys)
    value = (k + 1) / (record.n_toys + 1)
    scan_p = ScanP(value=value, low=low, high=high, method="", n_toys=record.n_toys)
    reached, stop_after = int(np.count_nonzero(pool >= observed)), plan.replays.stop_after_reached
    stopped = reached >= stop_after
    procedure = ProcedureP(
        value=reached / len(pool) if stopped else (reached + 1) / (len(pool) + 1),
        low=0.0,
        high=1.0,
        n_replays=len(pool),
        n_reached=reached,
        stopped_early=stopped,
    )
    return decision(
        plan,
        scan_p,
        procedure,
        objected=bool(record.objections()) or plan.n_lost > 0,
        undescribed=not record.described,
    )
