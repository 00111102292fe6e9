"""Sliding-window fits: against the published ones of ATLAS, and blind to a masked signal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis, SlidingFit, fit_batch
from bumpscout_tools.errors import ConfigurationError

Array = NDArray[Any]


@pytest.mark.parametrize("name", ["atlas_dijet_13tev_37fb", "atlas_dijet_13tev_139fb"])
def test_the_published_sliding_window_fit_comes_out(
    spectrum: Callable[[str], Array], name: str
) -> None:
    table = spectrum(name)
    sliding = SlidingFit(np.append(table[:, 0], table[-1, 1]), 13000.0, 4)
    expected, _, failed = sliding.expected_batch(table[None, :, 2])
    sigma = np.sqrt(np.maximum(table[:, 3], 1.0))
    # The windows of the publication are not known; they move the fit by less than half a sigma.
    assert np.max(np.abs(expected[0] - table[:, 3]) / sigma) < 0.5
    assert failed[0] == 0


def test_a_window_over_everything_is_the_fit_of_everything(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    n = np.random.default_rng(1).poisson(smooth(1e5), (5, 50)).astype(float)
    sliding = SlidingFit(edges, 13000.0, 3, window_bins=50)
    whole = fit_batch(n, DijetBasis(edges, 13000.0, 3), 3)
    expected, deviance, _ = sliding.expected_batch(n)
    np.testing.assert_allclose(expected, whole.expected, rtol=1e-7)
    np.testing.assert_allclose(deviance, whole.deviance, rtol=1e-6)
    assert sliding.effective_parameters(expected[0]) == pytest.approx(3.0, abs=0.01)


def test_each_bin_is_that_of_its_own_window(edges: Array, smooth: Callable[[float], Array]) -> None:
    n = np.random.default_rng(2).poisson(smooth(1e5), (3, 50)).astype(float)
    expected, _, _ = SlidingFit(edges, 13000.0, 3, 20).expected_batch(n)
    for at, start in ((0, 0), (9, 0), (25, 15), (49, 30)):
        part = slice(start, start + 20)
        basis = DijetBasis(edges[start : start + 21], 13000.0, 3)
        one = fit_batch(n[:, part], basis, 3)
        np.testing.assert_allclose(expected[:, at], one.expected[:, at - start], rtol=1e-7)


def test_a_masked_signal_does_not_lift_its_background(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    mean = smooth(1e6)
    counts = np.round(mean)
    counts[24:27] *= 1.3
    plain, _, _ = SlidingFit(edges, 13000.0, 3, 24).expected_batch(counts[None])
    masked, _, _ = SlidingFit(edges, 13000.0, 3, 24, masked_bins=2).expected_batch(counts[None])
    lifted = (plain[0] - mean)[25] / np.sqrt(mean[25])
    assert lifted > 3
    assert abs(masked[0] - mean)[25] / np.sqrt(mean[25]) < 0.25 * lifted


def test_windows_that_cannot_be_fitted_are_refused(edges: Array) -> None:
    with pytest.raises(ConfigurationError, match="51 bins"):
        SlidingFit(edges, 13000.0, 4, 51)
    with pytest.raises(ConfigurationError, match="9 of them masked"):
        SlidingFit(edges, 13000.0, 4, 12, masked_bins=4)
