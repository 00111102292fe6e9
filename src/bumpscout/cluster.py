"""The local Dask cluster behind a search, as a ``concurrent.futures`` executor."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any, cast

from bumpscout_sandbox.scratch import scratch_folder

__all__ = ["local_executor", "uninterrupted", "usable_cpus"]


def usable_cpus() -> int:
    """Return the number of processors that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def local_executor(workers: int) -> Iterator[Executor]:
    """Start worker processes of one thread each and yield an executor that runs on them.

    Scratch files lie in a temporary folder that is gone afterwards; workers ignore the keyboard's
    interrupt, which the caller handles by leaving the block.

    Args:
        workers: number of processes.
    """
    dask: Any = importlib.import_module("dask")
    distributed: Any = importlib.import_module("distributed")
    quiet = {
        "distributed.worker.memory.terminate": 0.98,
        "distributed.admin.large-graph-warning-threshold": "1GB",
        "distributed.comm.timeouts.connect": "60s",
    }
    for name in ("distributed", "asyncio", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        scratch = str(stack.enter_context(scratch_folder()))
        stack.enter_context(dask.config.set(quiet))
        with _interrupt_held():
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
            )
        stack.callback(cluster.close, timeout=10)
        client = distributed.Client(cluster, set_as_default=False)
        stack.callback(client.close, timeout=10)
        client.run(_ignore_interrupt)
        executor = cast(Executor, client.get_executor(pure=False))
        stack.callback(executor.shutdown, wait=False)
        try:
            yield executor
        finally:
            with uninterrupted():
                stack.close()


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Hold the keyboard's interrupt back; processes and threads started inside never receive it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the interrupt and terminate signals inside the block: for bounded cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
