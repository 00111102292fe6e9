"""Trials: a sliding window through the executor, and nothing finished is ever lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bumpscout.trial_store import run_tasks


class Trial(BaseModel):
    number: int


def tasks(n: int, work: Callable[[int], Trial]) -> dict[str, Callable[[], Trial]]:
    return {str(k): partial(work, k) for k in range(n)}


def run(folder: Path, work: Callable[[int], Trial], executor: Executor, **options: Any):
    done: list[tuple[int, int]] = []
    found = run_tasks(
        tasks(options.pop("n", 8), work),
        Trial,
        folder / "trials.jsonl",
        executor,
        lambda *counts: done.append(counts),
        options.pop("parallel", 2),
    )
    return found, done


class Counting(ThreadPoolExecutor):
    """Counts the tasks that were handed out and are not done."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.open = self.most = 0
        self.lock = threading.Lock()

    def submit(self, *arguments: Any, **options: Any) -> Future[Any]:
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        future = super().submit(*arguments, **options)
        future.add_done_callback(self._closed)
        return future

    def _closed(self, _future: Future[Any]) -> None:
        with self.lock:
            self.open -= 1


def test_no_more_tasks_are_in_flight_than_allowed(tmp_path):
    with Counting(2) as executor:
        found, done = run(tmp_path, lambda k: Trial(number=k), executor, n=40, parallel=3)
    assert [trial.number for trial in found] == list(range(40))
    assert executor.most <= 3
    assert done[-1] == (40, 40)
    assert [count for count, _ in done] == list(range(1, 41))


def test_a_slow_first_task_does_not_hold_back_the_others(tmp_path):
    """All others are on the disk while the first is still at work."""
    last = threading.Event()

    def work(k: int) -> Trial:
        if k == 0:
            assert last.wait(60)
        elif k == 7:
            last.set()
        return Trial(number=k)

    with ThreadPoolExecutor(2) as executor:
        found, _ = run(tmp_path, work, executor)
    assert [trial.number for trial in found] == list(range(8))
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert '"name": "0"' in lines[-1] or '"name": "0"' in lines[-2]


def test_an_interrupt_loses_no_finished_trial(tmp_path):
    made: list[int] = []

    def work(k: int) -> Trial:
        made.append(k)
        return Trial(number=k)

    def interrupt(count: int, _total: int) -> None:
        if count == 3:
            # Whatever else was handed out is finished before the interrupt arrives.
            executor.shutdown(wait=True)
            raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as executor, pytest.raises(KeyboardInterrupt):
        run_tasks(tasks(9, work), Trial, tmp_path / "trials.jsonl", executor, interrupt, 4)
    kept = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert 4 <= len(kept) == len(made) < 9
    with ThreadPoolExecutor(2) as executor:
        found, _ = run(tmp_path, work, executor, n=9)
    assert sorted(made) == list(range(9))
    assert [trial.number for trial in found] == list(range(9))


def test_a_task_that_fails_ends_the_run_and_keeps_the_others(tmp_path):
    def work(k: int) -> Trial:
        if k == 2:
            raise ValueError("no")
        return Trial(number=k)

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="no"):
        run(tmp_path, work, executor, parallel=1)
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 2
