"""From injected signals to what a physicist asks: found how often, where, how much, how strong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.alarms import NullTrial, Rate, rate
from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.contamination import Contamination, contamination
from bumpscout_tools.scan.injection import NEAR, Injected, Yield
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.reach import Reach, crossing, median_z, null_mean, reach, row_z
from bumpscout_tools.scan.replay import Replay
from bumpscout_tools.scan.verdict_rates import VerdictRates, verdict_rates
from bumpscout_tools.scan.yields import (
    NullYield,
    efficiency_spread,
    null_yield,
    yield_interval,
)

__all__ = [
    "AtStrength",
    "Performance",
    "Reach",
    "YieldSummary",
    "crossing",
    "performance",
    "row_z",
]

FloatArray = npt.NDArray[np.float64]


BOOTSTRAP_SEED = 41


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Largest(NamedTuple):
    """The largest calibrated excess of one scan, where it is, and its raw local z."""

    value: float
    mass_gev: float
    local_z: float


class YieldSummary(_Record):
    """The yield near the true mass at one strength and working point, over repetitions.

    `mean_error` is the error of the mean, from the spread; `pull` is (measured - mean true number)
    / error, and `covered` counts how often it lies within one: numbers of signal events fluctuate
    between repetitions as in data, so the mean stands for what is expected. What is measured here
    is corrected for the bias that repetitions without signal (strength 0) show behind the same cut,
    and its error holds their width and the spread of the cut's efficiency from training to
    training (`yield_interval`); without such repetitions it holds neither. `median_z` is the
    significance in the fixed interval at the true mass, with the error of the fitted expectation;
    with a cut the mean of the repetitions without signal is subtracted and the rest divided by the
    null width that replays give, because local z behind a trained cut is no significance. None
    where the fit cannot be believed in half of the repetitions or more.
    """

    efficiency: float | None
    n: int
    mean_true: float
    mean_measured: float
    mean_expected: float
    mean_error: float | None
    pull_mean: float | None
    pull_width: float | None
    covered: Rate
    median_z: float | None
    null: NullYield | None = None
    efficiency_spread: float = 0.0


class AtStrength(_Record):
    """What the scan makes of one strength.

    `found_5pc` and `found_1pc`: the procedure p is at most that, and the largest calibrated excess,
    which a scan reports, lies within 5% of the mass. `mass_bias` and `mass_spread` are of the found
    cases (at 5%), relative. `failure` is the error of the first repetition that failed. `verdicts`
    are those that searches would give with clean nulls, None where no trial kept what they need;
    `contaminated` says what it costs that
    their nulls are not.
    """

    strength: float
    n: int
    n_failed: int
    failure: str | None
    mean_signal: float
    found_5pc: Rate
    found_1pc: Rate
    median_p: float
    median_local_z: float | None
    mass_bias: float | None
    mass_spread: float | None
    yields: tuple[YieldSummary, ...]
    verdicts: VerdictRates | None = None
    contaminated: Contamination | None = None


class Performance(_Record):
    """Detection, mass and yield of injected signals, by strength; and the reach by cut."""

    mass_gev: float
    n_pool: int
    strengths: tuple[AtStrength, ...]
    reach: tuple[Reach, ...]


def performance(
    plan: SearchPlan, nulls: Sequence[NullTrial], injected: Sequence[Injected]
) -> Performance:
    """Summarise injections of one signal, ranked in the pool of the null data sets' replays.

    Repetitions at strength 0 are the null of the yields, and are not listed themselves.

    Args:
        plan: the search plan.
        nulls: background-only data sets with their replays.
        injected: pseudo-experiments with the signal.

    Raises:
        ConfigurationError: without replays or without injections.
    """
    replays = [replay for trial in nulls for replay in trial.replays]
    if not replays or not injected:
        raise ConfigurationError("Performance needs null replays and injected signals.")
    calibration = NullCells.estimate(plan, (), replays)
    pool = np.array(
        [np.inf if r.error is not None else statistic(r.cells, calibration) for r in replays]
    )
    strengths = sorted({trial.strength for trial in injected})
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    without = [t for t in injected if t.strength == 0 and t.error is None]
    by_strength = tuple(
        _at(
            plan,
            [t for t in injected if t.strength == strength],
            without,
            calibration,
            pool,
            replays,
            rng,
        )
        for strength in strengths
    )
    return Performance(
        mass_gev=injected[0].mass_gev,
        n_pool=len(pool),
        strengths=tuple(at for at in by_strength if at.strength > 0) or by_strength,
        reach=reach(
            [
                (s, [t for t in injected if t.strength == s and t.error is None])
                for s in strengths
                if s > 0 or len(strengths) == 1
            ],
            without,
            calibration,
            rng,
        ),
    )


def _at(
    plan: SearchPlan,
    trials: list[Injected],
    without: list[Injected],
    calibration: NullCells,
    pool: FloatArray,
    clean: Sequence[Replay],
    rng: np.random.Generator,
) -> AtStrength:
    n, mass = len(trials), trials[0].mass_gev
    good = [trial for trial in trials if trial.error is None]
    failures = [trial.error for trial in trials if trial.error is not None]
    largest = [_largest(plan, trial, calibration) for trial in trials]
    p = np.array([(1 + np.count_nonzero(pool >= one.value)) / (len(pool) + 1) for one in largest])
    offset = np.array([one.mass_gev for one in largest]) / mass - 1
    found = (np.abs(offset) < NEAR) & (p <= 0.05)
    z = [one.local_z for one in largest if np.isfinite(one.local_z)]
    points = max((len(trial.yields) for trial in good), default=0)
    observed = np.array([one.value for one in largest])
    records = [trial.record for trial in trials]
    return AtStrength(
        strength=trials[0].strength,
        n=n,
        n_failed=len(failures),
        failure=failures[0] if failures else None,
        mean_signal=float(np.mean([t.n_signal for t in good])) if good else 0.0,
        found_5pc=rate(int(found.sum()), n),
        found_1pc=rate(int((found & (p <= 0.01)).sum()), n),
        median_p=float(np.median(p)),
        median_local_z=float(np.median(z)) if z else None,
        mass_bias=float(np.median(offset[found])) if found.any() else None,
        mass_spread=float(np.std(offset[found])) if found.any() else None,
        yields=tuple(_yield(good, without, index, calibration) for index in range(points)),
        verdicts=verdict_rates(plan, records, observed, [pool] * n) if any(records) else None,
        contaminated=contamination(trials, offset, observed, calibration, clean, rng),
    )


def _largest(plan: SearchPlan, trial: Injected, calibration: NullCells) -> _Largest:
    """Return the largest calibrated excess; minus infinity and no mass where there is none."""
    best = _Largest(-np.inf, np.nan, np.nan)
    for cell, mass_gev in zip(trial.cells, trial.cell_mass_gev, strict=True):
        if cell.believable and cell.detector not in plan.withheld:
            value = float(calibration.standardise(cell.detector, cell.efficiency, cell.excess))
            if value > best.value:
                best = _Largest(value, mass_gev, cell.local_z)
    return best


def _yield(
    trials: list[Injected], without: list[Injected], index: int, calibration: NullCells
) -> YieldSummary:
    rows: list[Yield] = [trial.yields[index] for trial in trials if len(trial.yields) > index]
    nothing = [trial.yields[index] for trial in without if len(trial.yields) > index]
    null = null_yield(nothing)
    true = np.array([row.n_true for row in rows], dtype=np.float64)
    spread = efficiency_spread(true)
    measured, error = np.array([yield_interval(row, null, spread) for row in rows]).T
    pulls = (measured - true.mean()) / error
    many = len(rows) > 1
    return YieldSummary(
        efficiency=rows[0].efficiency,
        n=len(rows),
        mean_true=float(true.mean()),
        mean_measured=float(measured.mean()),
        mean_expected=float(np.mean([row.n_expected for row in rows])),
        mean_error=float(measured.std(ddof=1) / np.sqrt(len(rows))) if many else None,
        pull_mean=float(pulls.mean()),
        pull_width=float(pulls.std(ddof=1)) if many else None,
        covered=rate(int((np.abs(pulls) <= 1).sum()), len(rows)),
        median_z=median_z(rows, calibration, null_mean(nothing)),
        null=null,
        efficiency_spread=spread,
    )
