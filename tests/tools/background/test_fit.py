"""Poisson fits of the dijet family against iminuit and where no optimum exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from iminuit import Minuit
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.background import FIT_STATUS, DijetBasis, fit, fit_batch, window_mask
from bumpscout_tools.errors import FitError, InputDataError

Array = NDArray[Any]


def minuit_deviance(n: Array, edges: Array, order: int, used: Array) -> float:
    """Minimise the deviance with MIGRAD, from its own terms and bin integrals."""
    x, w = np.polynomial.legendre.leggauss(8)
    low, high = edges[:-1][used], edges[1:][used]
    mass = 0.5 * (low + high) + 0.5 * (high - low) * x[:, None]
    weight = 0.5 * (high - low) * w[:, None]
    log_x = np.log(mass / 13000.0) - np.log(0.3)
    terms = [np.ones_like(mass), np.log1p(-mass / 13000.0)]
    terms += [log_x**k for k in range(1, order - 1)]
    raw = np.stack([term.ravel() for term in terms], axis=1)
    q, _ = np.linalg.qr(raw)
    columns = (q * np.sqrt(raw.shape[0])).reshape(*mass.shape, order)
    counts = n[used]

    def deviance(theta: Array) -> float:
        mu = np.sum(weight * np.exp(np.clip(columns @ theta, -500, 500)), axis=0)
        return float(2 * np.sum(mu - counts + special.xlogy(counts, counts / mu)))

    target = np.log((counts + 0.5) / (high - low))
    centre = columns.mean(axis=0)
    start = np.linalg.lstsq(centre[:, :2], target, rcond=None)[0]
    minuit = Minuit(deviance, np.concatenate([start, np.zeros(order - 2)]))
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.strategy = 2
    minuit.tol = 1e-3
    for _ in range(3):
        minuit.migrad(ncall=20000)
    assert minuit.fval is not None
    return float(minuit.fval)


@pytest.mark.parametrize("total", [12.0, 60.0, 500.0, 2e4, 1e6])
@pytest.mark.parametrize("masked", [False, True])
def test_deviance_is_the_minimum_that_minuit_finds(
    edges: Array, smooth: Callable[[float], Array], total: float, masked: bool
) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    mask = window_mask(50, (15, 21)) if masked else np.zeros(50, dtype=bool)
    toys = np.random.default_rng(int(total)).poisson(smooth(total), (3, 50)).astype(float)
    for order in (2, 3, 4) if total < 100 else (2, 4, 5):
        many = fit_batch(toys, basis, order, mask)
        for t in range(3):
            reference = minuit_deviance(toys[t], edges, order, np.flatnonzero(~mask))
            assert many.deviance[t] == pytest.approx(reference, abs=1e-4)


def test_a_smooth_truth_is_recovered_also_in_the_masked_window(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    theta = np.array([1.5, -3.0, 0.3, -0.2, 0.1])
    truth = basis.expected(theta)
    one = fit(truth, basis, 5, window_mask(50, (20, 26)))
    assert one.converged
    assert one.status == "converged"
    assert one.ndf == 44 - 5
    np.testing.assert_allclose(one.expected, truth, rtol=1e-6)
    np.testing.assert_allclose(one.parameters, basis.parameters(theta), rtol=1e-3)


def test_events_in_the_mask_do_not_matter(edges: Array, smooth: Callable[[float], Array]) -> None:
    basis = DijetBasis(edges, 13000.0, 4)
    counts = np.round(smooth(5000.0))
    mask = window_mask(50, (20, 26))
    without = fit(counts, basis, 4, mask)
    counts[20:26] += 1e4
    np.testing.assert_array_equal(fit(counts, basis, 4, mask).expected, without.expected)


def test_the_sum_of_the_fit_is_the_sum_of_the_data(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    toys = np.random.default_rng(2).poisson(smooth(300.0), (200, 50)).astype(float)
    many = fit_batch(toys, DijetBasis(edges, 13000.0, 4), 4)
    np.testing.assert_allclose(many.expected.sum(axis=1), toys.sum(axis=1), rtol=1e-4)


def test_estimates_are_unbiased_with_the_expected_spread(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    basis = DijetBasis(edges, 13000.0, 3)
    mean = smooth(20000.0)
    toys = np.random.default_rng(4).poisson(mean, (4000, 50))
    expected = fit_batch(toys, basis, 3, window_mask(50, (15, 21))).expected[:, 15:21].sum(axis=1)
    truth = fit(mean, basis, 3).expected[15:21].sum()
    assert expected.mean() == pytest.approx(truth, abs=4 * expected.std() / np.sqrt(4000))
    assert expected.std() < np.sqrt(truth)


def test_an_empty_spectrum_is_reported_and_expects_nothing(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 3)
    counts = np.zeros(50)
    one = fit(counts, basis, 3)
    assert (one.status, one.converged, one.deviance) == ("empty", False, 0.0)
    np.testing.assert_array_equal(one.expected, 0.0)
    np.testing.assert_array_equal(one.parameters, 0.0)
    counts[20] = 7
    assert fit(counts, basis, 3, window_mask(50, (20, 26))).status == "empty"


@pytest.mark.parametrize("order", [2, 4, 5])
def test_all_events_in_one_bin_have_no_finite_optimum(edges: Array, order: int) -> None:
    counts = np.zeros(50)
    counts[0 if order == 2 else 12] = 100
    one = fit(counts, DijetBasis(edges, 13000.0, 5), order)
    assert one.status == "at limit"
    assert not one.converged
    assert np.all(np.isfinite(one.expected))
    assert one.expected.sum() == pytest.approx(100, rel=1e-4)
    assert one.deviance < 1e-6


def test_fits_of_a_few_events_reach_their_limit(edges: Array) -> None:
    """Far from any finite optimum the information is singular, and plain steps get stuck."""
    basis = DijetBasis(edges, 13000.0, 6)
    x = np.sqrt(edges[1:] * edges[:-1]) / 13000.0
    shape = (1 - x) ** 10 * x**-5 * np.diff(edges)
    toys = np.random.default_rng(3).poisson(4.0 * shape / shape.sum(), (1500, 50)).astype(float)
    fewer = fit_batch(toys, basis, 2).deviance
    for order in (3, 4, 5, 6):
        many = fit_batch(toys, basis, order)
        assert "not converged" not in {FIT_STATUS[status] for status in many.status}
        assert np.max(many.deviance - fewer) < 1e-4
        fewer = many.deviance


def test_no_row_is_dropped_or_infinite_whatever_the_counts(edges: Array) -> None:
    rng = np.random.default_rng(8)
    counts = rng.integers(0, 2, (500, 50)) * rng.integers(0, 10_000, (500, 50))
    counts[0] = 0
    counts[1] = 100_000_000
    for order in (1, 3, 6):
        many = fit_batch(counts, DijetBasis(edges, 13000.0, 6), order, window_mask(50, (20, 26)))
        assert many.expected.shape == (500, 50)
        assert np.all(np.isfinite(many.expected))
        assert np.all(many.deviance >= 0)
        assert many.status[0] == 3
        assert many.converged[1]


def test_wrong_requests_are_refused(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 4)
    counts = np.ones(50)
    with pytest.raises(FitError, match="orders 1 to 4"):
        fit(counts, basis, 5)
    mask = np.ones(50, dtype=bool)
    mask[:4] = False
    with pytest.raises(FitError, match="4 unmasked bins"):
        fit(counts, basis, 4, mask)
    with pytest.raises(InputDataError, match="boolean"):
        fit(counts, basis, 2, np.arange(50))
    with pytest.raises(InputDataError, match="50 bins"):
        fit(np.ones(49), basis, 2)
    with pytest.raises(InputDataError, match=">= 0"):
        fit(-counts, basis, 2)
    with pytest.raises(InputDataError, match="finite"):
        fit(counts * np.inf, basis, 2)
