"""What it costs that a null generator is fitted to data with the signal in them.

A search fits its null to the data it searches. The hottest window is masked, but a signal beside
the mask, or one that is not the hottest, is learned: replays then hold some of it, reach further,
and p grows. Measured on the same pseudo-experiments, ranked among replays of their own generators
and among those of background-only data sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.scan.calibration import NullCells, statistic
from bumpscout_tools.scan.injection import NEAR, Injected
from bumpscout_tools.scan.rates import Rate, rate
from bumpscout_tools.scan.replay import Excess, Replay
from bumpscout_tools.scan.verdict_rates import Closures, closures

__all__ = ["Contamination", "contamination"]

FloatArray = npt.NDArray[np.float64]


class Contamination(BaseModel):
    """One strength: trials ranked among `n_replays` of contaminated nulls, and among clean ones.

    `found_5pc` counts p <= 5% within 5% of the mass among contaminated nulls, `found_5pc_clean`
    the same trials among clean ones; p cannot be below `least_p`. `shift` is the difference of the
    median statistic of the replays, contaminated less clean, in null widths, with its bootstrap
    error: what an excess must be larger by. `place_5pc` counts contaminated replays whose excess
    near the signal's mass is among the largest 5% of clean ones there: 5% if the null learned
    nothing. `closures` are those of the contaminated generators.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int
    n_replays: int
    least_p: float
    found_5pc: Rate
    found_5pc_clean: Rate
    median_p: float
    median_p_clean: float
    shift: float
    shift_error: float
    place_5pc: Rate | None
    closures: Closures | None


def contamination(
    trials: Sequence[Injected],
    offsets: FloatArray,
    observed: FloatArray,
    calibration: NullCells,
    clean: Sequence[Replay],
    rng: np.random.Generator,
) -> Contamination | None:
    """Compare contaminated with clean nulls at one strength.

    Args:
        trials: of the strength; those without replays of their own take no part.
        offsets: (n,) mass found / true mass - 1.
        observed: (n,) statistic of each.
        calibration: null mean and width of the cells, from clean replays.
        clean: replays of background-only data sets.
        rng: for the bootstrap.

    Returns:
        The comparison, or None where fewer than two trials have replays.
    """
    rows = [index for index, trial in enumerate(trials) if trial.replays]
    if len(rows) < 2:
        return None
    mass = trials[0].mass_gev
    owner = np.array([index for index in rows for _ in trials[index].replays])
    own = [replay for index in rows for replay in trials[index].replays]
    pool, clean_pool = (_statistics(group, calibration) for group in (own, clean))
    p = np.array([_p(observed[index], pool[owner != index]) for index in rows])
    p_clean = np.array([_p(observed[index], clean_pool) for index in rows])
    near = np.abs(offsets[rows]) < NEAR
    n = len(rows)
    shift, error = _shift(pool, clean_pool, rng)
    place, clean_place = (_at_place(group, calibration, mass) for group in (own, clean))
    place_5pc = None
    if len(place) and len(clean_place):
        share = [_p(value, clean_place) <= 0.05 for value in place]
        place_5pc = rate(int(np.sum(share)), len(share))
    return Contamination(
        n=n,
        n_replays=len(pool),
        least_p=float(max(1 / (np.sum(owner != index) + 1) for index in rows)),
        found_5pc=rate(int((near & (p <= 0.05)).sum()), n),
        found_5pc_clean=rate(int((near & (p_clean <= 0.05)).sum()), n),
        median_p=float(np.median(p)),
        median_p_clean=float(np.median(p_clean)),
        shift=shift,
        shift_error=error,
        place_5pc=place_5pc,
        closures=closures([trials[index].record for index in rows]),
    )


def _statistics(replays: Sequence[Replay], calibration: NullCells) -> FloatArray:
    return np.array([np.inf if r.error else statistic(r.cells, calibration) for r in replays])


def _p(value: float, pool: FloatArray) -> float:
    return float((1 + np.count_nonzero(pool >= value)) / (len(pool) + 1))


def _shift(
    pool: FloatArray, clean: FloatArray, rng: np.random.Generator, n: int = 500
) -> tuple[float, float]:
    """Return the difference of medians with its bootstrap error; failures count as very large."""
    one, other = (np.clip(values, -1e3, 1e3) for values in (pool, clean))
    draws = [
        np.median(rng.choice(one, len(one))) - np.median(rng.choice(other, len(other)))
        for _ in range(n)
    ]
    return float(np.median(one) - np.median(other)), float(np.std(draws))


def _at_place(replays: Sequence[Replay], calibration: NullCells, mass_gev: float) -> FloatArray:
    """Return the largest excess near a mass, of each replay that has a believable cell there."""
    found = []
    for replay in replays:
        cells = [cell for cell in replay.cells if _near(cell, mass_gev)]
        value = statistic(cells, calibration)
        if np.isfinite(value):
            found.append(value)
    return np.array(found)


def _near(cell: Excess, mass_gev: float) -> bool:
    return cell.mass_gev is not None and abs(cell.mass_gev / mass_gev - 1) < NEAR
