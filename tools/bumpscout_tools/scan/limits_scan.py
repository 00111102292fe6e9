"""Limits at every working point of a scan, in events that pass the cut, or pb where it is known.

Each mass is looked up behind the cut of the signal window whose middle is nearest to it. A cut that
was trained on the events in which the limit is set was trained with whatever signal they hold: the
limit is on the signal that passes *this* cut, a visible cross section. What part of all signal
events that is depends on the strength of the signal itself, and is measured by injecting it and
training anew (`recast`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.cells import fit_background
from bumpscout_tools.scan.cross_sections import FB_PER_PB
from bumpscout_tools.scan.execute import Prepared
from bumpscout_tools.scan.limits_spectrum import CutLimits, CutSpectrum, LimitRow, limit_masses
from bumpscout_tools.scan.limits_tasks import LIMIT_STREAM, LimitTask, Progress, run_limit_tasks
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["MAX_ROWS", "PointLimits", "ScanLimits", "WindowLimits", "scan_limits", "window_of_mass"]

FloatArray = npt.NDArray[np.float64]

MAX_ROWS = 200_000
"""Most limits that one file holds."""

MEANING = (
    "Upper limits on the signal events that pass the cut and lie in the fitted mass range",
    "The cut was trained on the same events, with any signal that they hold: a stronger signal "
    "would have trained another cut. The efficiency of the cut for a signal as strong as its limit "
    "is not known here, so these are limits on visible cross sections (acceptance and efficiency "
    "included), not on cross sections; `bumpscout recast` measures efficiencies by injecting a "
    "signal and training anew",
    "A limit at one mass and cut is right for a mass and cut that were chosen beforehand, not for "
    "the lowest of many",
)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WindowLimits(_Record):
    """Limits at the masses that belong to one signal window, behind its own cut.

    `inside` False: no signal window holds these masses, so the cut was trained for others nearby.
    """

    window_gev: tuple[float, float] | None
    inside: bool
    limits: CutLimits


class PointLimits(_Record):
    """Limits behind one working point of one detector; no detector and efficiency 1: all events.

    `spectrum` names the spectrum of a grid. `cross_section_pb` is the visible cross section of the
    selection, where a luminosity is known; `null_width` what replays of the retrained cut
    fluctuate, in units of fixed scores, None where too few replays were run to know it.
    """

    detector: str | None
    detector_index: int | None
    spectrum: str | None = None
    efficiency: float
    cross_section_pb: float | None
    null_width: float | None
    windows: tuple[WindowLimits, ...]

    def rows(self, width: float) -> list[LimitRow]:
        """Return the rows of one signal width by rising mass."""
        found = [row for w in self.windows for row in w.limits.rows if row.width == width]
        return sorted(found, key=lambda row: row.mass_gev)


class ScanLimits(_Record):
    """The content of ``limits.json``; limits in events, times `pb_per_event` in pb."""

    schema_version: Literal["bumpscout.limits/1"] = "bumpscout.limits/1"
    level: float
    resolution: float
    widths: tuple[float, ...]
    luminosity_fb: float | None
    pb_per_event: float | None
    meaning: tuple[str, ...] = MEANING
    points: tuple[PointLimits, ...]


def window_of_mass(windows_gev: Sequence[tuple[float, float]], mass_gev: float) -> tuple[int, bool]:
    """Return the window whose middle is nearest to a mass, and whether it holds the mass."""
    middle = np.log([low * high for low, high in windows_gev]) / 2
    nearest = int(np.argmin(np.abs(middle - np.log(mass_gev))))
    low, high = windows_gev[nearest]
    return nearest, bool(low <= mass_gev < high)


def scan_limits(
    plan: SearchPlan,
    prepared: Prepared,
    scores: Sequence[FloatArray | None],
    calibration: NullCells,
    *,
    seed: int,
    luminosity_share: float = 1.0,
    executor: Executor,
    progress: Progress | None = None,
) -> ScanLimits | None:
    """Set limits for every mass, width and coarse working point of a finished scan.

    Args:
        plan: the search plan; its `limits` say what is wanted.
        prepared: layout and restricted view of the data.
        scores: per detector (n, n_windows), as the scan saw them; None has no limits.
        calibration: null widths of the cells, from replays.
        seed: decides the toys.
        luminosity_share: share of the luminosity that the events are.
        executor: runs the fits side by side; the result does not depend on it.
        progress: called with (done, total) spectra.

    Returns:
        The limits, or None where the plan asks for none or no signal window could be scanned.
    """
    settings, layout = plan.limits, prepared.layout
    if not settings.widths or not layout.windows:
        return None
    known = calibration.n_replays > 0
    points: list[tuple[int | None, float]] = [(None, 1.0)]
    points += [
        (detector, efficiency)
        for detector, score in enumerate(scores)
        if score is not None
        for efficiency in plan.working_points.efficiencies
    ]
    tasks: list[LimitTask] = []
    for number, (detector, efficiency) in enumerate(points):
        width = 1.0 if detector is None else _null_width(calibration, detector, efficiency)
        score = None if detector is None else scores[detector]
        tasks += _tasks(plan, prepared, score, number, efficiency, width if known else 1.0, seed)
    found = run_limit_tasks(plan, tasks, executor, progress)
    pb = None
    if plan.luminosity_fb is not None:
        pb = 1.0 / (FB_PER_PB * plan.luminosity_fb * luminosity_share)
    n = len(prepared.view)
    return ScanLimits(
        level=settings.level,
        resolution=settings.resolution,
        widths=settings.widths,
        luminosity_fb=plan.luminosity_fb,
        pb_per_event=pb,
        points=tuple(
            PointLimits(
                detector=None if detector is None else plan.detectors[detector].name,
                detector_index=detector,
                efficiency=efficiency,
                cross_section_pb=None if pb is None else max(1, round(efficiency * n)) * pb,
                null_width=None
                if detector is None or not known
                else _null_width(calibration, detector, efficiency),
                windows=tuple(
                    WindowLimits(window_gev=t.window_gev, inside=t.inside, limits=limits)
                    for t, limits in zip(tasks, found, strict=True)
                    if t.point == number
                ),
            )
            for number, (detector, efficiency) in enumerate(points)
        ),
    )


def _null_width(calibration: NullCells, detector: int, efficiency: float) -> float:
    low, high = (float(calibration.standardise(detector, efficiency, x)) for x in (0.0, 1.0))
    return 1.0 / (high - low)


def _tasks(
    plan: SearchPlan,
    prepared: Prepared,
    score: FloatArray | None,
    point: int,
    efficiency: float,
    null_width: float,
    seed: int,
) -> list[LimitTask]:
    layout, mass = prepared.layout, prepared.view.mass
    groups: dict[tuple[int, bool], list[float]] = {}
    for value in limit_masses(layout.edges, plan.limits.resolution):
        groups.setdefault(window_of_mass(layout.windows_gev, float(value)), []).append(float(value))
    n_selected = max(1, round(efficiency * len(mass)))
    tasks = []
    for (window, inside), masses in groups.items():
        mask = layout.window_mask(layout.windows[window])
        if score is None:
            spectrum = CutSpectrum(layout.histogram(mass), mask)
        else:
            rows = np.argsort(-score[:, window], kind="stable")[:n_selected]
            counts = layout.histogram(mass[rows])
            _, reason = fit_background(plan, layout, counts, window)
            spectrum = CutSpectrum(counts, mask, null_width, reason)
        tasks.append(
            LimitTask(
                point=point,
                window_gev=None if score is None else layout.windows_gev[window],
                inside=inside or score is None,
                spectrum=spectrum,
                edges_gev=layout.edges,
                masses_gev=np.array(masses),
                seed=(seed, LIMIT_STREAM, point, window, int(inside)),
            )
        )
    return tasks
