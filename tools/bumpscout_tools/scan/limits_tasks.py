"""Limits behind many cuts: one task a spectrum and group of masses, toys shared out among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.background import DijetBasis
from bumpscout_tools.scan.limits_spectrum import CutLimits, CutSpectrum, cut_limits
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["LIMIT_STREAM", "LimitTask", "Progress", "run_limit_tasks"]

FloatArray = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

LIMIT_STREAM = 50
"""Second word of the entropy of limits by toys."""
MAX_ORDER = 6


@dataclass(frozen=True)
class LimitTask:
    """Masses behind one cut.

    Attributes:
        point: number of the working point that the limits belong to.
        window_gev: where the cut, or the fit, holds; None for all events.
        inside: whether the masses lie in the window.
        spectrum: counts behind the cut.
        edges_gev: (b + 1,) of its bins.
        masses_gev: (m,) of the signals.
        seed: entropy of the toys.
    """

    point: int
    window_gev: tuple[float, float] | None
    inside: bool
    spectrum: CutSpectrum
    edges_gev: FloatArray
    masses_gev: FloatArray
    seed: tuple[int, ...]


def run_limit_tasks(
    plan: SearchPlan, tasks: Sequence[LimitTask], executor: Executor, progress: Progress | None
) -> list[CutLimits]:
    """Set the limits of all tasks; those over few events by toys as far as the plan allows.

    Args:
        plan: its `limits` and `background`.
        tasks: each runs on its own.
        executor: runs them side by side; the result does not depend on it.
        progress: called with (tasks done, tasks in all); a task done again for toys is one more.
    """
    futures = [executor.submit(_run, plan, task, 0) for task in tasks]
    found = []
    for future in futures:
        found.append(future.result())
        if progress is not None:
            progress(len(found), len(tasks))
    toys = _allotted([one.n_toys_wanted for one in found], plan.limits.max_by_toys)
    again = {
        index: executor.submit(_run, plan, tasks[index], n)
        for index, n in enumerate(toys)
        if n and plan.limits.toys
    }
    for done, (index, future) in enumerate(again.items(), 1):
        found[index] = future.result()
        if progress is not None:
            progress(len(tasks) + done, len(tasks) + len(again))
    return found


def _allotted(wanted: Sequence[int], most: int) -> list[int]:
    """Return how many limits of each task are made by toys: one each in turn, `most` in all."""
    given = [0] * len(wanted)
    left = most
    while left > 0 and any(n < w for n, w in zip(given, wanted, strict=True)):
        for index, want in enumerate(wanted):
            if given[index] < want and left > 0:
                given[index] += 1
                left -= 1
    return given


def _run(plan: SearchPlan, task: LimitTask, by_toys: int) -> CutLimits:
    background = plan.background
    top = min(background.orders[-1] + 1, MAX_ORDER)
    return cut_limits(
        task.spectrum,
        DijetBasis(task.edges_gev, background.sqrt_s_gev, top),
        background.orders,
        background.alpha,
        plan.limits,
        task.masses_gev,
        np.random.default_rng(task.seed),
        max_by_toys=by_toys,
    )
