"""Replays: decided by their index, kept on disk, and never dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import ReplayPlan
from bumpscout_tools.scan.replay import Replay, ReplayStore, replay_once, run_replays
from bumpscout_tools.scan.serial import SerialExecutor


@dataclass
class ToyNull:
    """Draws from the toy background itself."""

    make: Callable[..., View]
    n: int = 4000

    def draw(self, rng: np.random.Generator) -> View:
        return self.make(self.n, seed=int(rng.integers(2**31)))


@pytest.fixture
def null(make_view) -> ToyNull:
    return ToyNull(make_view)


def replays(plan, null, script, folder: Path, *, executor=None, parallel=1, stop=None, key="key"):
    return run_replays(
        plan,
        null,
        11,
        executor or SerialExecutor(),
        script,
        ReplayStore(folder / "replays.jsonl", key),
        stop=stop or (lambda _done: False),
        progress=lambda _done, _planned: None,
        parallel=parallel,
    )


class Counting:
    """Counts how often scores were asked for."""

    def __init__(self, script) -> None:
        self.script, self.calls = script, 0

    def __call__(self, index: int, task, view: View) -> np.ndarray:
        self.calls += 1
        return self.script(index, task, view)


def test_index_and_seed_decide_a_replay(make_plan, null, at_random) -> None:
    plan = make_plan()
    one = replay_once(plan, null, 3, 7, at_random)
    assert replay_once(plan, null, 3, 7, at_random) == one
    assert replay_once(plan, null, 4, 7, at_random).cells != one.cells
    assert replay_once(plan, null, 3, 8, at_random).cells != one.cells
    assert one.error is None
    assert len(one.cells) > 4


def test_the_number_of_workers_does_not_matter(make_plan, null, at_random, tmp_path) -> None:
    plan = make_plan(replays=ReplayPlan(n=5))
    results = []
    for number, parallel in enumerate((1, 2, 5, 50)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ThreadPoolExecutor(2) as pool:
            results.append(replays(plan, null, at_random, folder, executor=pool, parallel=parallel))
    assert all(result == results[0] for result in results)
    assert [replay.index for replay in results[0]] == [0, 1, 2, 3, 4]


def test_finished_replays_are_not_repeated(make_plan, null, at_random, tmp_path) -> None:
    plan = make_plan(replays=ReplayPlan(n=4))
    script = Counting(at_random)
    halves: list[int] = []
    first = replays(plan, null, script, tmp_path, stop=lambda done: len(done) == 2)
    halves.append(script.calls)
    whole = replays(plan, null, script, tmp_path)
    halves.append(script.calls - halves[0])
    assert whole[:2] == first
    assert halves[1] == 2
    assert replays(plan, null, script, tmp_path) == whole
    assert script.calls == sum(halves)


def test_a_torn_last_line_costs_one_replay_once(make_plan, null, at_random, tmp_path) -> None:
    plan = make_plan(replays=ReplayPlan(n=4))
    whole = replays(plan, null, at_random, tmp_path)
    path = tmp_path / "replays.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:40])
    script = Counting(at_random)
    assert replays(plan, null, script, tmp_path) == whole
    assert script.calls == 2
    assert replays(plan, null, script, tmp_path) == whole
    assert script.calls == 2


def test_lines_of_another_search_and_foreign_lines_are_ignored(
    make_plan, null, at_random, tmp_path
) -> None:
    plan = make_plan(replays=ReplayPlan(n=2))
    replays(plan, null, at_random, tmp_path, key="other")
    path = tmp_path / "replays.jsonl"
    forged = {"key": "key", "replay": {"index": 0, "n_events": 1, "more": 1}}
    path.write_text(path.read_text() + json.dumps(forged) + "\n[]\n7\nnull\n{}\n")
    script = Counting(at_random)
    assert replays(plan, null, script, tmp_path)[0].n_events == 4000
    assert script.calls == 2


def test_a_failed_replay_is_kept_with_its_error(make_plan, null, at_random, tmp_path) -> None:
    def script(index: int, task, view: View) -> np.ndarray:
        if failing.pop() if failing else False:
            raise DetectorError("no convergence")
        return at_random(index, task, view)

    failing = [False, True, False]
    plan = make_plan(replays=ReplayPlan(n=3))
    done = replays(plan, null, script, tmp_path)
    assert [replay.error for replay in done] == [None, "no convergence", None]
    assert done[1].cells == ()
    assert replays(plan, null, at_random, tmp_path) == done


def test_too_few_events_in_a_replay_fail_that_replay_only(make_plan, make_view, at_random) -> None:
    replay = replay_once(make_plan(), ToyNull(make_view, n=100), 0, 1, at_random)
    assert replay.n_events == 100
    assert replay.error is not None
    assert "Only 100 events" in replay.error


def test_the_rule_sees_replays_in_the_order_of_their_index(
    make_plan, null, at_random, tmp_path
) -> None:
    seen: list[list[int]] = []

    def stop(done: list[Replay]) -> bool:
        seen.append([replay.index for replay in done])
        return len(done) == 3

    plan = make_plan(replays=ReplayPlan(n=8))
    with ThreadPoolExecutor(4) as pool:
        done = replays(plan, null, at_random, tmp_path, executor=pool, parallel=4, stop=stop)
    assert seen == [[0], [0, 1], [0, 1, 2]]
    assert len(done) == 3
