"""Fixtures of the application tests: the command line as a process, files of events, a result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from bumpscout.evidence import CardSummary, Drop, Evidence, Examples
from bumpscout.result import (
    Bump,
    Dataset,
    LedgerSummary,
    Measured,
    PlanSummary,
    Result,
    Software,
    TaskSummary,
    WorkingPoint,
)
from bumpscout.words import headline
from bumpscout_tools.detectors.guards import GuardReport
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.scan.outcome import Cell, CellSpectrum, ProcedureP, ScanOutcome, ScanP
from bumpscout_tools.simulation.layout import write_features_h5

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def _run(
    folder: Path, *arguments: str | Path, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bumpscout", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def bumpscout(tmp_path: Path) -> Command:
    """Run the command line in an empty folder, without a terminal."""
    return partial(_run, tmp_path)


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run the command line for fixtures that outlive one test."""
    return partial(_run, tmp_path_factory.mktemp("cwd"))


def make_columns(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Background-like dijets, back to back, with a falling mass spectrum; no signal."""
    rng = np.random.default_rng(seed)
    half = 1000.0 + rng.exponential(220.0, n)
    phi = rng.uniform(-np.pi, np.pi, n)
    columns: dict[str, np.ndarray] = {}
    for jet, sign in (("j1", 1.0), ("j2", -1.0)):
        tau1 = rng.uniform(0.05, 0.5, n)
        tau2 = tau1 * rng.uniform(0.2, 1.0, n)
        values = (
            sign * half * np.cos(phi),
            sign * half * np.sin(phi),
            np.zeros(n),
            rng.gamma(2.0, 60.0, n),
            tau1,
            tau2,
            tau2 * rng.uniform(0.3, 1.0, n),
        )
        names = ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
        columns |= {f"{name}{jet}": value for name, value in zip(names, values, strict=True)}
    return {**{name: columns[name] for name in FEATURE_COLUMNS}, "label": np.zeros(n)}


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 8000 events without a signal."""
    path = tmp_path_factory.mktemp("data") / "events.h5"
    write_features_h5(path, make_columns(8000))
    return path


@pytest.fixture(scope="session")
def trial_inputs(
    tmp_path_factory: pytest.TempPathFactory, events: Path
) -> Callable[[dict[str, object]], Path]:
    """Make a folder with ``plan.yaml`` for these events, and ``signal.h5``, of equal masses."""

    def make(plan: dict[str, object]) -> Path:
        folder = tmp_path_factory.mktemp("inputs")
        content = {"data": str(events), "plan": plan}
        (folder / "plan.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        signal = make_columns(3000, seed=7)
        momenta = np.hypot(signal["pxj1"], signal["pyj1"])
        for jet in ("j1", "j2"):
            for axis in ("x", "y"):
                signal[f"p{axis}{jet}"] *= 1300.0 / momenta
        write_features_h5(folder / "signal.h5", signal)
        return folder

    return make


EDGES = tuple(float(edge) for edge in np.geomspace(2500, 6000, 31))
SHA = "0123456789abcdef" * 4


def make_cell(**changes: object) -> Cell:
    content: dict[str, object] = {
        "test_id": "t1",
        "detector": "cwola",
        "detector_index": 0,
        "window_gev": (3300.0, 3700.0),
        "efficiency": 0.01,
        "stage": "coarse",
        "n_selected": 600,
        "order": 3,
        "deviance": 25.0,
        "ndf": 27,
        "fit_p": 0.6,
        "believable": True,
        "interval_gev": (3400.0, 3600.0),
        "n_observed": 80,
        "n_expected": 30.5,
        "local_p": 1e-9,
        "local_z": 5.9,
        "null_mean": 1.0,
        "null_width": 0.8,
        "excess": 6.1,
    }
    return Cell.model_validate({**content, **changes})


def make_outcome(**changes: object) -> ScanOutcome:
    expected = tuple(float(value) for value in np.geomspace(60, 0.4, 30))
    observed = tuple(int(value) for value in np.random.default_rng(2).poisson(expected))
    cells = (
        make_cell(),
        make_cell(test_id="t2", efficiency=0.1, local_z=2.0, excess=1.0),
        make_cell(test_id="t3", efficiency=0.001, believable=False),
        make_cell(test_id="t4", window_gev=(3500.0, 3900.0), interval_gev=(3700.0, 3800.0)),
    )
    content: dict[str, object] = {
        "fit_range_gev": (EDGES[0], EDGES[-1]),
        "described": True,
        "edges_gev": EDGES,
        "windows_gev": ((3300.0, 3700.0), (3500.0, 3900.0)),
        "n_events": 60000,
        "cells": cells,
        "ranking": (0, 3, 1),
        "inclusive": CellSpectrum(
            test_id="inclusive", edges_gev=EDGES, observed=observed, expected=expected
        ),
        "spectra": (
            CellSpectrum(test_id="t1", edges_gev=EDGES, observed=observed, expected=expected),
        ),
        "guards": {"t1": (_GUARD,)},
    }
    return ScanOutcome.model_validate({**content, **changes})


_GUARD = GuardReport(
    name="mass dependence", fired=False, value=0.01, threshold=0.1, message="1% of the variance"
)


def make_bump(**changes: object) -> Bump:
    content: dict[str, object] = {
        "result_id": "t1",
        "detector": "cwola",
        "spectrum": "m_jj",
        "working_point": WorkingPoint(efficiency=0.01),
        "mass_gev": 3500.0,
        "interval_gev": (3400.0, 3600.0),
        "n_observed": 80,
        "n_expected": 30.5,
        "n_signal": Measured(value=49.5, error=8.9),
        "local_p": 1e-9,
        "local_z": 5.9,
        "guards": (_GUARD,),
        "scan_p": ScanP(value=1e-4, low=0.0, high=1.8e-4, method="toys refitted", n_toys=10_000),
        "procedure_p": ProcedureP(value=0.048, low=0.0, high=0.088, n_replays=20, n_reached=0),
    }
    return Bump.model_validate({**content, **changes})


def make_result(text: str = "a narrow dijet resonance", **changes: object) -> Result:
    """A complete result; `text` stands wherever foreign text may stand."""
    bumps = (make_bump(),)
    content: dict[str, object] = {
        "run_id": "20260101-000000-abcd",
        "request": text,
        "understood": (text,),
        "not_understood": (text,),
        "status": "complete",
        "dataset": Dataset(name=text, sha256=SHA, n_events=60000, format="lhco-features-h5"),
        "plan": PlanSummary(
            sha256=SHA,
            detectors=("cwola",),
            spectra=("m_jj",),
            working_points=(0.1, 0.01),
            background="dijet p2, p3",
            blinding="open",
        ),
        "verdict": "candidate",
        "claim": "confirmatory",
        "headline": headline("candidate", "confirmatory", bumps, None),
        "bumps": bumps,
        "ledger": LedgerSummary(head_sha256=SHA, n_tests=4, n_lines=5),
        "tasks": (
            TaskSummary(id="01", role="coder: cwola", status="accepted", attempts=1),
            TaskSummary(id="02", role="coder", status="failed", attempts=3, error=text),
        ),
        "software": Software(
            versions={"bumpscout": "0.1.0"}, seed=7, platform=text, sandbox_provider="bubblewrap"
        ),
    }
    return Result.model_validate({**content, **changes})


def make_evidence(text: str = "mj_light", **changes: object) -> Evidence:
    rows = np.random.default_rng(3).normal(size=(60, 2)).round(3)
    points = tuple((float(a), float(b)) for a, b in rows)
    content: dict[str, object] = {
        "card": CardSummary(
            format="lhco-features-h5",
            n_events=60000,
            n_used=59990,
            drops=(Drop(reason=text, n_events=10),),
            columns=(text,),
            notes=(text,),
        ),
        "outcome": make_outcome(),
        "statistic": text,
        "observed_statistic": 6.1,
        "replay_statistics": (1.0, 2.5, None, 2.0, 3.0),
        "calibration": (text,),
        "examples": Examples(names=(text, "tau21_light"), typical=points, anomalous=points[:20]),
    }
    return Evidence.model_validate({**content, **changes})


@pytest.fixture(name="make_result")
def _make_result() -> Callable[..., Result]:
    return make_result


@pytest.fixture(name="make_outcome")
def _make_outcome() -> Callable[..., ScanOutcome]:
    return make_outcome


@pytest.fixture(name="make_cell")
def _make_cell() -> Callable[..., Cell]:
    return make_cell


@pytest.fixture(name="make_bump")
def _make_bump() -> Callable[..., Bump]:
    return make_bump


@pytest.fixture
def make_run() -> Callable[[str], tuple[Result, Evidence]]:
    """Make result and evidence with a text wherever foreign text may stand."""
    return lambda text: (make_result(text), make_evidence(text))


@pytest.fixture(scope="session", name="make_columns")
def _make_columns() -> Callable[..., dict[str, np.ndarray]]:
    return make_columns
