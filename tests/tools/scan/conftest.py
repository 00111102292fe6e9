"""A falling toy spectrum with features, and a plan that runs on it in a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import (
    BackgroundPlan,
    DetectorPlan,
    ReplayPlan,
    SearchPlan,
    WindowPlan,
    WorkingPointPlan,
)
from bumpscout_tools.scripts import run_vetted

FEATURES = ("mj_light", "mj_delta", "tau21_light", "tau21_heavy")
FloatArray = NDArray[np.float64]


def falling_mass(n: int, rng: np.random.Generator, low: float = 2000.0) -> FloatArray:
    """Draw masses (n,) in GeV from (1 - x)^8 x^-6 above `low`."""
    grid = np.linspace(low, 9000.0, 4000)
    x = grid / 13000.0
    f = (1 - x) ** 8 * x**-6
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (f[1:] + f[:-1]))])
    return np.interp(rng.random(n), cumulative / cumulative[-1], grid)


def toy_view(n: int = 16_000, seed: int = 0, n_signal: int = 0, signal_gev: float = 2700.0) -> View:
    """Events whose features know nothing of the mass, and a narrow signal with its own features."""
    rng = np.random.default_rng(seed)
    background = np.column_stack(
        [
            rng.gamma(2, 0.05, n),
            rng.gamma(2, 0.1, n),
            rng.beta(5, 2, n),
            rng.beta(5, 2, n),
        ]
    )
    signal = np.column_stack(
        [
            rng.normal(0.3, 0.02, n_signal),
            rng.normal(0.3, 0.03, n_signal),
            rng.beta(2, 8, n_signal),
            rng.beta(2, 8, n_signal),
        ]
    )
    resonance = rng.normal(signal_gev, 0.015 * signal_gev, n_signal)
    mass = np.concatenate([falling_mass(n, rng), resonance])
    order = rng.permutation(n + n_signal)
    return View(
        event_id=rng.integers(0, 2**63, n + n_signal, dtype=np.uint64),
        mass=mass[order],
        features=np.concatenate([background, signal])[order],
        feature_names=FEATURES,
    )


def toy_plan(**changes: object) -> SearchPlan:
    """A plan with few trees, few windows and few toys."""
    settings: dict[str, object] = {
        "detectors": (
            DetectorPlan(settings=CwolaSettings(folds=2, members=1, trees=15, leaves=8)),
        ),
        "windows": WindowPlan(width_bins=6, step_bins=3, min_events=100),
        "working_points": WorkingPointPlan(efficiencies=(0.1, 0.02)),
        "background": BackgroundPlan(orders=(2, 3, 4)),
        "cell_toys": 50,
        "toys": 1000,
        "replays": ReplayPlan(n=0),
    }
    return SearchPlan.model_validate(settings | changes)


def vetted(_index: int, task, view: View) -> FloatArray:
    return run_vetted(task, view)


def random_scores(_index: int, task, view: View) -> FloatArray:
    """Scores that know nothing of the events."""
    return np.random.default_rng(task.seed).random((len(view), len(task.windows_gev)))


@pytest.fixture
def make_view() -> Callable[..., View]:
    return toy_view


@pytest.fixture
def make_plan() -> Callable[..., SearchPlan]:
    return toy_plan


@pytest.fixture
def make_mass() -> Callable[..., FloatArray]:
    return falling_mass


@pytest.fixture
def cwola() -> Callable[..., FloatArray]:
    return vetted


@pytest.fixture
def at_random() -> Callable[..., FloatArray]:
    return random_scores
