"""The dijet family as a basis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate

from bumpscout_tools.background import DijetBasis
from bumpscout_tools.errors import FitError, InputDataError

Array = NDArray[Any]


def published(mass: float, p: Array) -> float:
    """Write out p1 (1-x)^p2 x^(p3 + p4 ln x + p5 ln^2 x + p6 ln^3 x)."""
    x = mass / 13000.0
    log_x = np.log(x)
    power = sum(p[k] * log_x ** (k - 2) for k in range(2, len(p)))
    return float(p[0] * (1 - x) ** p[1] * x**power)


@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_parameters_are_those_of_the_published_form(order: int) -> None:
    edges = np.linspace(1100.0, 8000.0, 30)
    basis = DijetBasis(edges, 13000.0, 6)
    theta = np.array([3.0, -2.0, 0.4, 0.2, -0.1, 0.05])[:order]
    p = basis.parameters(theta)
    assert p.shape == (order,)
    for mass in (1200.0, 3000.0, 7900.0):
        assert published(mass, p) == pytest.approx(
            basis.density(theta, np.array([mass]))[0], rel=1e-7
        )


def test_expected_counts_are_the_integrals_of_the_density() -> None:
    edges = np.array([1500.0, 1700.0, 2000.0, 2400.0, 3000.0, 3800.0])
    basis = DijetBasis(edges, 13000.0, 4)
    theta = np.array([2.0, -2.5, 0.3, 0.1])
    p = basis.parameters(theta)
    expected = basis.expected(theta)
    for i in range(5):
        exact, _ = integrate.quad(published, edges[i], edges[i + 1], args=(p,), epsrel=1e-11)
        assert expected[i] == pytest.approx(exact, rel=1e-5)


def test_columns_are_nested_and_orthonormal() -> None:
    edges = 2000.0 * np.exp(np.linspace(0, 1.0, 41))
    large, small = DijetBasis(edges, 13000.0, 6), DijetBasis(edges, 13000.0, 3)
    np.testing.assert_allclose(np.abs(large.nodes[:3]), np.abs(small.nodes), rtol=1e-6, atol=1e-9)
    share = large.weights_gev / large.weights_gev.sum(axis=0) / 40
    product = np.einsum("aqi,qi,bqi->ab", large.nodes, share, large.nodes)
    np.testing.assert_allclose(product, np.eye(6), atol=1e-9)


def test_edges_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputDataError, match="only between 0 and"):
        DijetBasis([1000.0, 2000.0, 13000.0], 13000.0, 1)
    with pytest.raises(InputDataError, match="only between 0 and"):
        DijetBasis([0.0, 1000.0, 2000.0], 13000.0, 1)
    with pytest.raises(InputDataError, match="edge 2 "):
        DijetBasis([500.0, 1000.0, 900.0, 2000.0], 13000.0, 2)
    with pytest.raises(InputDataError, match="finite"):
        DijetBasis([500.0, np.nan, 900.0], 13000.0, 1)
    with pytest.raises(FitError, match="at least 4 bins"):
        DijetBasis([1000.0, 1100.0, 1200.0, 1300.0], 13000.0, 3)
    with pytest.raises(FitError, match="orders 1 to 6"):
        DijetBasis(np.linspace(1000, 5000, 30), 13000.0, 7)
    with pytest.raises(FitError, match="too narrow"):
        DijetBasis(np.linspace(1000.0, 1001.0, 30), 13000.0, 6)
