"""Limits on a grid: every spectrum behind its working points, with scores that know no event.

Where the score was made without the scanned events, a cut keeps the same share of a signal whatever
its strength: a limit in events, divided by acceptance times efficiency of a signal and by the
luminosity of these events, is a limit on its cross section. For masses in the most significant
interval of a cell (and a bin on each side) the order of the background is chosen, and judged, with
that interval left out, so that what may be a signal does not drive the choice. For other masses all
bins count: where a strong excess stands elsewhere in the spectrum no background describes it, a fit
without that excess would be wrong on both sides of it, and there is no limit.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.settings import ColumnSettings
from bumpscout_tools.scan.grid_scan import GridScan
from bumpscout_tools.scan.limits_scan import MAX_ROWS, PointLimits, ScanLimits, WindowLimits
from bumpscout_tools.scan.limits_spectrum import CutSpectrum, limit_masses
from bumpscout_tools.scan.limits_tasks import LIMIT_STREAM, LimitTask, Progress, run_limit_tasks
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["grid_limits"]

_EVENTS = "Upper limits on the signal events that pass the cut and lie in the bins of the spectrum"
_FIXED = (
    "The score was not trained on the scanned events, so the share of a signal that a cut keeps "
    "does not depend on its strength: divided by that acceptance times efficiency (pass events of "
    "the signal through the same score and cut) and by the luminosity of the scanned events "
    "(`pb_per_event` is one over it) these are limits on cross sections"
)
_UNKNOWN = (
    "How the score column was made is not known here: if it was trained on these events, the share "
    "of a signal that a cut keeps depends on its strength, and these are limits on what passes only"
)
_SHARED = "Events may stand in several spectra; each limit is of one spectrum alone"
_CHOSEN = (
    "A limit at one mass, spectrum and cut is right for those that were chosen beforehand, not for "
    "the lowest of many"
)


def grid_limits(
    plan: SearchPlan,
    scan: GridScan,
    *,
    seed: int,
    executor: Executor,
    progress: Progress | None = None,
) -> ScanLimits | None:
    """Set limits for every mass and width in the spectra of a scanned grid.

    Args:
        plan: the plan of the scan; its `limits` say what is wanted.
        scan: the scanned grid.
        seed: decides the toys.
        executor: runs the fits side by side; the result does not depend on it.
        progress: called with (done, total) spectra.

    Returns:
        The limits, or None where the plan asks for none.
    """
    settings = plan.limits
    if not settings.widths:
        return None
    all_pb = scan.outcome.all_events_pb
    pb = None if all_pb is None else all_pb / scan.grid.n_events
    most = _affordable(plan, scan)
    tasks: list[LimitTask] = []
    points: list[PointLimits] = []
    for k, (column, fit) in enumerate(zip(scan.grid.columns, scan.fits, strict=True)):
        edges = column.edges[fit.start :]
        for w in _chosen(np.flatnonzero(fit.part), most):
            counts = scan.counts[k][w, fit.start :]
            mask = np.zeros(len(counts), dtype=np.bool_)
            mask[max(0, fit.low[w] - fit.start - 1) : fit.high[w] - fit.start + 1] = True
            low, high = edges[:-1][mask][0], edges[1:][mask][-1]
            masses = limit_masses(edges, settings.resolution)
            here = (masses >= low) & (masses < high)
            tasks += [
                LimitTask(
                    point=len(points),
                    window_gev=(float(edges[0]), float(edges[-1])),
                    inside=True,
                    spectrum=CutSpectrum(counts, left_out, reason=fit.doubts[w]),
                    edges_gev=edges,
                    masses_gev=masses[which],
                    seed=(seed, LIMIT_STREAM, k, int(w), number),
                )
                for number, (which, left_out) in enumerate(((here, mask), (~here, None)))
                if which.any()
            ]
            n_selected = scan.grid.n_selected[w]
            points.append(
                PointLimits(
                    detector=plan.detectors[column.detector].name,
                    detector_index=column.detector,
                    spectrum=column.spectrum.name,
                    efficiency=scan.grid.efficiencies[w],
                    cross_section_pb=None if pb is None else n_selected * pb,
                    null_width=None,
                    windows=(),
                )
            )
    found = run_limit_tasks(plan, tasks, executor, progress)
    return ScanLimits(
        level=settings.level,
        resolution=settings.resolution,
        widths=settings.widths,
        luminosity_fb=plan.luminosity_fb,
        pb_per_event=pb,
        meaning=(_EVENTS, _origin(plan), _SHARED, _CHOSEN, *_left_out(scan, most)),
        points=tuple(
            point.model_copy(
                update={
                    "windows": tuple(
                        WindowLimits(window_gev=task.window_gev, inside=True, limits=limits)
                        for task, limits in zip(tasks, found, strict=True)
                        if task.point == number
                    )
                }
            )
            for number, point in enumerate(points)
        ),
    )


def _affordable(plan: SearchPlan, scan: GridScan) -> int:
    """Return how many working points of each spectrum get limits: asked for, and room for them."""
    masses = [
        len(limit_masses(column.edges[fit.start :], plan.limits.resolution))
        for column, fit in zip(scan.grid.columns, scan.fits, strict=True)
    ]
    room = MAX_ROWS // (sum(masses) * len(plan.limits.widths))
    wanted = plan.limits.max_points or len(scan.grid.efficiencies)
    return max(1, min(wanted, room))


def _origin(plan: SearchPlan) -> str:
    columns = [d.settings for d in plan.detectors if isinstance(d.settings, ColumnSettings)]
    return _FIXED if all(column.independent for column in columns) else _UNKNOWN


def _left_out(scan: GridScan, most: int) -> tuple[str, ...]:
    n = len(scan.grid.efficiencies)
    if most >= n:
        return ()
    return (f"Limits stand behind {most} of the {n} working points, evenly chosen",)


def _chosen(levels: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return at most so many working points, evenly spaced, first and last among them."""
    if len(levels) <= most:
        return levels
    steps = np.linspace(0, len(levels) - 1, most)
    return levels[np.unique(np.round(steps).astype(np.int64))]
