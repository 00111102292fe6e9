"""The end of a final scan: the calibrated ranking, guards of its first cell, and robustness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.guards import guard_score
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.execute import Prepared
from bumpscout_tools.scan.outcome import ScanOutcome
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.robustness import variants_of

__all__ = ["conclude"]

FloatArray = npt.NDArray[np.float64]


def conclude(
    plan: SearchPlan,
    prepared: Prepared,
    scores: Sequence[FloatArray],
    outcome: ScanOutcome,
    calibration: NullCells,
) -> ScanOutcome:
    """Rank the cells as scan p and procedure p do, guard the first, and vary the leading ones.

    Args:
        plan: the search plan.
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
    ended = outcome.model_copy(update={"ranking": ranking, "guards": guards})
    variants = {}
    for cell in ended.leading():
        window = prepared.layout.windows_gev.index(cell.window_gev)
        rows = np.argsort(-scores[cell.detector_index][:, window], kind="stable")
        mass = prepared.view.mass[rows[: cell.n_selected]]
        variants[cell.test_id] = variants_of(plan, prepared.layout, mass, cell, calibration)
    return ended.model_copy(update={"variants": variants})
