"""Global p-values of the peak scan are uniform on background-only data, by warp-speed toys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import DijetBasis, select_order_batch
from bumpscout_tools.inference import global_p, peak_grid, scan_peaks, toy_scan

Array = NDArray[Any]
PEAKS = peak_grid(np.linspace(2200.0, 4900.0, 15), [0.0, 0.1], 0.03)
N_DATA = 1000
TOYS_EACH = 4


def ranks(
    basis: DijetBasis, truth: Array, orders: tuple[int, ...], seed: int, shift: float = 0.0
) -> Array:
    """Return p of each data set in the pool of the toys, four from the fit to each data set.

    `shift` breaks the null: the toys come from a fit that is tilted by it.
    """
    rng = np.random.default_rng(seed)
    data = rng.poisson(truth, (N_DATA, truth.size)).astype(float)
    expected = select_order_batch(data, basis, orders).expected
    expected = expected * np.exp(shift * np.cos(np.linspace(0, 6 * np.pi, truth.size)))
    toys = rng.poisson(np.repeat(expected, TOYS_EACH, axis=0))
    pool = toy_scan(toys, basis, orders, PEAKS).max(axis=1)
    observed = toy_scan(data, basis, orders, PEAKS).max(axis=1)
    reached = pool.size - np.searchsorted(np.sort(pool), observed)
    return (reached + rng.random(N_DATA)) / (pool.size + 1)


def uniform_p(p: Array) -> float:
    """Return the KS probability; the pool is a sample as well, so that two samples are compared."""
    grid = (np.arange(TOYS_EACH * N_DATA) + 0.5) / (TOYS_EACH * N_DATA)
    return float(stats.ks_2samp(p, grid).pvalue)


@pytest.mark.parametrize("events", [300.0, 3e3, 2e5])
def test_refit_toys(basis: DijetBasis, smooth: Array, events: float) -> None:
    # The narrowest peaks expect 0.7, 6 and 430 events.
    assert uniform_p(ranks(basis, smooth * events / smooth.sum(), (3,), 3)) > 0.01


@pytest.mark.parametrize("events", [300.0, 3e3, 2e5])
def test_order_chosen_in_each_toy(basis: DijetBasis, edges: Array, events: float) -> None:
    # The truth has the lowest order: one that few events cannot tell from it would be a misfit.
    x = np.sqrt(edges[1:] * edges[:-1]) / 13000.0
    shape = (1 - x) ** 22 * np.diff(edges)
    assert uniform_p(ranks(basis, events * shape / shape.sum(), (2, 3, 4), 3)) > 0.01


def test_a_null_of_another_shape_is_noticed(basis: DijetBasis, smooth: Array) -> None:
    p = ranks(basis, smooth, (3,), 1, shift=0.03)
    assert uniform_p(p) < 1e-6


def test_weighted_toys_agree_with_counted_ones_where_few_events_are_left(
    basis: DijetBasis, smooth: Array
) -> None:
    counts = np.random.default_rng(2).poisson(smooth / 1000)
    scan = scan_peaks(counts, basis, 3, PEAKS)
    # The p-value at a z of choice: the largest of the scan is put there.
    scan.z[scan.best] = 2.8
    scan.z[:] = np.minimum(scan.z, 2.8)
    rng = np.random.default_rng(3)
    toys = global_p(rng, scan, basis, n_toys=4000)
    weighted = global_p(rng, scan, basis, method="importance-sampled refit toys", n_toys=1500)
    assert toys.method == "refit toys"
    spread = np.hypot(toys.high - toys.low, weighted.high - weighted.low)
    assert abs(toys.value - weighted.value) < 2 * spread
