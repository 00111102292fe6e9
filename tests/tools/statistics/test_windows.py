"""The hunt over any windows, for excesses and deficits, with side bands: against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.statistics import (
    SIDE_BAND_P,
    WindowSet,
    best_interval_batch,
    bin_windows,
    deficit_z,
    hunt_batch,
    mass_windows,
    poisson_z,
)

Array = NDArray[Any]


def deficit_by_scipy(d: float, b: float) -> float:
    """Return z of P(N <= d | b) from whichever tail keeps its digits."""
    if d < b:
        return float(-special.ndtri_exp(stats.poisson.logcdf(d, b)))
    return float(special.ndtri_exp(stats.poisson.logsf(d, b)))


def quiet(d: float, b: float) -> bool:
    p = stats.poisson.sf(d - 1, b) if d >= b else stats.poisson.cdf(d, b)
    return bool(p > SIDE_BAND_P)


def brute_force(n: Array, b: Array, windows: WindowSet, deficits: bool, side: bool) -> float:
    best = -np.inf
    for start, stop in zip(windows.starts, windows.stops, strict=True):
        d, mean = n[start:stop].sum(), b[start:stop].sum()
        z = deficit_by_scipy(d, mean) if deficits else float(poisson_z(d, mean))
        half = max((stop - start) // 2, 1)
        left, right = slice(max(start - half, 0), start), slice(stop, stop + half)
        bands = [band for band in (left, right) if n[band].size]
        if z > best and (not side or all(quiet(n[s].sum(), b[s].sum()) for s in bands)):
            best = z
    return best


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0, 3000.0])
@pytest.mark.parametrize("deficits", [False, True])
@pytest.mark.parametrize("side", [False, True])
def test_pruning_loses_nothing(scale: float, deficits: bool, side: bool) -> None:
    rng = np.random.default_rng(int(scale * 100))
    b = scale * np.exp(-np.linspace(0, 4, 18)) * rng.uniform(0.5, 1.5, (60, 18))
    size = 4.0 if side else 1.0
    wild = 1.0 + size * rng.choice([-0.2, 0.0, 0.4], (60, 18)) / np.sqrt(max(scale, 1.0))
    n = rng.poisson(np.maximum(b * wild, 0.0)).astype(float)
    windows = bin_windows(18, 1, 7)
    found = hunt_batch(n, b, windows, deficits=deficits, side_bands=side)
    for t in range(60):
        z = brute_force(n[t], b[t], windows, deficits, side)
        assert found.z[t] == pytest.approx(z, rel=1e-6, abs=1e-6)
        if found.index[t] >= 0:
            start, stop = windows.starts[found.index[t]], windows.stops[found.index[t]]
            alone = WindowSet(np.array([start]), np.array([stop]))
            assert hunt_batch(n[t : t + 1], b[t], alone, deficits=deficits).z[0] == found.z[t]


@pytest.mark.parametrize("scale", [0.05, 50.0])
@pytest.mark.parametrize("low", [1, 3])
def test_all_bin_windows_are_those_of_the_plain_hunt(scale: float, low: int) -> None:
    rng = np.random.default_rng(3)
    b = scale * np.exp(-np.linspace(0, 3, 40))
    n = rng.poisson(b, (200, 40))
    windows = bin_windows(40, low, 20)
    plain = best_interval_batch(n, b, 0, None, low, 20)
    one_by_one = WindowSet(windows.starts, windows.stops)
    for found in (hunt_batch(n, b, windows), hunt_batch(n, b, one_by_one)):
        np.testing.assert_array_equal(found.z, plain.z)
        np.testing.assert_array_equal(windows.starts[found.index], plain.start)
        np.testing.assert_array_equal(windows.stops[found.index], plain.stop)


def test_a_tie_goes_to_the_narrowest_then_leftmost_window() -> None:
    b = np.full((1, 12), 10.0)
    n = b.copy()
    n[0, [2, 3, 7, 8]] = 20
    assert best_interval_batch(n, b, 0, None, 2, 6).start[0] == 2
    windows = bin_windows(12, 2, 6)
    assert windows.starts[hunt_batch(n, b, windows).index[0]] == 2


def test_side_bands_pass_over_a_window_next_to_a_hole() -> None:
    b = np.full((1, 20), 100.0)
    n = b.copy()
    n[0, 5:7] = 150
    n[0, 7] = 50
    n[0, 14:16] = 130
    windows = bin_windows(20, 2, 2)
    assert windows.starts[hunt_batch(n, b, windows).index[0]] == 5
    assert windows.starts[hunt_batch(n, b, windows, side_bands=True).index[0]] == 14


def test_when_side_bands_forbid_everything_there_is_no_window() -> None:
    b = np.full((1, 4), 100.0)
    n = np.array([[1000.0, 1.0, 1000.0, 1.0]])
    found = hunt_batch(n, b, bin_windows(4, 1, 1), side_bands=True)
    assert found.index[0] == -1
    assert found.z[0] == -np.inf


def test_windows_of_the_resolution_are_as_wide_as_it() -> None:
    edges = np.geomspace(1000, 5000, 400)
    windows = mass_windows(edges, 0.03, (1.0, 2.0))
    low, high = edges[windows.starts], edges[windows.stops]
    width = (high - low) / (0.5 * (high + low)) / 0.03
    assert set(np.round(width).astype(int)) == {1, 2}
    assert np.abs(width - np.round(width)).max() < 0.08
    pairs = set(zip(windows.starts, windows.stops, strict=True))
    assert len(pairs) == len(windows)


def test_deficits_are_the_lower_tail() -> None:
    assert deficit_z(4, 10.0) == pytest.approx(-stats.norm.ppf(stats.poisson.cdf(4, 10)))
    assert deficit_z(0, 2.0) == pytest.approx(-stats.norm.ppf(np.exp(-2)))
    assert deficit_z(15, 10.0) < 0
    assert deficit_z(0, 800.0) == pytest.approx(-special.ndtri_exp(-800.0), rel=1e-6)


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="3 to 2 bins"):
        bin_windows(10, 3, 2)
    with pytest.raises(ConfigurationError, match="1 to 11 bins"):
        bin_windows(10, 1, 11)
    with pytest.raises(ConfigurationError, match="resolution of 0"):
        mass_windows([1000, 1100], 0.0)
    with pytest.raises(InputDataError, match="beyond the 4 bins"):
        hunt_batch(np.ones((1, 4)), np.ones(4), bin_windows(5))
