"""Goodness of fit: moments, uniformity at low and high counts, runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from bumpscout_tools.background import (
    DijetBasis,
    deviance_moments,
    deviance_p,
    fit_batch,
    runs_p,
)

Array = NDArray[Any]


@pytest.mark.parametrize("mu", [1e-3, 0.1, 1.0, 7.5, 60.0, 199.0, 201.0, 5000.0])
def test_moments_are_sums_over_the_poisson(mu: float) -> None:
    n = np.arange(int(mu + 15 * np.sqrt(mu) + 60))
    p = stats.poisson.pmf(n, mu)
    d = 2 * (special.xlogy(n, n / mu) - (n - mu))
    mean, variance = deviance_moments([mu])
    assert mean[0] == pytest.approx(p @ d, rel=1e-6)
    assert variance[0] == pytest.approx(p @ (d - p @ d) ** 2, rel=2e-5)


def test_large_counts_follow_a_chi2() -> None:
    assert deviance_p(123.8, np.full(91, 50.0), 4) == pytest.approx(stats.chi2.sf(123.8, 87))


@pytest.mark.parametrize("total", [60.0, 450.0, 5000.0, 1e6])
def test_fit_p_is_uniform_under_the_null(
    edges: Array, smooth: Callable[[float], Array], total: float
) -> None:
    basis = DijetBasis(edges, 13000.0, 3)
    toys = np.random.default_rng(int(total)).poisson(smooth(total), (3000, 50))
    fits = fit_batch(toys, basis, 3)
    p = np.array([deviance_p(fits.deviance[t], fits.expected[t], 3) for t in range(3000)])
    for level in (0.01, 0.05, 0.5):
        spread = 3 * np.sqrt(level * (1 - level) / 3000)
        assert np.mean(p < level) < 1.4 * level + spread
        assert np.mean(p < level) > 0.6 * level - spread


def test_the_guard_fires_at_low_counts(edges: Array, smooth: Callable[[float], Array]) -> None:
    shape = smooth(450.0)
    shape[10:14] *= 2.0
    toys = np.random.default_rng(5).poisson(shape, (300, 50))
    fits = fit_batch(toys, DijetBasis(edges, 13000.0, 3), 3)
    p = np.array([deviance_p(fits.deviance[t], fits.expected[t], 3) for t in range(300)])
    chi2 = stats.chi2.sf(fits.deviance, fits.ndf)
    assert np.mean(p < 0.01) > 0.5
    assert np.mean(p < 0.01) > np.mean(chi2 < 0.01) + 0.3


def test_runs_are_seldom_long_under_the_null_and_long_when_the_shape_bends(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    basis = DijetBasis(edges, 13000.0, 3)
    used = np.arange(50)
    mean = smooth(1e6)
    toys = np.random.default_rng(6).poisson(mean, (1000, 50))
    fits = fit_batch(toys, basis, 3)
    null = np.array([runs_p(toys[t], fits.expected[t], used, 3) for t in range(1000)])
    assert 0.005 < np.mean(null < 0.05) < 0.07
    wave = mean + 1.2 * np.sqrt(mean) * np.sign(np.sin(np.arange(50) / 50 * 2 * np.pi * 2.5))
    toys = np.random.default_rng(7).poisson(wave, (200, 50))
    bent = np.array([runs_p(toys[t], mean, used, 0) for t in range(200)])
    assert np.mean(bent < 0.05) > 0.8


def test_neighbours_across_a_mask_are_no_neighbours() -> None:
    mu = np.full(6, 100.0)
    n = np.array([120, 80, 120, 80, 120, 80])
    assert runs_p(n, mu, np.array([0, 2, 4]), 0) == 1.0
    assert runs_p(n, mu, np.arange(6), 0) > 0.9
