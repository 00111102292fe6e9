"""Scan p and procedure p of a grid: its largest local z against toys of everything that it did."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bumpscout_tools.code import code_sha256
from bumpscout_tools.inference import TOYS_PER_BLOCK
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.grid_scan import GridScan
from bumpscout_tools.scan.grid_toys import (
    MOMENT_BLOCKS,
    NullGrid,
    ToyBlock,
    ToyStore,
    null_grid,
    toy_blocks,
)
from bumpscout_tools.scan.outcome import ProcedureP, ScanP
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.scan_p import STOP_TOYS_AFTER, Progress, sequential_p
from bumpscout_tools.scan.significance import FinalSignificance

__all__ = ["GridNull", "grid_significance"]

FloatArray = npt.NDArray[np.float64]

SCAN_METHOD = (
    "toys of the events, shared by all spectra and cuts; orders chosen, fitted and hunted anew; "
    "scores held fixed, as nothing learned them from these events"
)
REPLAY_METHOD = (
    "replays are toys of the events, because fixed scores need no training; ranges of the fits, "
    "orders and believable cells are chosen anew in each"
)


@dataclass(frozen=True)
class GridNull:
    """Significance of a grid; `mean` and `width` (columns, W) of local z in its toys."""

    significance: FinalSignificance
    mean: FloatArray
    width: FloatArray


def grid_significance(
    plan: SearchPlan,
    scan: GridScan,
    *,
    seed: int,
    executor: Executor,
    folder: Path,
    data_key: str,
    progress: Progress,
    parallel: int,
    out_of_time: Callable[[], bool],
) -> GridNull:
    """Compute scan p and procedure p of a scanned grid.

    Args:
        plan: the search plan; `toys` of the scan at most, and `replays`.
        scan: what the scan found.
        seed: decides toys and replays.
        executor: runs blocks of toys side by side; best threads, which share the events.
        folder: where finished blocks are kept.
        data_key: names the scanned events; blocks of others are not taken over.
        progress: called with (stage, message, done, total).
        parallel: blocks in flight.
        out_of_time: asked after each block of replays; True ends them.
    """
    shape = (len(scan.fits), len(scan.grid.efficiencies))
    fixed = NullCells.scores_held_fixed(plan)
    best = scan.outcome.best()
    if best is None:
        empty = FinalSignificance(calibration=fixed)
        return GridNull(empty, np.zeros(shape), np.ones(shape))
    null = null_grid(plan, scan)
    parts = f"{plan.sha256()}/{data_key}/{seed}/{code_sha256()}"
    key = hashlib.sha256(parts.encode()).hexdigest()
    toys = _Toys(null, seed, executor, folder, key, parallel, progress)
    # The same counts can be summed in another order: rounding is no difference.
    observed = best.local_z
    threshold = observed - 1e-9 * max(1.0, abs(observed))
    scan_p, blocks = toys.scan_p(plan, threshold)
    procedure_p, replayed = toys.procedure_p(plan, threshold, out_of_time)
    mean, width = _moments(blocks, shape)
    significance = FinalSignificance(
        scan_p=scan_p,
        procedure_p=procedure_p,
        observed=observed,
        replayed=tuple(z for z in replayed if np.isfinite(z)),
        n_empty_replays=sum(not np.isfinite(z) for z in replayed),
        calibration=fixed,
    )
    return GridNull(significance, mean, width)


@dataclass(frozen=True)
class _Toys:
    null: NullGrid
    seed: int
    executor: Executor
    folder: Path
    key: str
    parallel: int
    progress: Progress

    def scan_p(self, plan: SearchPlan, threshold: float) -> tuple[ScanP, list[ToyBlock]]:
        blocks: list[ToyBlock] = []
        largest: list[float] = []
        made = toy_blocks(
            self.null,
            "scan",
            self.seed,
            max(-(-plan.toys // TOYS_PER_BLOCK), 1),
            self.executor,
            ToyStore(
                self.folder / "grid-scan.jsonl",
                self.key,
                len(self.null.columns) * self.null.cells.n_levels,
            ),
            self.parallel,
        )
        with contextlib.closing(made):
            for block in made:
                if block.index < MOMENT_BLOCKS:
                    blocks.append(block)
                largest = [*largest, *block.largest][: plan.toys]
                self.progress("toys", "toys of the scan p-value", len(largest), plan.toys)
                if sum(z >= threshold for z in largest) >= STOP_TOYS_AFTER:
                    break
        p, _, n_toys = sequential_p(np.array(largest) >= threshold, STOP_TOYS_AFTER)
        value = ScanP(value=p.value, low=p.low, high=p.high, method=SCAN_METHOD, n_toys=n_toys)
        return value, blocks

    def procedure_p(
        self, plan: SearchPlan, threshold: float, out_of_time: Callable[[], bool]
    ) -> tuple[ProcedureP | None, list[float]]:
        replayed: list[float] = []
        stop_after = plan.replays.stop_after_reached
        made = toy_blocks(
            self.null,
            "replay",
            self.seed,
            -(-plan.replays.n // TOYS_PER_BLOCK),
            self.executor,
            ToyStore(self.folder / "grid-replay.jsonl", self.key),
            self.parallel,
        )
        with contextlib.closing(made):
            for block in made:
                replayed = [*replayed, *block.largest][: plan.replays.n]
                self.progress("replays", "null replays", len(replayed), plan.replays.n)
                if sum(z >= threshold for z in replayed) >= stop_after or out_of_time():
                    break
        if not replayed:
            return None, []
        p, k, n = sequential_p(np.array(replayed) >= threshold, stop_after)
        stopped = k >= stop_after
        rule = "h/n at the h-th replay that reached it" if stopped else "(k+1)/(n+1)"
        value = ProcedureP(
            value=p.value,
            low=p.low,
            high=p.high,
            n_replays=n,
            n_reached=k,
            method=f"{rule}; {REPLAY_METHOD}",
            stopped_early=stopped and n < plan.replays.n,
        )
        return value, replayed[:n]


def _moments(blocks: list[ToyBlock], shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    n = TOYS_PER_BLOCK * len(blocks)
    total = np.sum([block.total for block in blocks], axis=0).reshape(shape)
    squares = np.sum([block.squares for block in blocks], axis=0).reshape(shape)
    mean = total / n
    return mean, np.sqrt(np.maximum(squares / n - mean**2, 0.0))
