"""Runs many trials through a sliding window and keeps each on disk the moment it is done."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bumpscout.cluster import usable_cpus
from bumpscout_tools.files import append_line

__all__ = ["run_tasks"]

T = TypeVar("T", bound=BaseModel)


def run_tasks(
    tasks: Mapping[str, Callable[[], T]],
    model: type[T],
    path: Path,
    executor: Executor,
    progress: Callable[[int, int], None],
    parallel: int | None = None,
) -> list[T]:
    """Run the tasks that are not on disk yet.

    At most `parallel` are handed to the executor at a time, so memory does not grow with their
    number. Each is written when it is done, whatever the others do; one that is done when the
    caller is interrupted is written too.

    Args:
        tasks: what to run, by name; picklable.
        model: the record that a task returns.
        path: a JSON line for each finished task; those of an earlier call are not run again.
        executor: runs tasks side by side.
        progress: called with (done, total) after each.
        parallel: tasks in flight; twice the number of processors by default.

    Returns:
        All records, in the order of the tasks.
    """
    parallel = parallel or 2 * usable_cpus()
    known = _load(path, model)
    names = iter([name for name in tasks if name not in known])
    pending: dict[Future[T], str] = {}

    def keep(future: Future[T]) -> None:
        name = pending.pop(future)
        known[name] = future.result()
        line = {"name": name, "trial": known[name].model_dump(mode="json")}
        append_line(path, json.dumps(line))

    try:
        while True:
            for name in itertools.islice(names, parallel - len(pending)):
                pending[executor.submit(tasks[name])] = name
            if not pending:
                break
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                keep(future)
                progress(sum(key in known for key in tasks), len(tasks))
    except BaseException:
        for future in list(pending):
            if not future.cancel() and future.done() and future.exception() is None:
                keep(future)
        raise
    return [known[name] for name in tasks]


def _load(path: Path, model: type[T]) -> dict[str, T]:
    if not path.exists():
        return {}
    found: dict[str, T] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
            found[line["name"]] = model.model_validate(line["trial"])
        except (ValueError, KeyError, TypeError, ValidationError):
            continue  # a line torn by a kill; its trial is made again
    return found
