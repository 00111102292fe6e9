"""Global p-values of background-only data sets are uniform, and those of broken nulls are not.

A fast form of `validation/statistics/uniformity.py`: fewer data sets and toys, the same test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import Spectrum, hunt_spectrum, make_model
from bumpscout_tools.background.global_p import recalibrated
from bumpscout_tools.statistics import bin_windows, hunt_batch

Array = NDArray[Any]

N_TOYS = 99
WINDOWS = bin_windows(50, 2, 10)


def randomised(z: float, toy_z: Array, rng: np.random.Generator) -> float:
    same = np.abs(toy_z - z) <= 1e-9 * max(1.0, abs(z))
    above = np.count_nonzero((toy_z > z) & ~same) + rng.integers(np.count_nonzero(same) + 1)
    return float((above + rng.random()) / (toy_z.size + 1))


def p_values(name: str, mean: Array, edges: Array, n_sets: int, refit: bool = True) -> Array:
    rng = np.random.default_rng(11)
    p = []
    for counts in rng.poisson(mean, (n_sets, 50)).astype(float):
        model = make_model(name, Spectrum(edges, counts, mean))
        seed = int(rng.integers(1 << 62))
        found = hunt_spectrum(counts, model, WINDOWS, n_toys=N_TOYS, refit=refit, seed=seed)
        p.append(randomised(found.threshold_z, found.toy_z, rng))
    return np.array(p)


@pytest.mark.parametrize(
    ("name", "total"),
    [("expected", 100.0), ("p3", 100.0), ("p4", 300.0), ("auto", 60.0), ("auto", 1e4)],
)
def test_p_is_uniform(
    edges: Array, smooth: Callable[[float], Array], name: str, total: float
) -> None:
    p = p_values(name, smooth(total), edges, 300)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert stats.binom.sf(np.count_nonzero(p < 0.05) - 1, 300, 0.05) > 0.01


def test_toys_that_are_not_refitted_fail(edges: Array, smooth: Callable[[float], Array]) -> None:
    p = p_values("p4", smooth(1e4), edges, 400, refit=False)
    assert stats.kstest(p, "uniform").pvalue < 1e-4


@pytest.mark.parametrize("broken", ["drawn from the data", "shifted"])
def test_broken_nulls_fail(edges: Array, smooth: Callable[[float], Array], broken: str) -> None:
    rng = np.random.default_rng(12)
    model = make_model("p3", Spectrum(edges, np.ones(50)))
    bins = np.arange(50.0)
    p = []
    for counts in rng.poisson(smooth(1e4), (200, 50)).astype(float):
        fitted = model.fit(counts[None]).expected
        if broken == "shifted":
            fitted = np.exp(np.interp(bins - 0.25, bins, np.log(fitted[0])))[None]
        null = counts if broken == "drawn from the data" else fitted[0]
        toys = rng.poisson(null, (N_TOYS, 50)).astype(float)
        toy_z = hunt_batch(toys, model.fit(toys).expected, WINDOWS).z
        p.append(randomised(float(hunt_batch(counts[None], fitted, WINDOWS).z[0]), toy_z, rng))
    assert stats.kstest(p, "uniform").pvalue < 1e-4


def test_the_null_of_a_chosen_order_is_one_order_richer(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    counts = np.random.default_rng(13).poisson(smooth(300.0), (60, 50)).astype(float)
    model = make_model("auto", Spectrum(edges, counts[0]))
    fitted = model.fit(counts)
    null = model.null(counts, fitted)
    seen = set()
    for row in range(60):
        above = min(int(fitted.order[row]) + 1, 6)
        fixed = make_model(f"p{above}", Spectrum(edges, counts[row])).fit(counts[row][None])
        if fixed.status_of(0) == "converged":
            np.testing.assert_allclose(null[row], fixed.expected[0], rtol=1e-3, atol=1e-4)
            seen.add(above)
    assert len(seen) > 1
    one_order = make_model("p3", Spectrum(edges, counts[0]))
    again = one_order.fit(counts)
    np.testing.assert_array_equal(one_order.null(counts, again), again.expected)


def test_a_threshold_is_moved_as_toys_of_toys_move_and_only_down() -> None:
    first = np.random.default_rng(14).normal(2.0, 0.5, 20_001)
    assert recalibrated(3.0, first, first - 0.1) == pytest.approx(2.9)
    assert recalibrated(3.0, first, 2.0 + 0.8 * (first - 2.0)) == pytest.approx(2.8, abs=0.02)
    assert recalibrated(3.0, first, first + 0.1) == 3.0
    assert recalibrated(3.0, np.ones(50), np.zeros(50)) == 3.0
    assert recalibrated(3.0, np.full(50, -np.inf), first) == 3.0
    assert recalibrated(-np.inf, first, first) == -np.inf
