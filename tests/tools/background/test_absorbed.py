"""A peak that a larger order has absorbed is told of, and background alone seldom is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background import Spectrum, make_model
from bumpscout_tools.background.absorbed import absorbed_peak
from bumpscout_tools.statistics import bin_windows, hunt_batch

Array = NDArray[Any]

WINDOWS = bin_windows(50)


def peaked(mean: Array, centre: int, events: float, seed: int) -> Array:
    shape = np.exp(-0.5 * (np.arange(50.0) - centre) ** 2)
    signal = events * shape / shape.sum()
    return np.random.default_rng(seed).poisson(mean + signal).astype(float)


def test_a_peak_that_p6_follows_is_found_again(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    # 30 events of signal on 7 of background: p6 takes nearly all of them for background.
    mean = smooth(1e3)
    lost = told = 0
    for seed in range(40):
        counts = peaked(mean, 35, 30.0, seed)
        model = make_model("auto", Spectrum(edges, counts))
        fitted = model.fit(counts[None])
        if hunt_batch(counts[None], fitted.expected, WINDOWS).z[0] > 4.5:
            continue
        lost += 1
        found = absorbed_peak(counts, model, WINDOWS)
        if found is not None:
            told += 1
            assert found.start <= 36
            assert found.stop > 34
            assert found.order < fitted.order[0]
            assert found.z > 5
        fixed = make_model("p3", Spectrum(edges, counts))
        assert absorbed_peak(counts, fixed, WINDOWS) is None
    assert lost > 20
    assert told > 0.6 * lost


def test_background_alone_is_seldom_told_of(edges: Array, smooth: Callable[[float], Array]) -> None:
    for total in (300.0, 1e4, 1e6):
        sets = np.random.default_rng(4).poisson(smooth(total), (100, 50)).astype(float)
        model = make_model("auto", Spectrum(edges, sets[0]))
        assert sum(absorbed_peak(counts, model, WINDOWS) is not None for counts in sets) <= 5


def test_nothing_is_said_where_no_window_is_left(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    counts = peaked(smooth(1e3), 20, 50.0, 1)
    model = make_model("auto", Spectrum(edges, counts))
    assert absorbed_peak(counts, model, bin_windows(50, 20, 25)) is None
