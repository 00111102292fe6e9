"""The grid: fits and hunts of nested working points, toys for any executor, uniform p-values."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import DijetBasis, fit_batch
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.inference import (
    TOYS_PER_BLOCK,
    EventToys,
    GridSpectrum,
    fit_grid,
    grid_largest,
    grid_toys,
    levels_by_rank,
    search_grid,
)
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.statistics import best_interval

Array = NDArray[Any]
N_BINS, N_SPECTRA, ORDER = 20, 3, 3
BASIS = DijetBasis(np.geomspace(2000.0, 4500.0, N_BINS + 1), 13000.0, ORDER)
SPECTRA = [GridSpectrum(BASIS, (ORDER,), (2, 6))] * N_SPECTRA
N_SELECTED = (4000, 2500, 1500, 900, 500, 250)


def events(rng: np.random.Generator, n: float = 12_000, peak: int = 0) -> EventToys:
    """Return three overlapping spectra of power laws at six cuts, with a peak in the tight ones."""
    size = rng.poisson(n)
    lead = 1500.0 * np.exp(rng.exponential(0.25, size))
    lead[:peak] = 3000.0 * (1.0 + 0.02 * rng.standard_normal(peak))
    near = lead * np.exp(0.04 * rng.standard_normal(size) * (rng.random(size) < 0.4))
    rare = np.where(rng.random(size) < 0.3, lead, 0.0)
    masses = np.stack([lead, near, rare], axis=1)
    bins = np.searchsorted(BASIS.edges_gev, masses, side="right") - 1
    bins[bins >= N_BINS] = -1
    score = rng.random(size)
    score[:peak] += 1.0
    return EventToys.from_events(
        bins, levels_by_rank(score, N_SELECTED), (N_BINS,) * N_SPECTRA, len(N_SELECTED)
    )


def test_each_working_point_is_fitted_and_hunted() -> None:
    data = events(np.random.default_rng(1))
    found = fit_grid(data, SPECTRA)
    for s, counts in enumerate(data.expected()):
        own = counts.sum(axis=1) >= 20 * ORDER
        np.testing.assert_array_equal(found.own_shape[s], own)
        means = fit_batch(counts.copy(), BASIS, ORDER).expected
        last = int(np.flatnonzero(own)[-1])
        means[last + 1 :] = (
            means[last] * (counts[last + 1 :].sum(axis=1) / means[last].sum())[:, None]
        )
        np.testing.assert_allclose(found.expected[s], means, rtol=1e-9)
        for w in np.flatnonzero(counts.sum(axis=1) >= 20):
            one = best_interval(counts[w], means[w], 0, None, 2, 6)
            assert found.z[s, w] == pytest.approx(one.local_z, abs=1e-9)
            assert (found.start[s, w], found.stop[s, w]) == (one.start, one.stop)
    # The rarest spectrum has both: shapes from looser points, and too few events to be hunted.
    assert not found.own_shape[2].all()
    np.testing.assert_array_equal(found.part[2], data.expected()[2].sum(axis=1) >= 20)
    assert np.all(found.z[~found.part] == -np.inf)


def test_results_do_not_depend_on_the_executor() -> None:
    data = events(np.random.default_rng(2))
    n = TOYS_PER_BLOCK + 5
    one = search_grid(data, SPECTRA, n, 7, SerialExecutor())
    with ThreadPoolExecutor(3) as threads:
        many = search_grid(data, SPECTRA, n, 7, threads)
        null = data.on_null(one.fit.expected)
        last = list(grid_toys(null, SPECTRA, 7, range(1, 2), threads))
    assert one.n_toys == n
    assert one.p == many.p
    for name in ("largest", "spectrum", "level", "reached", "mean", "width"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    assert last[0].first == TOYS_PER_BLOCK
    masked = np.where(one.fit.part, last[0].z, -np.inf)[:5]
    np.testing.assert_array_equal(masked.max(axis=(1, 2)), one.largest[TOYS_PER_BLOCK:])
    other = search_grid(data, SPECTRA, n, 8, SerialExecutor())
    assert np.any(other.largest != one.largest)


def test_the_largest_of_each_toy_and_the_cells() -> None:
    data = events(np.random.default_rng(3))
    done: list[tuple[int, int]] = []
    found = search_grid(
        data, SPECTRA, 64, 1, SerialExecutor(), lambda n, total: done.append((n, total))
    )
    null = data.on_null(found.fit.expected)
    z = np.concatenate([b.z for b in grid_toys(null, SPECTRA, 1, range(2), SerialExecutor())])
    np.testing.assert_allclose(found.mean, z.mean(axis=0))
    np.testing.assert_allclose(found.width, z.std(axis=0))
    np.testing.assert_array_equal(found.reached[0], (z[:, 0] >= found.fit.z[0]).sum(axis=0))
    at = (np.arange(64), found.spectrum, found.level)
    np.testing.assert_array_equal(z[at], found.largest)
    s, w = found.fit.best
    assert found.p.value == (np.sum(found.largest >= found.fit.z[s, w]) + 1) / 65
    assert done == [(32, 64), (64, 64)]


def test_a_peak_is_found() -> None:
    data = events(np.random.default_rng(4), peak=45)
    found = search_grid(data, SPECTRA, 96, 1, SerialExecutor())
    s, w = found.fit.best
    assert found.fit.z[s, w] > 5.0
    low, high = found.fit.start[s, w], found.fit.stop[s, w]
    assert BASIS.edges_gev[low] < 3000.0 < BASIS.edges_gev[high]
    assert found.p.value == pytest.approx(1.0 / 97.0)


def test_orders_are_chosen_in_each_toy() -> None:
    data = events(np.random.default_rng(5))
    chosen = [GridSpectrum(BASIS, (2, 3), (2, 6))] * N_SPECTRA
    null = data.on_null(fit_grid(data, chosen).expected)
    slices = null.draw_slices(np.random.default_rng(6), 32)
    both = grid_largest(null, chosen, slices)
    two = grid_largest(null, [GridSpectrum(BASIS, (2,), (2, 6))] * N_SPECTRA, slices)
    three = grid_largest(null, SPECTRA, slices)
    # At the loosest working point every fit has its own shape; the rarest has 380 events there.
    is_two, is_three = (np.isclose(both[:, 2, 0], z[:, 2, 0], atol=1e-3) for z in (two, three))
    assert np.all(is_two | is_three)
    assert np.any(is_two & ~is_three)
    assert np.any(is_three & ~is_two)


def warp_speed(n_sets: int, kind: str) -> Array:
    """Return p of background-only data sets, each ranked among the toys of all others."""
    rng = np.random.default_rng(11)
    data, toys = np.empty((n_sets, 1)), np.empty((n_sets, 4))
    for i in range(n_sets):
        cells = events(rng)
        fit = fit_grid(cells, SPECTRA)
        null = cells.on_null(fit.expected)
        slices = (cells if kind == "not recentred" else null).draw_slices(rng, 4)
        if kind == "not refitted":
            counts = [null.nested(slices, s) for s in range(N_SPECTRA)]
            means = [np.tile(mu, (4, 1, 1)) for mu in fit.expected]
            z = np.stack(
                [one.hunt(n, mu) for one, n, mu in zip(SPECTRA, counts, means, strict=True)], axis=1
            )
        else:
            z = grid_largest(null, SPECTRA, slices)
        data[i] = fit.z.max()
        toys[i] = np.where(fit.part, z, -np.inf).max(axis=(1, 2))
    above = toys.size - np.searchsorted(np.sort(toys, axis=None), data[:, 0])
    return (above - (toys >= data).sum(axis=1) + rng.random(n_sets)) / (toys.size - 3)


def uniform_p(p: Array) -> float:
    """Return the KS probability; the pool is a sample as well, four times as large."""
    return float(stats.ks_2samp(p, (np.arange(4 * len(p)) + 0.5) / (4 * len(p))).pvalue)


def test_global_p_is_uniform_on_background() -> None:
    assert uniform_p(warp_speed(500, "as offered")) > 0.01


@pytest.mark.parametrize("kind", ["not refitted", "not recentred"])
def test_broken_nulls_are_noticed(kind: str) -> None:
    assert uniform_p(warp_speed(150, kind)) < 1e-6


def test_what_does_not_fit_is_refused() -> None:
    data = events(np.random.default_rng(7))
    with pytest.raises(InputDataError, match="one spectrum for each"):
        fit_grid(data, SPECTRA[:2])
    with pytest.raises(ConfigurationError, match="at least one toy"):
        search_grid(data, SPECTRA, 0, 1, SerialExecutor())
    few = EventToys.from_events(np.full((10, 1), 3), np.zeros(10, int), (N_BINS,), 1)
    with pytest.raises(ConfigurationError, match="enough events"):
        search_grid(few, SPECTRA[:1], 1, 1, SerialExecutor())
