"""Replays: the whole plan carried out on background-only pseudo-experiments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from bumpscout_tools.errors import BumpscoutError
from bumpscout_tools.events.view import View
from bumpscout_tools.files import append_line
from bumpscout_tools.scan.execute import RunScript, execute
from bumpscout_tools.scan.outcome import ScanOutcome
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.serial import SerialExecutor

__all__ = [
    "Excess",
    "PseudoData",
    "Replay",
    "ReplayStore",
    "excesses",
    "replay_once",
    "run_replays",
]


REPLAY_STREAM = 3
"""Second word of the entropy of replays; toys and closure have other streams of the same seed."""


class PseudoData(Protocol):
    """Makes background-only pseudo-experiments, as `bumpscout_tools.scan.null.NullModel` does."""

    def draw(self, rng: np.random.Generator) -> View:
        """Return the events of one."""
        ...


class Excess(BaseModel):
    """One tested cell, as far as calibration needs it; `mass_gev` is the middle of its interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: int
    efficiency: float
    excess: float
    local_z: float
    believable: bool
    mass_gev: float | None = None


class Replay(BaseModel):
    """One replay: its cells, or the error that ended it (which counts as reaching the data)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    n_events: int
    cells: tuple[Excess, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class ReplayStore:
    """Finished replays on disk, one JSON line each, so that an interrupted search resumes.

    `key` names plan, data, masked window and scripts; lines of another key are ignored.
    """

    path: Path
    key: str

    def load(self) -> dict[int, Replay]:
        """Return the finished replays by index; a torn last line is ignored."""
        if not self.path.exists():
            return {}
        found: dict[int, Replay] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                if record.get("key") == self.key:
                    replay = Replay.model_validate(record["replay"])
                    found[replay.index] = replay
            except (ValueError, KeyError, ValidationError, AttributeError):
                continue
        return found

    def append(self, replay: Replay) -> None:
        """Add one finished replay."""
        record = {"key": self.key, "replay": replay.model_dump(mode="json")}
        append_line(self.path, json.dumps(record))


def excesses(outcome: ScanOutcome) -> tuple[Excess, ...]:
    """Return the cells of an outcome as calibration sees them."""
    return tuple(
        Excess(
            detector=cell.detector_index,
            efficiency=cell.efficiency,
            excess=cell.excess,
            local_z=cell.local_z,
            believable=cell.believable,
            mass_gev=float(np.mean(cell.interval_gev)),
        )
        for cell in outcome.cells
    )


def replay_once(
    plan: SearchPlan, null: PseudoData, index: int, seed: int, run_script: RunScript
) -> Replay:
    """Draw one pseudo-experiment and carry out the plan on it.

    Args:
        plan: the search plan.
        null: background-only density of the data.
        index: number of the replay; with `seed` it decides all randomness.
        seed: seed of the search.
        run_script: gives the scores of a detector.
    """
    rng = np.random.default_rng((seed, REPLAY_STREAM, index))
    n_events = 0
    try:
        view = null.draw(rng)
        n_events = len(view)
        outcome = execute(plan, view, rng, SerialExecutor(), run_script, _ignore, ask_guards=False)
    except BumpscoutError as error:
        return Replay(index=index, n_events=n_events, error=str(error)[:500])
    return Replay(index=index, n_events=n_events, cells=excesses(outcome))


def run_replays(
    plan: SearchPlan,
    null: PseudoData,
    seed: int,
    executor: Executor,
    run_script: RunScript,
    store: ReplayStore,
    *,
    stop: Callable[[list[Replay]], bool],
    progress: Callable[[int, int], None],
    parallel: int,
) -> list[Replay]:
    """Run replays 0, 1, 2, ... until the rule stops or `plan.replays.n` are done.

    The rule sees the replays in the order of their index, never in that of their finishing, so
    the result does not depend on the number of workers.

    Args:
        plan: the search plan.
        null: background-only density of the data.
        seed: seed of the search.
        executor: runs replays side by side.
        run_script: gives the scores of a detector; must be picklable for process executors.
        store: finished replays on disk.
        stop: asked after each replay with all replays up to it.
        progress: called with (done, planned).
        parallel: replays in flight.

    Returns:
        The replays up to the one at which the rule stopped.
    """
    known = store.load()
    done: list[Replay] = []
    for replay in _in_order(plan, null, seed, executor, run_script, known, parallel):
        if replay.index not in known:
            store.append(replay)
        done.append(replay)
        progress(len(done), plan.replays.n)
        if stop(done):
            break
    return done


def _in_order(
    plan: SearchPlan,
    null: PseudoData,
    seed: int,
    executor: Executor,
    run_script: RunScript,
    known: dict[int, Replay],
    parallel: int,
) -> Iterator[Replay]:
    pending: dict[int, Future[Replay]] = {}
    submitted = 0
    try:
        for index in range(plan.replays.n):
            while submitted < min(plan.replays.n, index + parallel):
                if submitted not in known:
                    pending[submitted] = executor.submit(
                        replay_once, plan, null, submitted, seed, run_script
                    )
                submitted += 1
            yield known[index] if index in known else pending.pop(index).result()
    finally:
        for future in pending.values():
            future.cancel()


def _ignore(_line: dict[str, JsonValue]) -> None:
    """Replays keep no ledger: their tests are not tests of the data."""
