"""The order by F-test, against scipy one spectrum at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import (
    DijetBasis,
    choose_order_batch,
    compare_orders,
    fit,
    select_order_batch,
)
from bumpscout_tools.background.choice import merged_chi2
from bumpscout_tools.errors import ConfigurationError

Array = NDArray[Any]


def chi2_by_hand(n: Array, mu: Array) -> tuple[float, int]:
    groups: list[list[float]] = [[0.0, 0.0]]
    for count, mean in zip(n, mu, strict=True):
        groups[-1][0] += count
        groups[-1][1] += mean
        if groups[-1][1] >= 5:
            groups.append([0.0, 0.0])
    rest = groups.pop()
    if groups:
        groups[-1][0] += rest[0]
        groups[-1][1] += rest[1]
    else:
        groups = [rest]
    return sum((a - b) ** 2 / b for a, b in groups), len(groups)


@pytest.mark.parametrize("total", [3.0, 200.0, 5000.0])
def test_bins_are_merged_until_each_expects_five(
    smooth: Callable[[float], Array], total: float
) -> None:
    mu = smooth(total)
    n = np.random.default_rng(4).poisson(mu, (20, 50)).astype(float)
    chi2, bins = merged_chi2(n, np.broadcast_to(mu, n.shape))
    for t in range(20):
        value, count = chi2_by_hand(n[t], mu)
        assert chi2[t] == pytest.approx(value)
        assert bins[t] == count


def test_the_f_test_is_that_of_its_formula(edges: Array, smooth: Callable[[float], Array]) -> None:
    basis = DijetBasis(edges, 13000.0, 4)
    n = np.random.default_rng(5).poisson(smooth(3e4), (60, 50)).astype(float)
    many = choose_order_batch(n, basis, (2, 3, 4), 0.3, "f")
    taken = set()
    for t in range(60):
        held, fits = 2, {order: fit(n[t], basis, order) for order in (2, 3, 4)}
        for order in (3, 4):
            chi2_1, _ = chi2_by_hand(n[t], fits[held].expected)
            chi2_2, bins = chi2_by_hand(n[t], fits[order].expected)
            f = max(chi2_1 - chi2_2, 0) / (order - held) / (chi2_2 / (bins - order))
            if stats.f.sf(f, order - held, bins - order) < 0.3:
                held = order
        assert many.order[t] == held
        assert many.deviance[t] == pytest.approx(fits[held].deviance, abs=1e-6)
        np.testing.assert_allclose(many.expected[t], fits[held].expected, rtol=1e-7)
        taken.add(held)
    assert len(taken) > 1


def test_an_f_test_takes_a_useless_order_as_often_as_alpha_says(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 4)
    mean = 2000.0 * basis.expected(np.array([6.0, -2.0, 0.1]))
    n = np.random.default_rng(6).poisson(mean, (4000, 50)).astype(float)
    many = choose_order_batch(n, basis, (3, 4), 0.05, "f")
    assert np.mean(many.order == 4) == pytest.approx(0.05, abs=0.011)


def test_both_tests_are_told_and_one_decides(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    n = np.random.default_rng(7).poisson(smooth(2e4)).astype(float)
    for test in ("lr", "f"):
        rows = compare_orders(n, basis, (2, 3, 4, 5), 0.05, test)
        assert [row.order for row in rows] == [2, 3, 4, 5]
        assert rows[0].lr_p is None
        assert rows[0].f_p is None
        assert rows[1].lr_p is not None
        assert rows[1].lr_p < 1e-6
        chosen = max(row.order for row in rows if row.taken)
        assert chosen == choose_order_batch(n[None], basis, (2, 3, 4, 5), 0.05, test).order[0]
    one = choose_order_batch(n[None], basis, (2, 3, 4, 5), 0.05, "lr")
    assert one.order[0] == select_order_batch(n[None], basis, (2, 3, 4, 5), 0.05).order[0]


def test_wrong_requests_are_refused(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 4)
    with pytest.raises(ConfigurationError, match="rise strictly"):
        choose_order_batch(np.ones((1, 50)), basis, (3, 2), 0.05, "f")
