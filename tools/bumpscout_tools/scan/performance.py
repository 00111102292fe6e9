"""From injected signals to what a physicist asks: found how often, where, how much, how strong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.alarms import NullTrial, Rate, rate
from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.injection import NEAR, Injected, Yield
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["AtStrength", "Performance", "Reach", "YieldSummary", "performance"]

FloatArray = npt.NDArray[np.float64]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class YieldSummary(_Record):
    """The yield near the true mass at one strength and working point, over repetitions.

    `mean_error` is the error of the mean, from the spread; `pull` is (measured - true) / error;
    `covered` counts how often the 68% interval holds the true number. `median_z` is the
    significance at the true mass: without a cut the local z of the fixed interval; with one the
    excess of the scan's cell there, from the null median and in null widths that replays give,
    because local z behind a trained cut is no significance. None where the cell cannot be believed
    in half of the repetitions or more.
    """

    efficiency: float | None
    n: int
    mean_true: float
    mean_measured: float
    mean_error: float | None
    pull_mean: float | None
    pull_width: float | None
    covered: Rate
    median_z: float | None


class AtStrength(_Record):
    """What the scan makes of one strength.

    `found_5pc` and `found_1pc`: the procedure p is at most that, and the largest excess lies within
    5% of the mass. `mass_bias` and `mass_spread` are of the found cases (at 5%), relative.
    """

    strength: float
    n: int
    n_failed: int
    mean_signal: float
    found_5pc: Rate
    found_1pc: Rate
    median_p: float
    median_local_z: float | None
    mass_bias: float | None
    mass_spread: float | None
    yields: tuple[YieldSummary, ...]


class Reach(_Record):
    """The strength S/sqrt(B) at which the median significance at the true mass is 3 and 5.

    None where no injected strength brackets it. `efficiency` is None without a cut; `gain` is
    (z with the cut / z without - 1) in percent at the largest strength.
    """

    efficiency: float | None
    for_3_sigma: float | None
    for_5_sigma: float | None
    gain_percent: float | None


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
    by_strength = tuple(
        _at([t for t in injected if t.strength == strength], calibration, pool)
        for strength in strengths
    )
    return Performance(
        mass_gev=injected[0].mass_gev,
        n_pool=len(pool),
        strengths=by_strength,
        reach=_reach(by_strength),
    )


def _at(trials: list[Injected], calibration: NullCells, pool: FloatArray) -> AtStrength:
    n, mass = len(trials), trials[0].mass_gev
    good = [trial for trial in trials if trial.error is None]
    p = np.array([_p(trial, calibration, pool) for trial in trials])
    masses = np.array([t.best_mass_gev if t.best_mass_gev is not None else np.nan for t in trials])
    offset = masses / mass - 1
    near = np.abs(np.nan_to_num(offset, nan=np.inf)) < NEAR
    found = near & (p <= 0.05)
    z = [t.best_local_z for t in good if t.best_local_z is not None]
    points = [y.efficiency for y in good[0].yields] if good else []
    return AtStrength(
        strength=trials[0].strength,
        n=n,
        n_failed=n - len(good),
        mean_signal=float(np.mean([t.n_signal for t in good])) if good else 0.0,
        found_5pc=rate(int(found.sum()), n),
        found_1pc=rate(int((near & (p <= 0.01)).sum()), n),
        median_p=float(np.median(p)),
        median_local_z=float(np.median(z)) if z else None,
        mass_bias=float(np.median(offset[found])) if found.any() else None,
        mass_spread=float(np.std(offset[found])) if found.any() else None,
        yields=tuple(_yield(good, index, calibration) for index in range(len(points))),
    )


def _p(trial: Injected, calibration: NullCells, pool: FloatArray) -> float:
    if trial.error is not None:
        return 1.0
    value = statistic(trial.cells, calibration)
    return float((1 + np.count_nonzero(pool >= value)) / (len(pool) + 1))


def _yield(trials: list[Injected], index: int, calibration: NullCells) -> YieldSummary:
    rows: list[Yield] = [trial.yields[index] for trial in trials if len(trial.yields) > index]
    measured = np.array([row.n_observed - row.n_expected for row in rows])
    true = np.array([row.n_true for row in rows], dtype=np.float64)
    error = np.array([max(row.error, 1e-9) for row in rows])
    pulls = (measured - true) / error
    many = len(rows) > 1
    return YieldSummary(
        efficiency=rows[0].efficiency,
        n=len(rows),
        mean_true=float(true.mean()),
        mean_measured=float(measured.mean()),
        mean_error=float(measured.std(ddof=1) / np.sqrt(len(rows))) if many else None,
        pull_mean=float(pulls.mean()),
        pull_width=float(pulls.std(ddof=1)) if many else None,
        covered=rate(int((np.abs(pulls) <= 1).sum()), len(rows)),
        median_z=_median_z(rows, calibration),
    )


def _median_z(rows: list[Yield], calibration: NullCells) -> float | None:
    efficiency = rows[0].efficiency
    if efficiency is None:
        return float(np.median([row.local_z for row in rows]))
    excess = [row.excess for row in rows if row.excess is not None]
    if 2 * len(excess) <= len(rows):
        return None
    return float(calibration.standardise(0, efficiency, float(np.median(excess))))


def _reach(by_strength: Sequence[AtStrength]) -> tuple[Reach, ...]:
    measured = [at for at in by_strength if at.yields]
    if not measured:
        return ()
    strengths = np.array([at.strength for at in measured])
    inclusive = measured[-1].yields[0].median_z
    found = []
    for index, point in enumerate(measured[0].yields):
        medians = [at.yields[index].median_z for at in measured]
        z = np.array([np.nan if median is None else median for median in medians])
        gain = None
        if point.efficiency is not None and inclusive is not None and inclusive > 0:
            gain = float(100 * (z[-1] / inclusive - 1)) if np.isfinite(z[-1]) else None
        found.append(
            Reach(
                efficiency=point.efficiency,
                for_3_sigma=_crossing(strengths, z, 3.0),
                for_5_sigma=_crossing(strengths, z, 5.0),
                gain_percent=gain,
            )
        )
    return tuple(found)


def _crossing(strengths: FloatArray, z: FloatArray, level: float) -> float | None:
    """Return the first strength at which z rises through the level, interpolated."""
    for index in range(1, len(z)):
        if z[index - 1] < level <= z[index]:
            share = (level - z[index - 1]) / (z[index] - z[index - 1])
            return float(strengths[index - 1] + share * (strengths[index] - strengths[index - 1]))
    return None
