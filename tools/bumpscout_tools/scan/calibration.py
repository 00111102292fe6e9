"""From the cells of data and replays to one statistic: each cell's null mean and width first.

Toys that hold the scores fixed know nothing of the detector's own fluctuations: on exact nulls the
width of local z is 1.1 to 1.4 for detectors trained on the scanned events. So the excess of a cell
(already in units of its refitted toys) is standardised once more, by median and width of the
excess over replays at the same working point, before the maximum over cells is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import Excess, Replay

__all__ = ["NullCells", "statistic"]

FloatArray = npt.NDArray[np.float64]

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""
MIN_WIDTH = 1.0
"""A width below that of fixed scores would only reward noise in its own estimate."""


class NullCells(BaseModel):
    """Median and width of the excess on nulls, for each detector at each coarse working point."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    efficiencies: tuple[float, ...]
    means: tuple[tuple[float, ...], ...]
    widths: tuple[tuple[float, ...], ...]
    n_replays: int

    @classmethod
    def scores_held_fixed(cls, plan: SearchPlan) -> NullCells:
        """Return the means 0 and widths 1 that toys with fixed scores have by construction."""
        points = plan.working_points.efficiencies
        detectors = range(len(plan.detectors))
        return cls(
            efficiencies=points,
            means=tuple(tuple(0.0 for _ in points) for _ in detectors),
            widths=tuple(tuple(1.0 for _ in points) for _ in detectors),
            n_replays=0,
        )

    @classmethod
    def estimate(
        cls, plan: SearchPlan, data: Sequence[Excess], replays: Sequence[Replay]
    ) -> NullCells:
        """Estimate from the data and the first replays, pooled over windows.

        The data enter like one more replay, so that all are treated alike under the null; median
        and median absolute deviation keep a signal in them from mattering.

        Args:
            plan: the search plan.
            data: cells of the observed scan.
            replays: the replays that calibrate.
        """
        scans = [data, *(replay.cells for replay in replays)]
        means, widths = [], []
        for detector in range(len(plan.detectors)):
            row = [
                _median_width(scans, detector, point) for point in plan.working_points.efficiencies
            ]
            means.append(tuple(mean for mean, _ in row))
            widths.append(tuple(width for _, width in row))
        return cls(
            efficiencies=plan.working_points.efficiencies,
            means=tuple(means),
            widths=tuple(widths),
            n_replays=len(replays),
        )

    def standardise(
        self, detector: int, efficiency: FloatArray | float, excess: FloatArray | float
    ) -> FloatArray:
        """Return (excess - mean) / width for one detector, log-interpolated in the efficiency."""
        grid = np.log(self.efficiencies[::-1])
        mean = np.interp(np.log(efficiency), grid, self.means[detector][::-1])
        width = np.interp(np.log(efficiency), grid, self.widths[detector][::-1])
        return np.asarray((excess - mean) / width)


def statistic(cells: Sequence[Excess], null: NullCells, withheld: Sequence[int] = ()) -> float:
    """Return the largest standardised excess over believable cells; minus infinity if none.

    Args:
        cells: of the data or of a replay.
        null: null mean and width of the excess at each working point.
        withheld: detectors that take no part; for the data alone, because a replay is the maximum
            over all detectors that were looked at.
    """
    largest = float("-inf")
    for detector in {cell.detector for cell in cells} - set(withheld):
        rows = [(c.efficiency, c.excess) for c in cells if c.believable and c.detector == detector]
        if rows:
            efficiency, excess = np.array(rows).T
            largest = max(largest, float(null.standardise(detector, efficiency, excess).max()))
    return largest


def _median_width(
    scans: Sequence[Sequence[Excess]], detector: int, efficiency: float
) -> tuple[float, float]:
    values = np.array(
        [
            cell.excess
            for cells in scans
            for cell in cells
            if cell.believable and cell.detector == detector and cell.efficiency == efficiency
        ]
    )
    if len(values) == 0:
        return 0.0, MIN_WIDTH
    median = float(np.median(values))
    width = MAD_TO_SIGMA * float(np.median(np.abs(values - median)))
    return median, max(width, MIN_WIDTH)
