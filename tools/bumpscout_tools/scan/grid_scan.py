"""The scan of a grid: every spectrum at every working point, fitted, hunted and ranked.

All working points are scanned at once, in the data as in the toys: coarse points with finer ones
near hints would save a part of the seconds that the fits take, and would be one more choice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_tools.inference.grid import MIN_EVENTS
from bumpscout_tools.scan.cross_sections import FB_PER_PB
from bumpscout_tools.scan.grid_fit import HYPOTHESES, ColumnFit, fit_column
from bumpscout_tools.scan.grid_layout import Grid, GridColumn, GridEvents, make_grid
from bumpscout_tools.scan.outcome import (
    Cell,
    CellSpectrum,
    GridMap,
    GridSummary,
    Hypothesis,
    ScanOutcome,
)
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.statistics import log_poisson_p, poisson_z

__all__ = ["GridScan", "RecordMany", "scan_grid"]

FloatArray = npt.NDArray[np.float64]
RecordMany = Callable[[Iterable[dict[str, JsonValue]]], None]

N_SPECTRA_KEPT = 12
SMALLEST_P = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class GridScan:
    """A scanned grid: cells of the events, fits of the columns, and what is said of them.

    `place` gives the column and the working point of each of the outcome's cells.
    """

    grid: Grid
    counts: tuple[FloatArray, ...]
    fits: tuple[ColumnFit, ...]
    outcome: ScanOutcome
    place: tuple[tuple[int, int], ...]


def scan_grid(
    plan: SearchPlan, events: GridEvents, executor: Executor, record: RecordMany
) -> GridScan:
    """Carry out the plan of a grid on scored events.

    Args:
        plan: its working points as efficiencies.
        events: scored; none that a detector learned from.
        executor: fits columns side by side; the result does not depend on it.
        record: called with all tests before any result is known.

    Raises:
        ConfigurationError: if plan and events do not fit together.
        InputDataError: if no spectrum can be scanned.
    """
    grid = make_grid(plan, events)
    counts = grid.cells.expected()
    place = tuple(
        (k, w)
        for k, numbers in enumerate(counts)
        for w, n in enumerate(numbers.sum(axis=1))
        if n >= MIN_EVENTS
    )
    sha256 = plan.sha256()
    tests = [_test_id(plan, grid, k, w) for k, w in place]
    record(
        {
            "test_id": test,
            "detector": plan.detectors[grid.columns[k].detector].name,
            "spectrum": grid.columns[k].spectrum.name,
            "efficiency": grid.efficiencies[w],
            "stage": "grid",
            "orders": list(plan.background.orders),
            "plan_sha256": sha256,
        }
        for test, (k, w) in zip(tests, place, strict=True)
    )
    futures = [
        executor.submit(fit_column, plan, column, n)
        for column, n in zip(grid.columns, counts, strict=True)
    ]
    fits = tuple(future.result() for future in futures)
    cells = _cells(plan, grid, counts, fits, place, tests)
    outcome = _outcome(plan, grid, counts, fits, place, cells)
    if plan.luminosity_fb is not None:
        pb = grid.n_events / (FB_PER_PB * plan.luminosity_fb * events.share)
        outcome = outcome.model_copy(update={"all_events_pb": pb})
    outcome = outcome.model_copy(update={"luminosity_share": events.share})
    return GridScan(grid, counts, fits, outcome, place)


def _test_id(plan: SearchPlan, grid: Grid, k: int, w: int) -> str:
    column = grid.columns[k]
    name = (
        f"{plan.detectors[column.detector].name}/{column.detector}/{column.spectrum.mass}/"
        f"{column.spectrum.category}/{grid.efficiencies[w]:.9g}"
    )
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _cells(
    plan: SearchPlan,
    grid: Grid,
    counts: tuple[FloatArray, ...],
    fits: tuple[ColumnFit, ...],
    place: tuple[tuple[int, int], ...],
    tests: list[str],
) -> tuple[Cell, ...]:
    observed, expected = np.empty(len(place)), np.empty(len(place))
    for index, (k, w) in enumerate(place):
        inside = slice(int(fits[k].low[w]), int(fits[k].high[w]))
        observed[index] = counts[k][w, inside].sum()
        expected[index] = fits[k].expected[w, inside].sum()
    pair = np.round(observed), np.maximum(expected, 1e-6)
    log_p, z = log_poisson_p(*pair), poisson_z(*pair)
    cells = []
    for index, (k, w) in enumerate(place):
        column, fit = grid.columns[k], fits[k]
        n, mean = counts[k][w, fit.start :], fit.expected[w, fit.start :]
        parameters = int(fit.order[w]) if fit.own[w] else 1
        doubt = fit.doubts[w]
        cells.append(
            Cell(
                test_id=tests[index],
                detector=plan.detectors[column.detector].name,
                detector_index=column.detector,
                spectrum=column.spectrum.name,
                window_gev=(float(column.edges[fit.start]), float(column.edges[-1])),
                efficiency=grid.efficiencies[w],
                stage="grid",
                n_selected=int(n.sum()),
                order=int(fit.order[w]),
                deviance=_deviance(n, mean),
                ndf=len(n) - parameters,
                fit_p=_fit_p(fit, w),
                believable=doubt is None,
                interval_gev=(float(column.edges[fit.low[w]]), float(column.edges[fit.high[w]])),
                n_observed=round(observed[index]),
                n_expected=float(expected[index]),
                local_p=max(math.exp(float(log_p[index])), SMALLEST_P),
                local_z=float(z[index]),
                null_mean=0.0,
                null_width=1.0,
                excess=float(z[index]),
                reason=doubt,
                hypotheses=tuple(
                    Hypothesis(order=order, local_z=float(hz), fit_p=float(hp))
                    for order, hz, hp in zip(
                        HYPOTHESES, fit.hypothesis_z[w], fit.hypothesis_p[w], strict=True
                    )
                ),
            )
        )
    return tuple(cells)


def _fit_p(fit: ColumnFit, w: int) -> float:
    return float(fit.hypothesis_p[w, HYPOTHESES.index(int(fit.order[w]))])


def _deviance(counts: FloatArray, mean: FloatArray) -> float:
    mu = np.maximum(mean, 1e-300)
    log = np.where(counts > 0, counts * np.log(np.where(counts > 0, counts, 1.0) / mu), 0.0)
    return float(2.0 * (log - (counts - mean)).sum())


def _outcome(
    plan: SearchPlan,
    grid: Grid,
    counts: tuple[FloatArray, ...],
    fits: tuple[ColumnFit, ...],
    place: tuple[tuple[int, int], ...],
    cells: tuple[Cell, ...],
) -> ScanOutcome:
    claiming = [
        index
        for index, cell in enumerate(cells)
        if cell.believable and cell.detector_index not in plan.withheld
    ]
    ranking = tuple(sorted(claiming, key=lambda index: (-cells[index].local_z, index)))
    leading: dict[int, int] = {}
    for index in ranking:
        leading.setdefault(place[index][0], index)
    kept = list(leading.values())[:N_SPECTRA_KEPT]
    first = place[kept[0]][0] if kept else 0
    column = grid.columns[first]
    starts = [float(c.edges[fit.start]) for c, fit in zip(grid.columns, fits, strict=True)]
    return ScanOutcome(
        fit_range_gev=(min(starts), max(float(c.edges[-1]) for c in grid.columns)),
        described=bool(ranking),
        edges_gev=tuple(column.edges[fits[first].start :].tolist()),
        windows_gev=(),
        n_events=grid.n_events,
        cells=cells,
        ranking=ranking,
        inclusive=_spectrum("inclusive", column, fits[first], counts[first], 0),
        spectra=tuple(
            _spectrum(
                cells[i].test_id,
                grid.columns[place[i][0]],
                fits[place[i][0]],
                counts[place[i][0]],
                place[i][1],
            )
            for i in kept
        ),
        grid=(
            *(
                GridSummary(
                    spectrum=one.spectrum.name,
                    detector_index=one.detector,
                    n_events=int(n[0, fit.start :].sum()),
                    fit_range_gev=(float(one.edges[fit.start]), float(one.edges[-1])),
                    described=fit.described,
                )
                for one, fit, n in zip(grid.columns, fits, counts, strict=True)
            ),
            *(
                GridSummary(
                    spectrum=out.spectrum,
                    detector_index=out.detector,
                    n_events=out.n_events,
                    reason=out.reason,
                )
                for out in grid.left_out
            ),
        ),
        grid_map=_map(plan, grid, counts[first], fits[first], first) if kept else None,
    )


def _spectrum(
    test_id: str, column: GridColumn, fit: ColumnFit, counts: FloatArray, w: int
) -> CellSpectrum:
    return CellSpectrum(
        test_id=test_id,
        edges_gev=tuple(column.edges[fit.start :].tolist()),
        observed=tuple(int(n) for n in counts[w, fit.start :]),
        expected=tuple(fit.expected[w, fit.start :].tolist()),
    )


def _map(plan: SearchPlan, grid: Grid, counts: FloatArray, fit: ColumnFit, k: int) -> GridMap:
    """Return the largest local z of the intervals that hold each bin of one column."""
    column = grid.columns[k]
    n, mean = counts[:, fit.start :], fit.expected[:, fit.start :]
    sums_n, sums_b = (np.cumsum(np.pad(x, ((0, 0), (1, 0))), axis=1) for x in (n, mean))
    z = np.zeros(n.shape)
    shortest, longest = plan.bump_bins
    sums_n, sums_b = sums_n[:, longest:], sums_b[:, longest:]
    for width in range(shortest, longest + 1):
        found = np.round(sums_n[:, width:] - sums_n[:, :-width])
        due = np.maximum(sums_b[:, width:] - sums_b[:, :-width], 1e-6)
        values = poisson_z(found, due)
        for shift in range(width):
            first = longest + shift
            part = z[:, first : first + values.shape[1]]
            np.maximum(part, values, out=part)
    used = np.flatnonzero(fit.part)
    return GridMap(
        spectrum=column.spectrum.name,
        detector_index=column.detector,
        edges_gev=tuple(column.edges[fit.start :].tolist()),
        efficiencies=tuple(grid.efficiencies[w] for w in used),
        z=tuple(tuple(float(f"{v:.3g}") for v in z[w]) for w in used),
    )
