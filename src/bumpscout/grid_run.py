"""Carries out the plan of a grid for `bumpscout scan`: fixed scores, many spectra, every cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout.evidence import Examples
from bumpscout.examples import example_rows
from bumpscout_tools.code import code_sha256
from bumpscout_tools.errors import InputDataError
from bumpscout_tools.scan.cross_sections import Resolved

if TYPE_CHECKING:
    from bumpscout.console import Progress
    from bumpscout_sandbox.engine import Claim
    from bumpscout_sandbox.ledger import Ledger
    from bumpscout_sandbox.records import FinalScan, FrozenPlan
    from bumpscout_tools.detectors.fixed import FixedScores
    from bumpscout_tools.events.view import View
    from bumpscout_tools.scan.grid_layout import GridEvents
    from bumpscout_tools.scan.grid_scan import GridScan
    from bumpscout_tools.scan.limits_scan import ScanLimits
    from bumpscout_tools.scan.outcome import ScanOutcome
    from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["PreparedGrid", "final_grid", "prepare_grid"]

FloatArray = npt.NDArray[np.float64]

MAX_SHOWN_FEATURES = 12
MAX_OVERLAPS = 1000


@dataclass(frozen=True)
class PreparedGrid:
    """The scored events of a grid, and its plan with working points as efficiencies of them."""

    events: GridEvents
    resolved: Resolved


def prepare_grid(
    plan: SearchPlan, view: View, *, seed: int, cache: Path, workers: int
) -> PreparedGrid:
    """Score the events and fix the working points; scores are kept for a scan that goes on.

    Raises:
        ConfigurationError: if plan and data do not fit together.
        DetectorError: if a detector fails.
        InputDataError: if no event is left to be scanned.
    """
    from bumpscout_tools.scan.grid_layout import grid_events, grid_scores, resolve_grid

    detectors = "/".join(detector.model_dump_json() for detector in plan.detectors)
    parts = f"{detectors}/{view.sha256()}/{seed}/{code_sha256()}"
    key = hashlib.sha256(parts.encode()).hexdigest()
    kept = _load(cache / f"{key}.grid.npy", len(view), len(plan.detectors))
    if kept is None:
        kept = grid_scores(plan, view, seed, workers)
        _save(cache / f"{key}.grid.npy", kept)
    events = grid_events(view, kept)
    resolved = resolve_grid(plan, events)
    if len(events.view) < len(view):
        told = (
            f"{len(view) - len(events.view)} events were set aside to train the detectors and are "
            "not scanned.",
            *resolved.understood,
        )
        resolved = resolved._replace(understood=told)
    return PreparedGrid(events, resolved)


def final_grid(
    frozen: FrozenPlan,
    prepared: PreparedGrid,
    ledger: Ledger,
    *,
    folder: Path,
    seed: int,
    workers: int,
    executor: Executor,
    progress: Progress,
    out_of_time: Callable[[], bool],
    claim: Claim,
) -> tuple[FinalScan, Examples | None, ScanLimits | None]:
    """Scan the grid of a frozen plan, make its toys, and decide.

    Args:
        frozen: the plan.
        prepared: its events.
        ledger: every test is in it before any result is known.
        folder: of the run; finished toys are kept in its cache.
        seed: of the scan.
        workers: threads of the executor.
        executor: threads, which share the events.
        progress: shows how far it came.
        out_of_time: True ends the replays.
        claim: confirmatory or exploratory.

    Returns:
        The final scan, events of its best cell, and the limits that the plan asks for.
    """
    from bumpscout_sandbox.ledger import Mark
    from bumpscout_sandbox.marks import CHECKPOINT_FILE, write_mark
    from bumpscout_sandbox.records import FinalScan
    from bumpscout_tools.scan.grid_conclude import conclude_grid
    from bumpscout_tools.scan.grid_scan import scan_grid
    from bumpscout_tools.scan.grid_significance import grid_significance
    from bumpscout_tools.scan.verdict import decide

    plan, events = frozen.plan, prepared.events
    known = ledger.test_ids()

    def record(tests: Iterable[dict[str, JsonValue]]) -> None:
        new = [test for test in tests if test["test_id"] not in known]
        if new:
            ledger.append_many({"kind": "test", "scan": "final", **test} for test in new)

    progress("scan", f"scanning {len(plan.spectra)} spectra")
    scan = scan_grid(plan, events, executor, record)
    write_mark(folder / CHECKPOINT_FILE, Mark("", ledger.head, ledger.count))
    null = grid_significance(
        plan,
        scan,
        seed=seed,
        executor=executor,
        folder=folder / "cache",
        data_key=f"{events.view.sha256()}/{_digest(events)}",
        progress=progress,
        parallel=2 * workers,
        out_of_time=out_of_time,
    )
    outcome = conclude_grid(plan, events, scan, null)
    final = FinalScan(
        outcome=outcome,
        significance=null.significance,
        verdict=decide(plan, outcome, null.significance, claim=claim),
        ledger_head=ledger.head,
        ledger_count=ledger.count,
        n_tests=len(ledger.test_ids()),
    )
    return (
        final,
        _examples(plan, events, scan, outcome),
        _limits(plan, scan, seed, workers, progress),
    )


def _limits(
    plan: SearchPlan, scan: GridScan, seed: int, workers: int, progress: Progress
) -> ScanLimits | None:
    """Set limits in processes: unlike the toys, their fits are not compiled code alone."""
    from bumpscout.cluster import local_executor
    from bumpscout_tools.scan.grid_limits import grid_limits

    if not plan.limits.widths:
        return None
    progress("limits", "upper limits in every spectrum")
    with local_executor(workers) as executor:
        return grid_limits(
            plan,
            scan,
            seed=seed,
            executor=executor,
            progress=partial(progress, "limits", "spectra with limits"),
        )


def _digest(events: GridEvents) -> str:
    digest = hashlib.sha256()
    for score in events.scores:
        digest.update(np.ascontiguousarray(score).tobytes())
    return digest.hexdigest()


def _save(path: Path, found: tuple[FixedScores, ...]) -> None:
    """Keep scores (n, detectors), and last which events were learned from and which thinned out."""
    aside = [
        np.logical_or.reduce([one.trained_on for one in found]),
        np.logical_or.reduce([one.thinned for one in found]),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        table = np.column_stack([*(one.score for one in found), *aside])
        np.save(file, table.astype(np.float64), allow_pickle=False)
    part.replace(path)


def _load(path: Path, n_events: int, n_detectors: int) -> tuple[FixedScores, ...] | None:
    """Return kept scores; a folder may come from a stranger, so they are read like an artifact."""
    from bumpscout_sandbox.artifacts import read_npy
    from bumpscout_tools.detectors.fixed import FixedScores

    if not path.is_file() or path.is_symlink():
        return None
    try:
        table = read_npy(path, n_events * (n_detectors + 2) * 8 + 4096)
    except InputDataError:
        return None
    if table.shape != (n_events, n_detectors + 2) or not np.isfinite(table).all():
        return None
    trained, thinned = table[:, -2] > 0, table[:, -1] > 0
    return tuple(FixedScores(table[:, i].copy(), trained, thinned) for i in range(n_detectors))


def _examples(
    plan: SearchPlan, events: GridEvents, scan: GridScan, outcome: ScanOutcome
) -> Examples | None:
    """Return the features of events in the interval of the best cell, selected and not."""
    from bumpscout_tools.detectors.correlation import correlate
    from bumpscout_tools.detectors.explain_bump import explain_bump
    from bumpscout_tools.inference import levels_by_rank
    from bumpscout_tools.scan.grid_layout import spectrum_mass

    best = outcome.best()
    if best is None:
        return None
    index = next(i for i, cell in enumerate(outcome.cells) if cell.test_id == best.test_id)
    k, w = scan.place[index]
    column = scan.grid.columns[k]
    mass = spectrum_mass(events.view, column.spectrum)
    inside = (mass >= best.interval_gev[0]) & (mass < best.interval_gev[1])
    passed = levels_by_rank(events.scores[column.detector], [scan.grid.n_selected[w]]) == 0
    names = events.view.feature_names[:MAX_SHOWN_FEATURES]
    features = events.view.features[:, : len(names)]
    return Examples(
        differences=explain_bump(
            names,
            events.view,
            events.scores[column.detector],
            passed,
            best.interval_gev,
            mass=mass,
        ),
        correlation=correlate(
            [detector.name for detector in plan.detectors],
            events.scores,
            plan.working_points.efficiencies[:MAX_OVERLAPS],
        )
        if len(plan.detectors) > 1
        else None,
        names=names,
        typical=example_rows(features[inside & ~passed]),
        anomalous=example_rows(features[inside & passed]),
    )
