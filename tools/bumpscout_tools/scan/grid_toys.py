"""Toys of a whole grid on background alone, in blocks that are kept on disk.

Each toy draws the events anew on the fitted null, shared between spectra and working points as in
the data. Toys of the *scan* keep the ranges and the believable cells of the data and redo fits,
order selection and hunts. *Replays* redo everything that the plan chooses on the data: the start of
each fit, the orders, the hunts, and which cells can be believed. The scores of a fixed detector
know nothing of the scanned events, so no replay needs to train.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bumpscout_tools.files import append_line
from bumpscout_tools.inference import TOYS_PER_BLOCK, EventToys
from bumpscout_tools.inference.event_toys import TOYS_AT_ONCE
from bumpscout_tools.inference.grid import MIN_EVENTS
from bumpscout_tools.scan.grid_fit import cell_doubt, fit_start, model_of
from bumpscout_tools.scan.grid_layout import GridColumn
from bumpscout_tools.scan.grid_scan import GridScan
from bumpscout_tools.scan.plan import SearchPlan

__all__ = [
    "MOMENT_BLOCKS",
    "NullGrid",
    "ToyBlock",
    "ToyStore",
    "make_block",
    "null_grid",
    "toy_blocks",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal["scan", "replay"]

MOMENT_BLOCKS = 8
"""Blocks whose local z make the null mean and width of each cell."""
_STREAM: dict[Kind, int] = {"scan": 11, "replay": 12}
"""Word of the entropy: scan toys and replays are different draws."""


class ToyBlock(BaseModel):
    """One block: its number, the largest local z of each toy; of the first ones moments as well.

    `total` and `squares` are the sums of local z and of its square over the toys, for each column
    and working point in this order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int = Field(ge=0)
    largest: tuple[float, ...] = Field(min_length=TOYS_PER_BLOCK, max_length=TOYS_PER_BLOCK)
    total: tuple[float, ...] = ()
    squares: tuple[float, ...] = ()


