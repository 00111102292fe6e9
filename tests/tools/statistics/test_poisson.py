"""Poisson tails and significances against scipy and mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import stats

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.statistics import (
    log_poisson_p,
    p_from_z,
    poisson_p,
    poisson_z,
    z_from_log_p,
    z_from_p,
)


def exact_log_p(n: int, b: float) -> float:
    """Sum the Poisson probabilities from n upwards with 40 digits."""
    with mpmath.workdps(40):
        mean = mpmath.mpf(b)
        term = total = mpmath.mpf(1)
        k = n
        while term > mpmath.mpf(10) ** -35 * total:
            k += 1
            term *= mean / k
            total += term
        log_p = n * mpmath.log(mean) - mean - mpmath.loggamma(n + 1) + mpmath.log(total)
        return float(log_p)


@pytest.mark.parametrize(
    ("n", "b"),
    [
        (1, 1e-9),
        (3, 1.0),
        (15, 14.9),
        (16, 2.5),
        (199, 190.0),
        (200, 199.5),
        (210, 200.0),
        (500, 10.0),
        (2000, 100.0),
        (5000, 4700.0),
        (200_000, 199_000.0),
        (2_581_420, 2_578_131.0),
    ],
)
def test_tail_has_the_digits_of_an_exact_sum(n: int, b: float) -> None:
    assert float(log_poisson_p(n, b)) == pytest.approx(exact_log_p(n, b), rel=1e-11)


def test_tail_and_z_agree_with_scipy_where_scipy_is_accurate() -> None:
    rng = np.random.default_rng(1)
    b = rng.uniform(0.01, 200.0, 5000)
    n = rng.poisson(b)
    p = stats.poisson.sf(n - 1, b)
    np.testing.assert_allclose(poisson_p(n, b), p, rtol=1e-10)
    seen = n > 0
    np.testing.assert_allclose(
        poisson_z(n, b)[seen], -stats.norm.ppf(p)[seen], rtol=1e-9, atol=1e-9
    )


def test_deficits_keep_their_digits_where_p_rounds_to_one() -> None:
    lower = stats.poisson.logcdf(99, 1000.0)
    z = float(poisson_z(100, 1000.0))
    assert z < -35
    assert float(stats.norm.logcdf(z)) == pytest.approx(lower, rel=1e-10)


def test_z_goes_on_below_the_smallest_double() -> None:
    assert float(poisson_p(2000, 100.0)) == 0.0
    z = float(poisson_z(2000, 100.0))
    with mpmath.workdps(40):
        tail = float(mpmath.log(mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) / 2))
    assert tail == pytest.approx(exact_log_p(2000, 100.0), rel=1e-12)


def test_nothing_observed_is_no_infinity() -> None:
    assert float(poisson_p(0, 3.0)) == 1.0
    assert float(poisson_z(0, 3.0)) == pytest.approx(-(6.0**0.5))
    assert float(poisson_z(0, 3.0)) < float(poisson_z(1, 3.0))


def test_z_and_p_invert_each_other() -> None:
    z = np.linspace(-8.0, 37.0, 200)
    np.testing.assert_allclose(z_from_p(p_from_z(z)), z, atol=1e-2)
    np.testing.assert_allclose(z_from_p(p_from_z(z[z > 0])), z[z > 0], rtol=1e-12)
    np.testing.assert_allclose(z_from_log_p(stats.norm.logsf(z)), z, rtol=1e-9, atol=2e-2)
    np.testing.assert_allclose(z_from_log_p(stats.norm.logsf(60.0)), 60.0, rtol=1e-12)
    assert float(z_from_log_p(0.0)) == -np.inf


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(InputDataError, match="whole numbers"):
        poisson_p(2.5, 1.0)
    with pytest.raises(InputDataError, match="whole numbers"):
        poisson_z(-1, 1.0)
    with pytest.raises(InputDataError, match="above 0"):
        poisson_p(2, 0.0)
    with pytest.raises(InputDataError, match="lies outside"):
        z_from_p(1.5)
    with pytest.raises(InputDataError, match="above 0"):
        z_from_log_p(0.1)
