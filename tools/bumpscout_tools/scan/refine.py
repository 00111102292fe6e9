"""Working points: the coarse grid, and the deterministic rule that refines the hottest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["Point", "all_efficiencies", "coarse_points", "refined_points"]

Point = tuple[int, int, float]
"""(number of the detector, number of the window, efficiency)."""


def coarse_points(plan: SearchPlan, n_windows: int) -> list[Point]:
    """Return every detector x window x coarse efficiency."""
    return [
        (detector, window, efficiency)
        for detector in range(len(plan.detectors))
        for window in range(n_windows)
        for efficiency in plan.working_points.efficiencies
    ]


def refined_points(plan: SearchPlan, n_windows: int, known: Mapping[Point, float]) -> list[Point]:
    """Return the points to add around the hottest one.

    For each detector, the geometric means of the hottest efficiency with its two neighbours are
    tested in the hottest window and in the windows next to it.

    Args:
        plan: the search plan.
        n_windows: number of windows.
        known: excess of every point tested so far; minus infinity where the fit is not believable.
    """
    points: list[Point] = []
    for detector in range(len(plan.detectors)):
        tested = {point: excess for point, excess in known.items() if point[0] == detector}
        if not tested or max(tested.values()) == -math.inf:
            continue
        hottest = max(tested, key=lambda point: (tested[point], point))
        ladder = sorted({point[2] for point in tested if point[1] == hottest[1]}, reverse=True)
        position = ladder.index(hottest[2])
        for neighbour in (position - 1, position + 1):
            if not 0 <= neighbour < len(ladder):
                continue
            efficiency = _between(ladder[position], ladder[neighbour])
            for window in range(max(0, hottest[1] - 1), min(n_windows, hottest[1] + 2)):
                point = (detector, window, efficiency)
                if point not in known:
                    points.append(point)
    return points


def all_efficiencies(plan: SearchPlan) -> tuple[float, ...]:
    """Return every efficiency that the plan could test, refinements included, falling."""
    ladder = list(plan.working_points.efficiencies)
    for _ in range(plan.working_points.refine_rounds):
        means = [_between(a, b) for a, b in pairwise(ladder)]
        ladder = sorted({*ladder, *means}, reverse=True)
    return tuple(ladder)


def _between(first: float, second: float) -> float:
    return float(f"{math.sqrt(first * second):.6g}")