@dataclass(frozen=True)
class ToyStore:
    """Finished blocks of one kind on disk, a JSON line each; lines of another key are ignored.

    `n_moments` are the cells whose moments the first blocks must have; none for replays.
    """

    path: Path
    key: str
    n_moments: int = 0

    def load(self) -> dict[int, ToyBlock]:
        """Return the finished blocks by number; torn and foreign lines are ignored."""
        found: dict[int, ToyBlock] = {}
        if not self.path.is_file() or self.path.is_symlink():
            return found
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                if record.get("key") == self.key:
                    block = ToyBlock.model_validate(record["block"])
                    if {len(block.total), len(block.squares)} <= {self._due(block.index)}:
                        found[block.index] = block
            except (ValueError, KeyError, TypeError, ValidationError, AttributeError):
                continue
        return found

    def append(self, block: ToyBlock) -> None:
        """Add one finished block."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.path, json.dumps({"key": self.key, "block": block.model_dump()}))

    def _due(self, index: int) -> int:
        return self.n_moments if index < MOMENT_BLOCKS else 0


@dataclass(frozen=True)
class NullGrid:
    """Background alone: `cells` on the fitted means; `starts` and `part` (W,) of each column."""

    plan: SearchPlan
    columns: tuple[GridColumn, ...]
    cells: EventToys
    starts: tuple[int, ...]
    part: tuple[BoolArray, ...]


def null_grid(plan: SearchPlan, scan: GridScan) -> NullGrid:
    """Return the null of a scanned grid; cells that cannot be believed take no part in its toys."""
    return NullGrid(
        plan=plan,
        columns=scan.grid.columns,
        cells=scan.grid.cells.on_null([fit.expected for fit in scan.fits]),
        starts=tuple(fit.start for fit in scan.fits),
        part=tuple(fit.believable for fit in scan.fits),
    )


def toy_blocks(
    null: NullGrid,
    kind: Kind,
    seed: int,
    n_blocks: int,
    executor: Executor,
    store: ToyStore,
    in_flight: int,
) -> Generator[ToyBlock]:
    """Yield blocks of 32 toys in their order; those in the store are not made again.

    Args:
        null: background alone.
        kind: what the toys redo; see the module.
        seed: of the search.
        n_blocks: blocks at most; the caller may stop before.
        executor: runs blocks side by side; results do not depend on it.
        store: finished blocks.
        in_flight: blocks that are under way or wait to be taken.
    """
    known = store.load()
    pending: dict[int, Future[ToyBlock]] = {}
    submitted = 0
    try:
        for index in range(n_blocks):
            while submitted < min(n_blocks, index + in_flight):
                if submitted not in known:
                    pending[submitted] = executor.submit(make_block, null, kind, seed, submitted)
                submitted += 1
            if index in known:
                yield known[index]
                continue
            block = pending.pop(index).result()
            store.append(block)
            yield block
    finally:
        for future in pending.values():
            future.cancel()


def make_block(null: NullGrid, kind: Kind, seed: int, index: int) -> ToyBlock:
    """Make one block of toys; the same whatever runs beside it. Arguments as `toy_blocks`."""
    rng = np.random.default_rng((seed, _STREAM[kind], index))
    parts = []
    largest: list[float] = []
    for _ in range(TOYS_PER_BLOCK // TOYS_AT_ONCE):
        slices = null.cells.draw_slices(rng, TOYS_AT_ONCE)
        if kind == "replay":
            largest += _replayed(null, slices)
            continue
        z = _refitted(null, slices)
        part = np.concatenate(null.part)
        largest += np.where(part, z, -np.inf).max(axis=1).tolist()
        parts.append(z)
    if kind == "replay" or index >= MOMENT_BLOCKS:
        return ToyBlock(index=index, largest=tuple(largest))
    z = np.concatenate(parts)
    return ToyBlock(
        index=index,
        largest=tuple(largest),
        total=tuple(z.sum(axis=0).tolist()),
        squares=tuple((z**2).sum(axis=0).tolist()),
    )


def _refitted(null: NullGrid, slices: npt.NDArray[np.int32]) -> FloatArray:
    """Return the largest local z (t, columns x W) with the ranges of the data."""
    found = []
    for k, (column, start) in enumerate(zip(null.columns, null.starts, strict=True)):
        model = model_of(null.plan, column, start)
        counts = np.ascontiguousarray(null.cells.nested(slices, k)[:, :, start:])
        found.append(model.hunt(counts, model.fit(counts)))
    return np.concatenate(found, axis=1)


def _replayed(null: NullGrid, slices: npt.NDArray[np.int32]) -> list[float]:
    """Return the largest local z (t,) of believable cells, every choice made anew.

    Cells are judged from the largest z down, until one can be believed; a toy without any has
    minus infinity.
    """
    n_toys, n_levels = slices.shape[1], null.cells.n_levels
    starts = np.empty((n_toys, len(null.columns)), dtype=np.int64)
    z = np.full((n_toys, len(null.columns), n_levels), -np.inf)
    for k, column in enumerate(null.columns):
        counts = null.cells.nested(slices, k)
        starts[:, k] = [fit_start(null.plan, column, toy[0])[0] for toy in counts]
        for start in np.unique(starts[:, k]):
            rows = np.flatnonzero(starts[:, k] == start)
            model = model_of(null.plan, column, int(start))
            inside = np.ascontiguousarray(counts[rows][:, :, start:])
            events = inside.sum(axis=2)
            enough = (events >= MIN_EVENTS) & (events[:, :1] >= model.shape_from)
            z[rows, k] = np.where(enough, model.hunt(inside, model.fit(inside)), -np.inf)
    return [_largest_believable(null, slices[:, [t]], starts[t], z[t]) for t in range(n_toys)]


def _largest_believable(
    null: NullGrid, slices: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], z: FloatArray
) -> float:
    for flat in np.argsort(-z, axis=None, kind="stable"):
        k, w = (int(i) for i in np.unravel_index(flat, z.shape))
        if z[k, w] == -np.inf:
            break
        start = int(starts[k])
        model = model_of(null.plan, null.columns[k], start)
        counts = np.ascontiguousarray(null.cells.nested(slices, k)[0][:, start:])
        if cell_doubt(model, counts, w) is None:
            return float(z[k, w])
    return -np.inf
