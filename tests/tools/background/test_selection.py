"""The choice of the order, one spectrum at a time and in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import (
    DijetBasis,
    fit,
    select_order,
    select_order_batch,
    window_mask,
)
from bumpscout_tools.errors import ConfigurationError, FitError

Array = NDArray[Any]


@pytest.mark.parametrize("total", [5.0, 60.0, 500.0, 20000.0])
def test_single_and_batch_choose_alike(
    edges: Array, smooth: Callable[[float], Array], total: float
) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    mask = window_mask(50, (18, 24))
    toys = np.random.default_rng(int(total)).poisson(smooth(total), (150, 50))
    toys[0] = 0
    many = select_order_batch(toys, basis, (2, 3, 4, 5), 0.1, mask)
    for t in range(150):
        one = select_order(toys[t], basis, (2, 3, 4, 5), 0.1, mask)
        assert one.order == many.order[t]
        assert one.fit.ndf == many.ndf[t]
        assert one.fit.converged == many.converged[t]
        assert one.fit.deviance == pytest.approx(many.deviance[t], rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(one.fit.expected, many.expected[t], rtol=1e-9)


def test_the_rule_is_the_one_in_the_words_of_the_module(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    toys = np.random.default_rng(3).poisson(smooth(800.0), (300, 50))
    orders = (1, 2, 3, 4, 5)
    many = select_order_batch(toys, basis, orders, 0.3)
    skipped = 0
    for t in range(300):
        fits = {order: fit(toys[t], basis, order) for order in orders}
        held, passed = 1, False
        for order in orders[1:]:
            gain = max(fits[held].deviance - fits[order].deviance, 0.0)
            if fits[order].converged and stats.chi2.sf(gain, order - held) < 0.3:
                skipped += order - held > 1
                held = order
            else:
                passed = True
        assert many.order[t] == held
        assert passed or held == 5
    assert skipped > 5


def test_an_order_is_taken_as_often_as_alpha_says(
    edges: Array,
) -> None:
    basis = DijetBasis(edges, 13000.0, 4)
    mean = basis.expected(np.array([4.0, -2.0, 0.1]))
    toys = np.random.default_rng(9).poisson(mean, (4000, 50))
    many = select_order_batch(toys, basis, (3, 4), 0.05)
    assert np.mean(many.order == 4) == pytest.approx(0.05, abs=0.011)


def test_what_was_tried_is_told(edges: Array, smooth: Callable[[float], Array]) -> None:
    one = select_order(np.round(smooth(1e5)), DijetBasis(edges, 13000.0, 5))
    assert one.order == 3
    assert [tried.order for tried in one.tried] == [2, 3, 4, 5]
    assert [tried.taken for tried in one.tried] == [True, True, False, False]
    assert one.tried[0].gain_p is None
    assert one.tried[1].gain_p is not None
    assert one.tried[1].gain_p < 1e-6
    assert one.believable
    assert one.reasons == ()


def test_a_misfit_is_not_believed_and_says_why(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    counts = np.round(smooth(1e5))
    counts[10:14] *= 1.2
    one = select_order(np.round(counts), DijetBasis(edges, 13000.0, 5))
    assert not one.believable
    assert one.fit_p < 0.01
    assert "degrees of freedom" in one.reasons[0]


def test_fits_without_an_optimum_are_not_believed(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    assert select_order(np.zeros(50), basis).reasons == ("no fitted bin holds an event",)
    counts = np.zeros(50)
    counts[0] = 40
    one = select_order(counts, basis)
    assert one.order == 2
    assert not one.believable
    assert "no finite optimum" in one.reasons[0]


def test_wrong_requests_are_refused(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    counts = np.ones(50)
    with pytest.raises(ConfigurationError, match="rise strictly"):
        select_order(counts, basis, (3, 2))
    with pytest.raises(ConfigurationError, match="rise strictly"):
        select_order(counts, basis, ())
    with pytest.raises(ConfigurationError, match="alpha"):
        select_order_batch(np.atleast_2d(counts), basis, alpha=1.0)
    with pytest.raises(FitError, match="orders 1 to 5"):
        select_order(counts, basis, (2, 6))
