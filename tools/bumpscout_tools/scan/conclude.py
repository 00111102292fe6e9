"""The end of a final scan: the ranking by calibrated excess, and the guards of its first cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.guards import guard_score
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.execute import Prepared
from bumpscout_tools.scan.outcome import ScanOutcome

__all__ = ["conclude"]

FloatArray = npt.NDArray[np.float64]


def conclude(
    prepared: Prepared,
    scores: Sequence[FloatArray],
    outcome: ScanOutcome,
    calibration: NullCells,
) -> ScanOutcome:
    """Rank the cells as scan p and procedure p do, and guard the one that decides them.

    Args:
        prepared: layout and restricted view of the data.
        scores: per detector (n, n_windows), as the scan saw them.
        outcome: what the scan found.
        calibration: null mean and width of the excess at each working point.
    """

    def calibrated(index: int) -> float:
        cell = outcome.cells[index]
        value = calibration.standardise(cell.detector_index, cell.efficiency, cell.excess)
        return float(value)

    ranking = tuple(sorted(outcome.ranking, key=lambda index: (-calibrated(index), index)))
    guards = dict(outcome.guards)
    if ranking:
        best = outcome.cells[ranking[0]]
        if best.test_id not in guards:
            window = prepared.layout.windows_gev.index(best.window_gev)
            guards[best.test_id] = guard_score(
                scores[best.detector_index][:, window],
                prepared.view,
                best.window_gev,
                best.interval_gev,
                best.efficiency,
                best.n_expected,
            )
    return outcome.model_copy(update={"ranking": ranking, "guards": guards})
