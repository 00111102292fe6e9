"""How often the procedure fires on background alone, measured on many background-only data sets.

Each data set is scanned, a null generator is fitted to *it*, and a few replays are drawn from that
generator. The statistic of a data set is then ranked in the pool of all replays of the others
("warp-speed" bootstrap: Giacomini, Politis and White, Econometric Theory 29 (2013) 567), which
costs one replay a data set where a nested calibration costs hundreds. Data sets are never ranked
among themselves: such ranks are uniform whatever the null.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.special import betaincinv
from scipy.stats import ks_2samp, norm

from bumpscout_tools.errors import BumpscoutError, ConfigurationError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.execute import Prepared, RunScript, execute, prepare
from bumpscout_tools.scan.null import fit_null
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.rates import Rate, rate
from bumpscout_tools.scan.replay import Excess, Replay, excesses, replay_once
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.trials import KeptScores, ScanRecord
from bumpscout_tools.scan.verdict_rates import Closures, VerdictRates, closures, verdict_rates

__all__ = ["AlarmRates", "NullTrial", "Rate", "alarm_rates", "null_trial", "pooled_p", "rate"]

FloatArray = npt.NDArray[np.float64]
MakeReplays = Callable[[SearchPlan, Prepared, tuple[float, float], int], Sequence[Replay]]


class NullTrial(BaseModel):
    """A background-only data set after its scan, with replays from its own null generator.

    Attributes:
        cells: what the scan of the data set found.
        replays: replays of the plan on draws from the generator fitted to this data set.
        guards: names of the guards that fired on the largest excess.
        local_z: largest raw local z of a cell that can be believed; minus infinity is None.
        record: what the verdict needs beside the cells, closure of the generator included.
        error: what ended the scan, if anything did.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    n_events: int
    cells: tuple[Excess, ...] = ()
    replays: tuple[Replay, ...] = ()
    guards: tuple[str, ...] = ()
    local_z: float | None = None
    record: ScanRecord | None = None
    error: str | None = None


class AlarmRates(BaseModel):
    """False alarms of the procedure on background-only data sets.

    `below` counts p-values up to each level; as the pool that they are ranked in is finite too, and
    often no larger than the number of data sets, their intervals are those of
    n_data_sets x n_replays / (n_data_sets + n_replays) data sets ranked in an infinite pool.
    `ks_p` compares the statistics of the data sets with those of the replays (Kolmogorov and
    Smirnov, two samples): small where replays are not what background looks like. `verdicts` are
    those that searches on these data sets would give.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_data_sets: int
    n_replays: int
    below: dict[str, Rate]
    ks_p: float
    local_z_above_3: Rate
    guard_fired: Rate
    verdicts: VerdictRates
    closures: Closures | None = None


def null_trial(
    plan: SearchPlan,
    view: View,
    *,
    name: str,
    seed: int,
    run_script: RunScript,
    n_replays: int = 1,
    make_replays: MakeReplays | None = None,
) -> NullTrial:
    """Scan one background-only data set and replay the plan on draws from its own null.

    Args:
        plan: the search plan.
        view: all events of the data set.
        name: what the data set is called.
        seed: decides scan, null generator and replays.
        run_script: gives the scores of a detector.
        n_replays: replays from the generator that is fitted to this data set.
        make_replays: makes the replays otherwise, given plan, prepared data, the window of the
            largest excess and the seed; for tests of what a wrong null does.
    """
    kept = KeptScores(run_script)
    try:
        outcome = execute(
            plan, view, np.random.default_rng(seed), SerialExecutor(), kept, lambda _test: None
        )
        best = outcome.best()
        replays: Sequence[Replay] = ()
        prepared = prepare(plan, view, np.random.default_rng(seed))
        null = None
        if best is not None:
            if make_replays is None:
                null = fit_null(plan, prepared, best.window_gev, seed)
                replays = [replay_once(plan, null, k, seed, run_script) for k in range(n_replays)]
            else:
                replays = make_replays(plan, prepared, best.window_gev, seed)
        record = ScanRecord.of(plan, prepared, kept.scores, outcome, null, seed)
    except BumpscoutError as error:
        return NullTrial(name=name, n_events=len(view), error=str(error)[:500])
    return NullTrial(
        name=name,
        n_events=len(view),
        cells=excesses(outcome),
        replays=tuple(replays),
        guards=record.guards,
        local_z=record.local_z,
        record=record,
    )


def pooled_p(
    plan: SearchPlan, trials: Sequence[NullTrial], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rank each data set in the pool of the others' replays.

    Null mean and width of the cells come from all replays. Where p lies between two ranks is drawn
    at random, so that it is uniform under a right null whatever the number of replays. A scan that
    failed, like a replay that failed, counts as reaching everything; one without a believable cell
    reaches nothing. Detectors that the plan withholds take part in replays alone, as in a search.

    Args:
        plan: the search plan.
        trials: of data sets that are alike, so that their replays may be pooled.
        rng: breaks ties.

    Returns:
        p-values (n,), statistics of the data sets (n,), and of the replays (m,).

    Raises:
        ConfigurationError: if there are fewer than two data sets with replays.
    """
    owners = [i for i, trial in enumerate(trials) for _ in trial.replays]
    if len(set(owners)) < 2:
        raise ConfigurationError("At least two data sets with replays are needed to rank any.")
    everything = [replay for trial in trials for replay in trial.replays]
    calibration = NullCells.estimate(plan, (), everything)
    data = np.array(
        [
            np.inf if t.error is not None else statistic(t.cells, calibration, plan.withheld)
            for t in trials
        ]
    )
    pool = np.array(
        [np.inf if r.error is not None else statistic(r.cells, calibration) for r in everything]
    )
    owner = np.array(owners)
    p = np.empty(len(data))
    for index, value in enumerate(data):
        others = pool[owner != index]
        above, ties = np.count_nonzero(others > value), np.count_nonzero(others == value)
        p[index] = (above + rng.random() * (ties + 1)) / (len(others) + 1)
    return p, data, pool


