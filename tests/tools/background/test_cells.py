"""The test of one cell of the scan: side-band fit and hunt together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis, cell_z_batch, select_order, window_mask
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.statistics import best_interval

Array = NDArray[Any]

ORDERS = (2, 3, 4, 5)


def test_toys_are_treated_as_the_data_are(edges: Array, smooth: Callable[[float], Array]) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    toys = np.random.default_rng(1).poisson(smooth(400.0), (60, 50))
    z = cell_z_batch(toys, basis, ORDERS, 0.05, (18, 24), (2, 6))
    for t in range(60):
        chosen = select_order(toys[t], basis, ORDERS, 0.05, window_mask(50, (18, 24)))
        alone = best_interval(toys[t], chosen.fit.expected, 18, 24, 2, 6)
        assert z[t] == pytest.approx(alone.local_z, rel=1e-9)


def test_a_signal_in_the_window_is_seen_and_background_is_not(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    mean = smooth(20000.0)
    rng = np.random.default_rng(2)
    null = cell_z_batch(rng.poisson(mean, (2000, 50)), basis, ORDERS, 0.05, (18, 24), (2, 6))
    assert 0.5 < np.median(null) < 1.5
    assert np.mean(null > 3) < 0.05
    mean[20:22] += 6 * np.sqrt(mean[20:22].sum()) / 2
    signal = cell_z_batch(rng.poisson(mean, (500, 50)), basis, ORDERS, 0.05, (18, 24), (2, 6))
    assert np.median(signal) > 4.5


def test_threads_and_chunks_change_nothing(edges: Array, smooth: Callable[[float], Array]) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    toys = np.random.default_rng(3).poisson(smooth(1000.0), (400, 50))
    whole = cell_z_batch(toys, basis, ORDERS, 0.05, (18, 24), (2, 6))

    def part(chunk: Array) -> Array:
        return cell_z_batch(chunk, basis, ORDERS, 0.05, (18, 24), (2, 6))

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(part, np.array_split(toys, 16)))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_window_outside_the_bins_is_refused(edges: Array) -> None:
    with pytest.raises(ConfigurationError, match="bins 48 to 52"):
        cell_z_batch(
            np.ones((1, 50)), DijetBasis(edges, 13000.0, 5), ORDERS, 0.05, (48, 52), (2, 3)
        )
