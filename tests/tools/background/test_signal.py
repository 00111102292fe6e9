"""Signal plus background with MINOS, and MINOS errors of the background's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from bumpscout_tools.background import DijetBasis, basis_of_form, fit
from bumpscout_tools.background.signal import (
    gaussian_fractions,
    minos_errors,
    poisson_deviance,
    signal_fit,
)
from bumpscout_tools.errors import ConfigurationError, FitError

Array = NDArray[Any]


def test_fractions_of_a_gaussian(edges: Array) -> None:
    wide = gaussian_fractions(edges, 3500.0, 0.05)
    assert wide.sum() == pytest.approx(1.0, abs=1e-6)
    assert gaussian_fractions(edges, edges[0], 0.05).sum() == pytest.approx(0.5, abs=1e-6)
    narrow = gaussian_fractions(edges, 3500.0, 0.0)
    at = int(np.flatnonzero(narrow)[0])
    assert narrow.sum() == 1.0
    assert edges[at] <= 3500.0 < edges[at + 1]
    with pytest.raises(ConfigurationError, match="mass 900 GeV"):
        gaussian_fractions(edges, 900.0, 0.03)


def test_the_derivative_of_the_deviance_is_one_also_below_zero() -> None:
    for n, mu in ((0.0, 0.4), (3.0, 2.0), (5.0, 9.0), (0.0, -0.5), (3.0, -0.2), (5.0, -30.0)):
        ends = [poisson_deviance(np.array([n]), np.array([mu + step])) for step in (-1e-5, 1e-5)]
        _, slope = poisson_deviance(np.array([n]), np.array([mu]))
        assert (ends[1][0] - ends[0][0]) / 2e-5 == pytest.approx(slope[0], rel=1e-4)
        assert mu > 0 or slope[0] < 0


@pytest.mark.parametrize("strength", [0.0, 400.0, -300.0])
def test_an_injected_signal_comes_back_with_its_pull(
    edges: Array, smooth: Callable[[float], Array], strength: float
) -> None:
    basis = DijetBasis(edges, 13000.0, 3)
    shape = gaussian_fractions(edges, 3500.0, 0.04)
    mean = smooth(1e5) + strength * shape
    toys = np.random.default_rng(3).poisson(mean, (150, 50)).astype(float)
    pulls = []
    for n in toys:
        one = signal_fit(n, basis, 3, 3500.0, 0.04)
        assert one.valid
        assert one.z**2 == pytest.approx(one.background_deviance - one.deviance, abs=1e-9)
        error = -one.error_low if one.signal > strength else one.error_high
        pulls.append((one.signal - strength) / error)
    assert np.mean(pulls) == pytest.approx(0.0, abs=3.5 / np.sqrt(150))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.2)


def test_minos_ends_where_the_deviance_has_risen_by_one(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    basis = DijetBasis(edges, 13000.0, 3)
    shape = gaussian_fractions(edges, 3000.0, 0.05)
    n = np.random.default_rng(4).poisson(smooth(3000.0) + 60 * shape).astype(float)
    one = signal_fit(n, basis, 3, 3000.0, 0.05)
    for end in (one.signal + one.error_low, one.signal + one.error_high):

        def cost(theta: Array, end: float = end) -> float:
            return poisson_deviance(n, basis.expected(theta) + end * shape)[0]

        start = fit(n, basis, 3).coefficients
        found = optimize.minimize(cost, start, method="Nelder-Mead", options={"maxiter": 4000})
        assert found.fun - one.deviance == pytest.approx(1.0, abs=0.02)


def test_minos_errors_of_parameters_profile_the_others(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    basis = basis_of_form("ua2", edges, 13000.0, 3)
    n = np.random.default_rng(5).poisson(smooth(2e4)).astype(float)
    best = fit(n, basis, 3)
    errors = minos_errors(n, basis, best)
    x = edges / 13000.0
    middle = 0.5 * (x[1:] + x[:-1])
    half = 0.5 * np.diff(x)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    points = middle + half * nodes[:, None]

    def profiled(p2: float) -> float:
        def cost(other: Array) -> float:
            f = np.exp(other[0]) * (points / 0.25) ** -p2 * np.exp(-other[1] * points)
            return poisson_deviance(n, 13000.0 * half * (weights @ f))[0]

        start = np.array([np.log(best.parameters[0]) - p2 * np.log(0.25), best.parameters[2]])
        options = {"maxiter": 8000, "xatol": 1e-7, "fatol": 1e-7}
        found = optimize.minimize(cost, start, method="Nelder-Mead", options=options)
        return float(found.fun)

    low, high = errors[1] or (0.0, 0.0)
    assert low < 0 < high
    for end in (low, high):
        assert profiled(best.parameters[1] + end) - best.deviance == pytest.approx(1.0, abs=0.02)


def test_without_an_optimum_nothing_is_claimed(edges: Array) -> None:
    counts = np.zeros(50)
    counts[0] = 40
    basis = DijetBasis(edges, 13000.0, 3)
    best = fit(counts, basis, 3)
    assert minos_errors(counts, basis, best) == (None, None, None)
    with pytest.raises(FitError, match="no finite optimum"):
        signal_fit(counts, basis, 3, 3000.0, 0.05)
