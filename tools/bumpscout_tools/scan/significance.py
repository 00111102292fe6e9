"""Scan p and procedure p: what the most significant excess is worth, all tests considered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.code import code_sha256
from bumpscout_tools.detectors.density import Closure
from bumpscout_tools.errors import DetectorError, FitError
from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.execute import Prepared, RunScript
from bumpscout_tools.scan.null import NullModel, fit_null
from bumpscout_tools.scan.outcome import ProcedureP, ScanOutcome, ScanP
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import Excess, Replay, ReplayStore, excesses, run_replays
from bumpscout_tools.scan.scan_p import Progress, scan_p_value, sequential_p

__all__ = ["FinalSignificance", "NullSummary", "final_significance", "null_summary"]

FloatArray = npt.NDArray[np.float64]

CALIBRATION_REPLAYS = 20
MIN_CALIBRATION_REPLAYS = 10


class NullSummary(BaseModel):
    """How the null generator was made, and how well it closes on the events it was fitted to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    masked_gev: tuple[float, float]
    order: int
    fit_p: float
    expected_events: float
    closure: Closure


class FinalSignificance(BaseModel):
    """The p-values of the final scan.

    `observed` is the statistic of the data, the largest standardised excess; `replayed` that of
    each replay, None for one that failed, which counts as reaching the data. Replays without any
    believable cell reach nothing and are only counted. `failure` says why there is no null
    generator although replays were due.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scan_p: ScanP | None = None
    procedure_p: ProcedureP | None = None
    observed: float | None = None
    replayed: tuple[float | None, ...] = ()
    n_failed_replays: int = 0
    n_empty_replays: int = 0
    failure: str | None = None
    null: NullSummary | None = None
    calibration: NullCells


def final_significance(
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
    """Compute scan p and procedure p of a finished scan.

    Args:
        plan: the search plan.
        prepared: layout and restricted view of the data.
        scores: per detector (n, n_windows), as the scan saw them.
        outcome: what the scan found.
        seed: decides null generator, replays and toys.
        executor: runs replays and toys side by side.
        run_script: gives the scores of a detector on a replay; picklable.
        scripts_key: names what `run_script` does; replays of other scripts are not taken over.
        folder: where finished replays are kept.
        progress: called with (stage, message, done, total).
        parallel: tasks in flight.
        out_of_time: asked after each replay; True ends the replays.
    """
    best = outcome.best()
    fixed = NullCells.scores_held_fixed(plan)
    if best is None:
        return FinalSignificance(calibration=fixed)
    data = excesses(outcome)
    replays: list[Replay] = []
    summary = failure = null = None
    if plan.replays.n:
        try:
            null = fit_null(
                plan,
                prepared,
                best.window_gev,
                seed,
                lambda done, total: progress("null", "fitting the null generator", done, total),
            )
        except (DetectorError, FitError) as error:
            failure = f"no null generator could be made: {error}"
    if null is not None:
        summary = null_summary(null, prepared, seed)
        rule = _StopRule(plan, data, out_of_time)
        replays = run_replays(
            plan,
            null,
            seed,
            executor,
            run_script,
            ReplayStore(folder / "replays.jsonl", _key(plan, prepared, outcome, seed, scripts_key)),
            stop=rule,
            progress=lambda done, total: progress("replays", "null replays", done, total),
            parallel=parallel,
        )
    calibration = _calibration(plan, data, replays) or fixed
    observed = statistic(data, calibration, plan.withheld)
    replayed = tuple(_replayed(replay, calibration) for replay in replays)
    return FinalSignificance(
        scan_p=scan_p_value(plan, prepared, scores, outcome, calibration, seed, executor, progress),
        procedure_p=_procedure_p(plan, observed, replayed),
        observed=observed,
        replayed=tuple(
            value if np.isfinite(value) else None for value in replayed if value > -np.inf
        ),
        n_failed_replays=sum(replay.error is not None for replay in replays),
        n_empty_replays=sum(value == -np.inf for value in replayed),
        failure=failure,
        null=summary,
        calibration=calibration,
    )


def _calibration(
    plan: SearchPlan, data: Sequence[Excess], replays: Sequence[Replay]
) -> NullCells | None:
    if len(replays) < MIN_CALIBRATION_REPLAYS:
        return None
    return NullCells.estimate(plan, data, replays[:CALIBRATION_REPLAYS])


class _StopRule:
    """Besag and Clifford: stop at the h-th replay that reaches the data, once calibrated."""

    def __init__(
        self, plan: SearchPlan, data: Sequence[Excess], out_of_time: Callable[[], bool]
    ) -> None:
        self._plan, self._data, self._out_of_time = plan, data, out_of_time
        self._calibration: NullCells | None = None
        self._observed = 0.0
        self._seen = self._reached = 0

    def __call__(self, replays: list[Replay]) -> bool:
        if len(replays) < CALIBRATION_REPLAYS:
            return self._out_of_time()
        if self._calibration is None:
            self._calibration = NullCells.estimate(
                self._plan, self._data, replays[:CALIBRATION_REPLAYS]
            )
            self._observed = statistic(self._data, self._calibration, self._plan.withheld)
        for replay in replays[self._seen :]:
            self._reached += _replayed(replay, self._calibration) >= self._observed
        self._seen = len(replays)
        return self._reached >= self._plan.replays.stop_after_reached or self._out_of_time()


def _replayed(replay: Replay, calibration: NullCells) -> float:
    return float("inf") if replay.error is not None else statistic(replay.cells, calibration)


def _procedure_p(plan: SearchPlan, observed: float, replayed: Sequence[float]) -> ProcedureP | None:
    if not replayed:
        return None
    stop_after = plan.replays.stop_after_reached
    p, k, n = sequential_p(np.array(replayed) >= observed, stop_after)
    stopped = k >= stop_after
    return ProcedureP(
        value=p.value,
        low=p.low,
        high=p.high,
        n_replays=n,
        n_reached=k,
        method="h/n at the h-th replay that reached it" if stopped else "(k+1)/(n+1)",
        stopped_early=stopped and n < plan.replays.n,
    )


def null_summary(null: NullModel, prepared: Prepared, seed: int) -> NullSummary:
    """Return how a null generator was made, and how well it closes on the events it learned from.

    Args:
        null: the generator.
        prepared: layout and restricted view of the data that it was fitted to.
        seed: decides the events that are drawn for the comparison.
    """
    view = prepared.view
    learned = (view.mass < null.masked_gev[0]) | (view.mass >= null.masked_gev[1])
    closure = null.density.closure(
        view.features[learned], view.mass[learned], np.random.default_rng((seed, 2))
    )
    return NullSummary(
        masked_gev=null.masked_gev,
        order=null.order,
        fit_p=null.fit_p,
        expected_events=null.expected,
        closure=closure,
    )


def _key(
    plan: SearchPlan, prepared: Prepared, outcome: ScanOutcome, seed: int, scripts_key: str
) -> str:
    best = outcome.best()
    masked = str(best and best.window_gev)
    parts = (
        plan.sha256(),
        prepared.view.sha256(),
        masked,
        str(seed),
        scripts_key,
        code_sha256(),
    )
    return hashlib.sha256("/".join(parts).encode()).hexdigest()
