"""Spurious signal, linearity and coverage of the background model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis
from bumpscout_tools.inference import (
    coverage,
    injection_linearity,
    peak_grid,
    spurious_signal,
)

Array = NDArray[Any]
PEAKS = peak_grid([2500.0, 3200.0, 4200.0], [0.0, 0.1], 0.03)


def test_a_function_passes_on_its_own_shape_and_fails_on_another(
    basis: DijetBasis, smooth: Array, edges: Array
) -> None:
    good = spurious_signal(smooth, basis, 3, PEAKS)
    assert good.passed.all()
    assert np.all(np.abs(good.ratio) < 0.01)
    centre = np.sqrt(edges[1:] * edges[:-1])
    bent = smooth * (1 + 0.03 * np.exp(-0.5 * ((centre - 3200) / 320) ** 2))
    both = spurious_signal(np.stack([smooth, bent]), basis, 3, PEAKS)
    assert both.signal.shape == (2, 6)
    assert not both.passed[1]
    assert not both.passed[4]
    np.testing.assert_allclose(both.largest, np.abs(both.signal).max(axis=0))


def test_injected_signals_are_found_back(basis: DijetBasis, smooth: Array) -> None:
    found = injection_linearity(np.random.default_rng(1), smooth, basis, 3, PEAKS, n_toys=400)
    assert found.mean.shape == (6, 3)
    assert np.all(found.injected[:, 0] == 0)
    assert np.all(np.abs(found.mean) < 4.5 * found.mean_error + 0.05)
    assert np.all(np.abs(found.width - 1) < 4.5 * found.width_error)


def test_a_wrong_background_biases_the_injection(basis: DijetBasis, smooth: Array) -> None:
    found = injection_linearity(
        np.random.default_rng(2), smooth, basis, 2, PEAKS, sigmas=(2.0,), n_toys=100
    )
    assert np.max(np.abs(found.mean)) > 1.0


def test_coverage(basis: DijetBasis, smooth: Array) -> None:
    found = coverage(np.random.default_rng(3), smooth, basis, 3, PEAKS, n_toys=400)
    error = np.sqrt(0.683 * 0.317 / 400)
    assert np.all(np.abs(found.interval - 0.683) < 4.5 * error)
    assert np.all(found.limit >= 0.95 - 4.5 * np.sqrt(0.05 * 0.95 / 400))
    assert found.limit[:, 1].mean() == pytest.approx(0.955, abs=0.015)
