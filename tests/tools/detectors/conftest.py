"""Toy events for detectors: features that know nothing of the mass, and a narrow signal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bumpscout_tools.events.view import View

FEATURES = ("mj_light", "mj_delta", "tau21_light", "tau21_heavy")


def toy_events(n: int = 8000, seed: int = 0, n_signal: int = 0) -> View:
    """Masses fall exponentially from 2 TeV; the signal lies at 2.7 TeV."""
    rng = np.random.default_rng(seed)
    background = np.column_stack(
        [rng.gamma(2, 0.05, n), rng.gamma(2, 0.1, n), rng.beta(5, 2, n), rng.beta(5, 2, n)]
    )
    signal = np.column_stack(
        [
            rng.normal(0.3, 0.02, n_signal),
            rng.normal(0.3, 0.03, n_signal),
            rng.beta(2, 8, n_signal),
            rng.beta(2, 8, n_signal),
        ]
    )
    mass = np.concatenate([2000 + rng.exponential(500, n), rng.normal(2700, 40, n_signal)])
    order = rng.permutation(n + n_signal)
    return View(
        event_id=rng.integers(0, 2**63, n + n_signal, dtype=np.uint64),
        mass=mass[order],
        features=np.concatenate([background, signal])[order],
        feature_names=FEATURES,
    )


@pytest.fixture
def make_events() -> Callable[..., View]:
    return toy_events
