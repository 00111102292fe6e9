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
from bumpscout_tools.scan.injection import NEAR, Injected, Yield
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["AtStrength", "Performance", "Reach", "YieldSummary", "performance"]

FloatArray = npt.NDArray[np.float64]


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
    between repetitions as in data, so the mean stands for what is expected. `median_z` is the
    significance in the fixed interval at the true mass, with the error of the fitted expectation;
    with a cut it is divided by the null width that replays give, because local z behind a trained
    cut is no significance. None where the fit cannot be believed in half of the repetitions or
    more.
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


class AtStrength(_Record):
    """What the scan makes of one strength.

    `found_5pc` and `found_1pc`: the procedure p is at most that, and the largest calibrated excess,
    which a scan reports, lies within 5% of the mass. `mass_bias` and `mass_spread` are of the found
    cases (at 5%), relative. `failure` is the error of the first repetition that failed.
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


class Reach(_Record):
    """The strength S/sqrt(B) at which the median significance at the true mass is 3 and 5.

    None where no injected strength brackets it. `efficiency` is None without a cut; `gain` is
    (Z with the cut / Z without - 1) in percent for Z = s/sqrt(b) near the mass, s being the true
    signal and b the fitted background of the repetitions at the largest strength.
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
    failures = [trial.error for trial in trials if trial.error is not None]
    largest = [_largest(trial, calibration) for trial in trials]
    p = np.array([(1 + np.count_nonzero(pool >= one.value)) / (len(pool) + 1) for one in largest])
    offset = np.array([one.mass_gev for one in largest]) / mass - 1
    found = (np.abs(offset) < NEAR) & (p <= 0.05)
    z = [one.local_z for one in largest if np.isfinite(one.local_z)]
    points = max((len(trial.yields) for trial in good), default=0)
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
        yields=tuple(_yield(good, index, calibration) for index in range(points)),
    )


def _largest(trial: Injected, calibration: NullCells) -> _Largest:
    """Return the largest calibrated excess; minus infinity and no mass where there is none."""
    best = _Largest(-np.inf, np.nan, np.nan)
    for cell, mass_gev in zip(trial.cells, trial.cell_mass_gev, strict=True):
        if cell.believable:
            value = float(calibration.standardise(cell.detector, cell.efficiency, cell.excess))
            if value > best.value:
                best = _Largest(value, mass_gev, cell.local_z)
    return best


def _yield(trials: list[Injected], index: int, calibration: NullCells) -> YieldSummary:
    rows: list[Yield] = [trial.yields[index] for trial in trials if len(trial.yields) > index]
    measured = np.array([row.n_observed - row.n_expected for row in rows])
    true = np.array([row.n_true for row in rows], dtype=np.float64)
    error = np.array([max(row.error, 1e-9) for row in rows])
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
        median_z=_median_z(rows, calibration),
    )


def _median_z(rows: list[Yield], calibration: NullCells) -> float | None:
    believable = [row for row in rows if row.believable]
    if 2 * len(believable) <= len(rows):
        return None
    median = float(np.median([_z(row) for row in believable]))
    efficiency = rows[0].efficiency
    return median if efficiency is None else median / _null_width(calibration, efficiency)


def _z(row: Yield) -> float:
    """Return local z with the error of the fitted expectation."""
    b = max(row.n_expected, 1e-9)
    return float(row.local_z * np.sqrt(b / (b + row.fit_error**2)))


def _null_width(calibration: NullCells, efficiency: float) -> float:
    zero, one = (float(calibration.standardise(0, efficiency, excess)) for excess in (0.0, 1.0))
    return 1 / (one - zero)


def _reach(by_strength: Sequence[AtStrength]) -> tuple[Reach, ...]:
    measured = [at for at in by_strength if at.yields]
    if not measured:
        return ()
    strengths = np.array([at.strength for at in measured])
    inclusive = measured[-1].yields[0]
    found = []
    for index, point in enumerate(measured[0].yields):
        medians = [at.yields[index].median_z for at in measured]
        z = np.array([np.nan if median is None else median for median in medians])
        found.append(
            Reach(
                efficiency=point.efficiency,
                for_3_sigma=_crossing(strengths, z, 3.0),
                for_5_sigma=_crossing(strengths, z, 5.0),
                gain_percent=_gain(inclusive, measured[-1].yields[index]),
            )
        )
    return tuple(found)


def _gain(inclusive: YieldSummary, cut: YieldSummary) -> float | None:
    if cut.efficiency is None or inclusive.mean_true <= 0 or cut.mean_expected <= 0:
        return None
    signal = cut.mean_true / inclusive.mean_true
    background = cut.mean_expected / inclusive.mean_expected
    return float(100 * (signal / np.sqrt(background) - 1))


def _crossing(strengths: FloatArray, z: FloatArray, level: float) -> float | None:
    """Return the first strength at which z rises through the level, interpolated."""
    for index in range(1, len(z)):
        if z[index - 1] < level <= z[index]:
            share = (level - z[index - 1]) / (z[index] - z[index - 1])
            return float(strengths[index - 1] + share * (strengths[index] - strengths[index - 1]))
    return None
