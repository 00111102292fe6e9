"""The bump hunt against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.statistics import (
    EXPECTED_FLOOR,
    best_interval,
    best_interval_batch,
    poisson_z,
)

Array = NDArray[Any]


def brute_force(
    n: Array, b: Array, first: int, last: int, widths: tuple[int, int]
) -> tuple[float, int, int]:
    """Evaluate every interval with scipy; z from the tail that keeps its digits."""
    best = (-np.inf, 0, 0)
    for width in range(widths[0], widths[1] + 1):
        for start in range(first, last - width + 1):
            d = n[start : start + width].sum()
            mean = max(b[start : start + width].sum(), EXPECTED_FLOOR)
            if d == 0:
                z = -np.sqrt(2 * mean)
            elif d > mean:
                z = -special.ndtri_exp(np.log(special.gammainc(d, mean)))
            else:
                z = special.ndtri_exp(np.log(special.gammaincc(d, mean)))
            if z > best[0] + 1e-9:
                best = (float(z), start, start + width)
    return best


@pytest.mark.parametrize("scale", [0.02, 1.0, 30.0, 3000.0])
def test_pruning_loses_nothing(scale: float) -> None:
    rng = np.random.default_rng(int(scale * 100))
    b = scale * np.exp(-np.linspace(0, 4, 30)) * rng.uniform(0.5, 1.5, (150, 30))
    n = rng.poisson(b * (1.0 + rng.choice([-0.7, 0.0, 1.0], (150, 1)) / np.sqrt(max(scale, 1.0))))
    found = best_interval_batch(n, b, 4, 27, 2, 9)
    for t in range(150):
        z, start, stop = brute_force(n[t], b[t], 4, 27, (2, 9))
        assert found.z[t] == pytest.approx(z, rel=1e-7, abs=1e-7)
        assert (found.start[t], found.stop[t]) == (start, stop)


def test_single_and_batch_agree_and_the_numbers_belong_to_the_interval() -> None:
    rng = np.random.default_rng(7)
    b = 50 * np.exp(-np.linspace(0, 3, 25))
    n = rng.poisson(b, (20, 25))
    many = best_interval_batch(n, b, 3, 20, 1, 5)
    for t in range(20):
        one = best_interval(n[t], b, 3, 20, 1, 5)
        assert (one.local_z, one.start, one.stop) == (many.z[t], many.start[t], many.stop[t])
        assert one.n_observed == n[t, one.start : one.stop].sum()
        assert one.n_expected == pytest.approx(b[one.start : one.stop].sum())
        assert one.local_p == pytest.approx(stats.poisson.sf(one.n_observed - 1, one.n_expected))


def test_without_any_excess_the_largest_signed_z_is_given() -> None:
    b = np.full(10, 100.0)
    n = np.full(10, 70)
    n[4:6] = 95
    found = best_interval(n, b, 0, 10, 2, 2)
    assert (found.start, found.stop) == (4, 6)
    assert -1 < found.local_z < 0
    assert found.local_z == pytest.approx(float(poisson_z(190, 200.0)))
    assert 0.5 < found.local_p < 1


def test_an_empty_spectrum_is_finite() -> None:
    found = best_interval(np.zeros(8, dtype=int), np.full(8, 0.1), 0, 8, 2, 4)
    assert found.n_observed == 0
    assert found.local_p == 1.0
    assert found.local_z == pytest.approx(-np.sqrt(0.4))


def test_nothing_expected_is_raised_to_the_floor() -> None:
    n = np.zeros(8, dtype=int)
    n[3] = 2
    found = best_interval(n, np.zeros(8), 0, 8, 2, 3)
    assert found.n_expected == EXPECTED_FLOOR
    assert found.local_p == pytest.approx(0.5e-12, rel=1e-5)
    assert best_interval(n, np.zeros(8), 0, 8, 2, 3, floor=0.01).local_z < found.local_z


def test_p_underflows_but_z_does_not() -> None:
    found = best_interval(np.array([0, 5000, 5000, 0]), np.ones(4), 0, 4, 2, 2)
    assert 0 < found.local_p < 1e-300
    assert found.local_z > 100


def test_wrong_requests_are_refused() -> None:
    n, b = np.ones(6), np.ones(6)
    with pytest.raises(ConfigurationError, match="does not lie within the 6 bins"):
        best_interval(n, b, 2, 7)
    with pytest.raises(ConfigurationError, match="No interval of 5"):
        best_interval(n, b, 0, 4, 5, 6)
    with pytest.raises(ConfigurationError, match="floor"):
        best_interval(n, b, floor=0.0)
    with pytest.raises(InputDataError, match="whole numbers"):
        best_interval(n * 0.5, b)
    with pytest.raises(InputDataError, match="finite"):
        best_interval(n, b * np.nan)
    with pytest.raises(InputDataError, match="belong together"):
        best_interval(n, b[:5])
