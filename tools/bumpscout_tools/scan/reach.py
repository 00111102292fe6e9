"""The strength needed for 3 and 5 sigma, and the gain of a cut, with bootstrap errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.injection import Injected, Yield

__all__ = ["Estimate", "Reach", "crossing", "median_z", "null_mean", "reach", "row_z"]

FloatArray = npt.NDArray[np.float64]

BOOTSTRAPS = 300
ONE_SIGMA = (0.1587, 0.8413)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(_Record):
    """A value with its 68% interval from a bootstrap over the repetitions of each strength.

    An end is None where more than 16% of the bootstraps lie beyond what was injected.
    """

    value: float
    low: float | None
    high: float | None


class Reach(_Record):
    """The strength S/sqrt(B) at which the median significance at the true mass is 3 and 5.

    None where no injected strength brackets it. `efficiency` is None without a cut; `gain_percent`
    is (Z with the cut / Z without - 1) in percent for Z = s/sqrt(b) near the mass, s being the true
    signal and b the fitted background of the repetitions at the largest strength.
    """

    efficiency: float | None
    for_3_sigma: Estimate | None
    for_5_sigma: Estimate | None
    gain_percent: Estimate | None


def reach(
    by_strength: Sequence[tuple[float, Sequence[Injected]]],
    without: Sequence[Injected],
    calibration: NullCells,
    rng: np.random.Generator,
) -> tuple[Reach, ...]:
    """Return the reach without a cut and at each working point.

    Args:
        by_strength: rising strengths with their repetitions that have yields.
        without: repetitions without the signal: their mean z is what a signal must exceed.
        calibration: null width of the excess, for the significance behind a cut.
        rng: for the bootstrap.
    """
    nothing = [trial for trial in without if trial.yields]
    groups = [(s, [t for t in trials if t.yields]) for s, trials in by_strength]
    groups = [(s, trials) for s, trials in groups if trials]
    if not groups:
        return ()
    strengths = np.array([s for s, _ in groups])
    points = min(len(trial.yields) for _, trials in groups for trial in trials)
    found = []
    for index in range(points):
        rows = [[trial.yields[index] for trial in trials] for _, trials in groups]
        null = [trial.yields[index] for trial in nothing if len(trial.yields) > index]
        inclusive = [trial.yields[0] for trial in groups[-1][1]]
        draws = [
            [rng.integers(len(group), size=len(group)) for group in rows] for _ in range(BOOTSTRAPS)
        ]
        z = _medians(rows, calibration, null_mean(null))
        booted = np.array(
            [
                _medians(
                    [[group[i] for i in pick] for group, pick in zip(rows, picks, strict=True)],
                    calibration,
                    null_mean([null[i] for i in rng.integers(len(null), size=len(null))])
                    if null
                    else 0.0,
                )
                for picks in draws
            ]
        )
        gains = [
            _gain([inclusive[i] for i in picks[-1]], [rows[-1][i] for i in picks[-1]])
            for picks in draws
        ]
        found.append(
            Reach(
                efficiency=rows[0][0].efficiency,
                for_3_sigma=_crossings(strengths, z, booted, 3.0),
                for_5_sigma=_crossings(strengths, z, booted, 5.0),
                gain_percent=_estimate(_gain(inclusive, rows[-1]), gains),
            )
        )
    return tuple(found)


def median_z(rows: Sequence[Yield], calibration: NullCells, mean: float) -> float | None:
    """Return the median significance at the true mass, with the error of the fitted expectation.

    None where the fit cannot be believed in half of the repetitions or more.

    Args:
        rows: yields at one strength and working point.
        calibration: null width of the excess.
        mean: `null_mean` of the repetitions without the signal.
    """
    believable = [row for row in rows if row.believable]
    if 2 * len(believable) <= len(rows):
        return None
    return float(np.median([row_z(row, calibration, mean) for row in believable]))


def row_z(row: Yield, calibration: NullCells, mean: float) -> float:
    """Return the significance of one yield: local z with the error of the fitted expectation.

    Behind a cut z of no signal is neither 0 in the mean nor of width 1: the cut was trained towards
    its window, and it fluctuates from training to training. So its mean is subtracted, and the rest
    divided by the null width.

    Args:
        row: the measurement.
        calibration: null width of the excess.
        mean: `null_mean` of the repetitions without the signal; not used without a cut.
    """
    z = _raw_z(row)
    return z if row.efficiency is None else (z - mean) / _null_width(calibration, row.efficiency)


def null_mean(rows: Sequence[Yield]) -> float:
    """Return the mean z (error of the fit included) of repetitions without a signal; 0 of none."""
    believable = [_raw_z(row) for row in rows if row.believable]
    return float(np.mean(believable)) if believable else 0.0


def _raw_z(row: Yield) -> float:
    b = max(row.n_expected, 1e-9)
    return float(row.local_z * np.sqrt(b / (b + row.fit_error**2)))


def _null_width(calibration: NullCells, efficiency: float) -> float:
    zero, one = (float(calibration.standardise(0, efficiency, excess)) for excess in (0.0, 1.0))
    return 1 / (one - zero)


def _medians(rows: Sequence[Sequence[Yield]], calibration: NullCells, mean: float) -> FloatArray:
    medians = [median_z(group, calibration, mean) for group in rows]
    return np.array([np.nan if median is None else median for median in medians])


def _gain(inclusive: Sequence[Yield], cut: Sequence[Yield]) -> float | None:
    """Return the gain in Z = s/sqrt(b) in percent."""
    if cut[0].efficiency is None:
        return None
    s0, s = (float(np.mean([row.n_true for row in rows])) for rows in (inclusive, cut))
    b0, b = (float(np.mean([row.n_expected for row in rows])) for rows in (inclusive, cut))
    if min(s0, b0, b) <= 0:
        return None
    return float(100 * (s / s0 / np.sqrt(b / b0) - 1))


def crossing(strengths: FloatArray, z: FloatArray, level: float) -> float | None:
    """Return the first strength at which z rises through the level, interpolated; None without.

    Args:
        strengths: (n,) rising.
        z: (n,) significance at each.
        level: wanted significance.
    """
    for index in range(1, len(z)):
        if z[index - 1] < level <= z[index]:
            share = (level - z[index - 1]) / (z[index] - z[index - 1])
            return float(strengths[index - 1] + share * (strengths[index] - strengths[index - 1]))
    return None


def _crossings(
    strengths: FloatArray, z: FloatArray, booted: FloatArray, level: float
) -> Estimate | None:
    """Return the crossing with its interval; bootstraps without one lie beyond either end."""
    draws = []
    for row in booted:
        where = crossing(strengths, row, level)
        known = row[np.isfinite(row)]
        below = bool(len(known)) and float(known[0]) >= level
        draws.append(where if where is not None else -np.inf if below else np.inf)
    return _estimate(crossing(strengths, z, level), draws)


def _estimate(value: float | None, draws: Sequence[float | None]) -> Estimate | None:
    if value is None:
        return None
    known = np.sort([draw for draw in draws if draw is not None])
    if not len(known):
        return Estimate(value=value, low=None, high=None)
    low, high = (float(known[min(int(q * len(known)), len(known) - 1)]) for q in ONE_SIGMA)
    return Estimate(
        value=value,
        low=low if np.isfinite(low) else None,
        high=high if np.isfinite(high) else None,
    )