def alarm_rates(
    plan: SearchPlan,
    trials: Sequence[NullTrial],
    rng: np.random.Generator,
    levels: Sequence[float] = (0.05, 0.01),
) -> AlarmRates:
    """Return how often the procedure fires on these data sets, and whether its p is uniform.

    Args:
        plan: the search plan.
        trials: of data sets that are alike.
        rng: breaks ties.
        levels: p-values below which the procedure fires.

    Raises:
        ConfigurationError: as `pooled_p`.
    """
    p, data, pool = pooled_p(plan, trials, rng)
    n = len(trials)
    above = sum(trial.local_z is not None and trial.local_z > 3 for trial in trials)
    records = [trial.record for trial in trials]
    owner = np.array([i for i, trial in enumerate(trials) for _ in trial.replays])
    others = [pool[owner != index] for index in range(n)]
    return AlarmRates(
        n_data_sets=n,
        n_replays=len(pool),
        below={
            f"{level:g}": _ranked_rate(int(np.count_nonzero(p <= level)), n, len(pool))
            for level in levels
        },
        ks_p=_ks_p(data, pool),
        local_z_above_3=rate(above, n),
        guard_fired=rate(sum(bool(trial.guards) for trial in trials), n),
        verdicts=verdict_rates(plan, records, data, others),
        closures=closures(records),
    )


def _ks_p(data: FloatArray, pool: FloatArray) -> float:
    finite = (np.clip(values, -1e9, 1e9) for values in (data, pool))
    with warnings.catch_warnings():
        # Among many equal values the exact p cannot be had; scipy says that it approximates.
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation", RuntimeWarning)
        return float(ks_2samp(*finite).pvalue)


def _ranked_rate(k: int, n: int, n_pool: int) -> Rate:
    """Return the rate of small ranks, with the error that the finite pool adds.

    The smallest ranks share the few largest replays, so k varies with 1 + n / n_pool times the
    variance of a binomial number. Clopper's and Pearson's equations are solved for counts that are
    smaller by that factor.
    """
    share = n_pool / (n + n_pool)
    few, all_ = k * share, n * share
    tail = float(norm.sf(1.0))
    low = float(betaincinv(few, all_ - few + 1, tail)) if k else 0.0
    high = float(betaincinv(few + 1, all_ - few, 1 - tail)) if k < n else 1.0
    return Rate(k=k, n=n, value=k / n, low=low, high=high)
