"""Forms outside the dijet family, and templates: parameters as published, one fit for all."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate

from bumpscout_tools.background import FORMS, TemplateBasis, basis_of_form, fit, fit_batch
from bumpscout_tools.errors import ConfigurationError, InputDataError

Array = NDArray[Any]
S = 13000.0

CASES = {
    "ua2": ((0.3, 5.0, 6.0, 8.0), lambda x, p: p[0] * x ** -p[1] * np.exp(-p[2] * x - p[3] * x**2)),
    "diphoton": (
        (2e3, 9.0, -2.5, 0.2),
        lambda x, p: p[0] * (1 - x ** (1 / 3)) ** p[1] * x ** (p[2] + p[3] * np.log(x)),
    ),
    "exponential": (
        (5e3, 30.0, -20.0, 40.0),
        lambda x, p: p[0] * np.exp(-p[1] * x - p[2] * x**2 - p[3] * x**3),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_published_parameters_come_back(edges: Array, name: str) -> None:
    parameters, function = CASES[name]
    mean = np.array(
        [
            integrate.quad(lambda m: function(m / S, parameters), low, high)[0]
            for low, high in itertools.pairwise(edges)
        ]
    )
    one = fit(mean, basis_of_form(name, edges, S), 4)
    assert one.converged
    assert one.deviance == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(one.parameters, parameters, rtol=2e-3)
    np.testing.assert_allclose(one.expected, mean, rtol=1e-6)


def test_every_form_is_tried_above() -> None:
    assert sorted(FORMS) == sorted(CASES)


def test_forms_are_nested(edges: Array, smooth: Callable[[float], Array]) -> None:
    counts = np.random.default_rng(1).poisson(smooth(1e4)).astype(float)
    basis = basis_of_form("ua2", edges, S)
    falls = [fit(counts, basis, order).deviance for order in (1, 2, 3, 4)]
    assert falls == sorted(falls, reverse=True)
    short = basis_of_form("ua2", edges, S, 3)
    assert fit(counts, short, 3).deviance == pytest.approx(falls[2], abs=1e-8)


def test_unknown_forms_and_orders_are_refused(edges: Array) -> None:
    with pytest.raises(ConfigurationError, match="no background 'ua3'"):
        basis_of_form("ua3", edges, S)
    with pytest.raises(ConfigurationError, match="1 to 4 parameters, not 5"):
        basis_of_form("ua2", edges, S, 5)
    with pytest.raises(InputDataError, match="only below sqrt"):
        basis_of_form("ua2", edges, 5000.0)


def test_a_template_is_scaled_to_the_events_and_tilted(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    shape = smooth(500.0)
    counts = np.random.default_rng(2).poisson(3.0 * shape, (50, 50)).astype(float)
    scaled = fit_batch(counts, TemplateBasis(edges, shape), 1)
    total = counts.sum(axis=1, keepdims=True) / shape.sum()
    np.testing.assert_allclose(scaled.expected, total * shape, rtol=1e-6)
    # Flat within a bin: the tilt of the bins is that of their centres, nearly.
    centre = np.sqrt(edges[1:] * edges[:-1])
    tilted = fit(shape * centre**0.7, TemplateBasis(edges, shape), 2)
    assert tilted.parameters[1] == pytest.approx(0.7, abs=1e-3)


def test_a_template_must_expect_something_everywhere(edges: Array) -> None:
    shape = np.ones(50)
    shape[7] = 0.0
    with pytest.raises(InputDataError, match=f"between {edges[7]:g} and"):
        TemplateBasis(edges, shape)
    with pytest.raises(InputDataError, match="does not belong to 50 bins"):
        TemplateBasis(edges, np.ones(49))


def test_copies_for_other_processes_are_the_same(edges: Array) -> None:
    weight = np.linspace(1, 2, 50)
    for basis, order in (
        (basis_of_form("dijet", edges, S, 4, weight), 4),
        (basis_of_form("ua2", edges, S, 3, weight), 3),
        (TemplateBasis(edges, weight, 0.5), 2),
    ):
        copy = pickle.loads(pickle.dumps(basis))
        np.testing.assert_array_equal(copy.nodes, basis.nodes)
        np.testing.assert_array_equal(copy.weights_gev, basis.weights_gev)
        start = np.full(order, 0.1)
        np.testing.assert_array_equal(copy.parameters(start), basis.parameters(start))


def test_wide_bins_are_found_out() -> None:
    basis = basis_of_form("dijet", [1000.0, 1100, 1200, 1300, 1400, 12900], S, 3)
    coefficients = fit(np.array([4e5, 2e5, 1e5, 5e4, 9e4]), basis, 3).coefficients
    error = basis.integral_error(coefficients)
    assert error[-1] > 1e-3
    assert error[:-1].max() < 1e-8
