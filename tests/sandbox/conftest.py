"""Fixtures of the sandbox tests: the wall, a job runner, and files of events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, JobResult
from bumpscout_tools.events.lhco import FEATURE_COLUMNS, LABEL

MIB = 1 << 20
RunJob = Callable[..., JobResult]


@pytest.fixture(scope="session")
def wall() -> BubblewrapProvider:
    provider = BubblewrapProvider()
    rows = provider.check()
    failed = [row for row in rows if not row.ok]
    if any(row.what == "sandbox" for row in failed):
        pytest.skip(f"no sandbox on this machine: {failed[0].remedy}")
    return provider


@pytest.fixture
def small() -> Limits:
    return Limits(
        wall_s=60,
        cpu_s=60,
        memory_bytes=1024 * MIB,
        processes=48,
        workspace_bytes=16 * MIB,
        workspace_inodes=500,
        output_bytes=64 << 10,
    )


@pytest.fixture
def run_job(wall: BubblewrapProvider, small: Limits, tmp_path: Path) -> RunJob:
    collect = tmp_path / "collect"
    collect.mkdir()

    def run(script: str, **settings: object) -> JobResult:
        changes = {k: settings.pop(k) for k in list(settings) if k in Limits.model_fields}
        limits = small.model_copy(update=changes)
        return wall.run(Job(script=script, collect=collect, limits=limits, **settings))

    return run


def make_columns(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Background-like dijets back to back with a falling mass spectrum."""
    rng = np.random.default_rng(seed)
    half = 1000.0 + rng.exponential(220.0, n)
    phi = rng.uniform(-np.pi, np.pi, n)
    columns = {}
    for jet, sign in (("j1", 1.0), ("j2", -1.0)):
        columns[f"px{jet}"] = sign * half * np.cos(phi)
        columns[f"py{jet}"] = sign * half * np.sin(phi)
        columns[f"pz{jet}"] = np.zeros(n)
        columns[f"m{jet}"] = rng.gamma(2.0, 60.0, n)
        tau1 = rng.uniform(0.05, 0.5, n)
        columns[f"tau1{jet}"] = tau1
        columns[f"tau2{jet}"] = tau1 * rng.uniform(0.2, 1.0, n)
        columns[f"tau3{jet}"] = columns[f"tau2{jet}"] * rng.uniform(0.3, 1.0, n)
    return {name: columns[name] for name in FEATURE_COLUMNS}


def write_events(path: Path, columns: dict[str, np.ndarray], label: np.ndarray | None) -> Path:
    """Write columns in the pandas "fixed" layout."""
    names = list(columns)
    values = np.column_stack(list(columns.values()))
    if label is not None:
        names, values = [*names, LABEL], np.column_stack([values, label])
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group["block0_values"] = values
        group["block0_items"] = np.array([name.encode() for name in names])
    return path


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6000 events, every tenth labelled as signal."""
    n = 6000
    label = (np.arange(n) % 10 == 0).astype(float)
    return write_events(tmp_path_factory.mktemp("data") / "events.h5", make_columns(n), label)
