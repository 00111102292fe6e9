"""Scan p: the largest excess over all windows and working points, against toys of all of them.

Toys hold the scores fixed; what they then lack, the fluctuations of the detectors' own training,
comes from the replays as each cell's null mean and width. Every toy is refitted, order selection
included; a cell that no model describes takes no part. Nested working points of a window share
their events in the toys; windows are drawn independently, which counts overlapping windows as
separate trials and so can only raise p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.cells import fit_background, standardise, window_toys
from bumpscout_tools.scan.execute import Prepared
from bumpscout_tools.scan.layout import Layout
from bumpscout_tools.scan.outcome import ScanOutcome, ScanP
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.refine import all_efficiencies
from bumpscout_tools.statistics import ToyP, besag_clifford

__all__ = ["Progress", "scan_p_value", "sequential_p", "toy_maxima"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[str, str, int | None, int | None], None]

TOY_CHUNK = 1000
STOP_TOYS_AFTER = 100
_Key = tuple[int, int]  # number of the detector, number of the window
FIXED = "toys refitted, scores held fixed"
CALIBRATED = "toys refitted, each cell's null mean and width from replays"
INDEPENDENT = "windows independent"


@dataclass(frozen=True)
class _Null:
    """Believable fits of one window: (n_efficiencies,) points and (n_efficiencies, b) counts."""

    efficiencies: tuple[float, ...]
    expected: FloatArray


def sequential_p(reached: BoolArray, stop_after: int) -> tuple[ToyP, int, int]:
    """Return the Besag-Clifford p-value of a sequence of toys, with k and n.

    Args:
        reached: (n,) True for each toy that reached the data, in the order they were made.
        stop_after: number of such toys at which the sequence ends; later toys are not counted.
    """
    total = np.cumsum(reached)
    n = len(reached)
    if total[-1] >= stop_after:
        n = int(np.argmax(total >= stop_after)) + 1
    k = int(total[n - 1])
    return besag_clifford(k, n, stop_after), k, n


def scan_p_value(
    plan: SearchPlan,
    prepared: Prepared,
    scores: Sequence[FloatArray],
    outcome: ScanOutcome,
    calibration: NullCells,
    seed: int,
    executor: Executor,
    progress: Progress,
) -> ScanP:
    """Compute the p-value of the largest excess.

    Args:
        plan: the search plan.
        prepared: layout and restricted view of the data.
        scores: per detector (n, n_windows).
        outcome: what the scan found; its believable cells compete, those of withheld detectors
            in the toys alone.
        calibration: null mean and width of the excess at each working point.
        seed: decides the toys.
        executor: runs windows side by side; the result does not depend on it.
        progress: called with (stage, message, done, total).
    """
    layout = prepared.layout
    nulls = _fitted_nulls(plan, prepared, scores)
    moments: dict[_Key, tuple[FloatArray, FloatArray]] = {}
    observed = 0.0
    reached = np.zeros(0, dtype=np.bool_)
    while len(reached) < plan.toys and reached.sum() < STOP_TOYS_AFTER:
        done = len(reached)
        n = min(TOY_CHUNK, plan.toys - done)
        maxima = _maxima(plan, layout, nulls, moments, (seed, done), n, executor)
        if not done:
            observed = _observed(plan, prepared, outcome, nulls, moments, calibration)
        reached = np.concatenate([reached, maxima >= observed])
        progress("toys", "toys of the scan p-value", len(reached), plan.toys)
    p, _, n_toys = sequential_p(reached, STOP_TOYS_AFTER)
    return ScanP(
        value=p.value,
        low=p.low,
        high=p.high,
        method=f"{CALIBRATED if calibration.n_replays else FIXED}; {INDEPENDENT}",
        n_toys=n_toys,
    )


def toy_maxima(
    plan: SearchPlan,
    prepared: Prepared,
    scores: Sequence[FloatArray],
    seed: int,
    executor: Executor,
    n_toys: int,
) -> FloatArray:
    """Return the largest excess over all cells in each of the toys of scan p.

    Args:
        plan: the search plan.
        prepared: layout and restricted view of the data.
        scores: per detector (n, n_windows).
        seed: decides the toys; they are those of `scan_p_value` with the same seed.
        executor: runs windows side by side.
        n_toys: how many.

    Returns:
        (n_toys,) largest excess; minus infinity where no cell can be believed.
    """
    nulls = _fitted_nulls(plan, prepared, scores)
    moments: dict[_Key, tuple[FloatArray, FloatArray]] = {}
    found = [
        _maxima(
            plan, prepared.layout, nulls, moments, (seed, done), min(TOY_CHUNK, n_toys - done),
            executor,
        )
        for done in range(0, n_toys, TOY_CHUNK)
    ]  # fmt: skip
    return np.concatenate(found)


def _maxima(
    plan: SearchPlan,
    layout: Layout,
    nulls: dict[_Key, _Null],
    moments: dict[_Key, tuple[FloatArray, FloatArray]],
    seed_done: tuple[int, int],
    n: int,
    executor: Executor,
) -> FloatArray:
    """Return the largest excess of n toys; the first ones give null mean and width."""
    seed, done = seed_done
    futures = {
        key: executor.submit(
            window_toys,
            plan,
            layout,
            window=key[1],
            expected=null.expected,
            n_toys=n,
            seed=(seed, 1, *key, done),
        )
        for key, null in nulls.items()
    }
    maxima = np.full(n, -np.inf)
    for key, future in futures.items():
        z = future.result()
        if key not in moments:
            moments[key] = (z.mean(axis=0), z.std(axis=0))
        maxima = np.maximum(maxima, standardise(z, *moments[key]).max(axis=1))
    return maxima


def _fitted_nulls(
    plan: SearchPlan, prepared: Prepared, scores: Sequence[FloatArray]
) -> dict[_Key, _Null]:
    layout, mass = prepared.layout, prepared.view.mass
    nulls: dict[_Key, _Null] = {}
    for detector, score in enumerate(scores):
        for window in range(len(layout.windows)):
            order = np.argsort(-score[:, window], kind="stable")
            efficiencies, expected = [], []
            for efficiency in all_efficiencies(plan):
                n_selected = max(1, round(efficiency * len(mass)))
                counts = layout.histogram(mass[order[:n_selected]])
                selection, reason = fit_background(plan, layout, counts, window)
                if reason is None:
                    efficiencies.append(efficiency)
                    expected.append(selection.fit.expected)
            if efficiencies:
                nulls[detector, window] = _Null(tuple(efficiencies), np.array(expected))
    return nulls


def _observed(
    plan: SearchPlan,
    prepared: Prepared,
    outcome: ScanOutcome,
    nulls: dict[_Key, _Null],
    moments: dict[_Key, tuple[FloatArray, FloatArray]],
    calibration: NullCells,
) -> float:
    windows = list(prepared.layout.windows_gev)
    best = -np.inf
    for cell in outcome.cells:
        if not cell.believable or cell.detector_index in plan.withheld:
            continue
        key = cell.detector_index, windows.index(cell.window_gev)
        column = nulls[key].efficiencies.index(cell.efficiency)
        mean, width = (moment[column] for moment in moments[key])
        excess = float(standardise(np.array(cell.local_z), mean, width))
        value = calibration.standardise(cell.detector_index, cell.efficiency, excess)
        best = max(best, float(value))
    return best
