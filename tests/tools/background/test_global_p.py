"""The bump hunt on one spectrum: published results, and p-values that are p-values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import Spectrum, hunt_spectrum, make_model
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.statistics import bin_windows, poisson_p

Array = NDArray[Any]


def spectrum_of(table: Array) -> Spectrum:
    expected = table[:, 3] if table.shape[1] > 3 else None
    return Spectrum(np.append(table[:, 0], table[-1, 1]), table[:, 2], expected)


@pytest.mark.parametrize(
    ("name", "model", "interval", "p_refit", "p_kept"),
    [
        ("atlas_dijet_13tev_37fb", "p4", (4326, 4595), 0.643, 0.741),
        ("atlas_dijet_13tev_37fb", "p5", (4326, 4595), 0.606, 0.729),
        ("atlas_dijet_13tev_139fb", "p3", (3672, 5487), 0.037, 0.067),
        ("atlas_dijet_13tev_139fb", "p4", (1341, 1416), 0.664, 0.752),
        ("atlas_dijet_13tev_139fb", "p5", (7904, 8208), 0.512, 0.653),
        ("atlas_dijet_13tev_139fb", "p6", (7904, 8208), 0.204, 0.404),
        ("cms_dijet_13tev_137fb", "p4", (4509, 5058), 0.653, 0.762),
    ],
)
def test_published_spectra(
    spectrum: Callable[[str], Array],
    name: str,
    model: str,
    interval: tuple[int, int],
    p_refit: float,
    p_kept: float,
) -> None:
    data = spectrum_of(spectrum(name))
    background, windows = make_model(model, data), bin_windows(data.n_bins)
    for refit, p in ((True, p_refit), (False, p_kept)):
        found = hunt_spectrum(data.observed, background, windows, n_toys=4000, refit=refit, seed=2)
        assert (data.edges[found.start], data.edges[found.stop]) == interval
        assert found.global_p.value == pytest.approx(p, abs=0.03)
        assert ("not refitted" in found.method) != refit


def test_the_numbers_belong_together(edges: Array, smooth: Callable[[float], Array]) -> None:
    counts = np.random.default_rng(1).poisson(smooth(5e3)).astype(float)
    data = Spectrum(edges, counts)
    calls: list[tuple[int, int]] = []
    found = hunt_spectrum(
        counts,
        make_model("auto", data),
        bin_windows(50),
        n_toys=700,
        progress=lambda done, total: calls.append((done, total)),
    )
    inside = slice(found.start, found.stop)
    assert found.n_observed == counts[inside].sum()
    assert found.n_expected == pytest.approx(found.expected[inside].sum())
    assert found.local_p == pytest.approx(float(poisson_p(found.n_observed, found.n_expected)))
    assert found.threshold_z <= found.local_z
    reached = int(np.count_nonzero(found.toy_z >= found.threshold_z))
    assert found.n_reached == reached
    assert found.global_p.value == (reached + 1) / 701
    assert found.global_p.low < found.global_p.value < found.global_p.high
    assert calls == [(500, 700), (700, 700)]
    assert "one order above the chosen one" in found.method
    assert "the order chosen anew in each" in found.method
    assert "recalibrated" in found.method


def test_a_seed_fixes_the_result_and_nothing_else_does(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    data = Spectrum(edges, np.random.default_rng(2).poisson(smooth(2e3)).astype(float))
    model, windows = make_model("p3", data), bin_windows(50)

    def toys(n_toys: int, seed: int) -> Array:
        return hunt_spectrum(data.observed, model, windows, n_toys=n_toys, seed=seed).toy_z

    np.random.seed(0)
    first = toys(600, 5)
    np.random.seed(1)
    np.testing.assert_array_equal(first, toys(600, 5))
    np.testing.assert_array_equal(first[:500], toys(1000, 5)[:500])
    assert not np.array_equal(first, toys(600, 6))


@pytest.mark.parametrize("deficits", [False, True])
def test_p_is_uniform_on_background_and_small_on_a_signal(
    edges: Array, smooth: Callable[[float], Array], deficits: bool
) -> None:
    windows = bin_windows(50, 2, 10)
    mean = smooth(2e4)
    p = []
    for counts in np.random.default_rng(3).poisson(mean, (120, 50)).astype(float):
        model = make_model("p3", Spectrum(edges, counts))
        found = hunt_spectrum(counts, model, windows, n_toys=120, deficits=deficits)
        p.append(found.global_p.value)
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.15)
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.09)
    signal = np.random.default_rng(4).poisson(mean).astype(float)
    signal[22:25] = np.round(signal[22:25] * (0.4 if deficits else 1.5))
    model = make_model("p3", Spectrum(edges, signal))
    found = hunt_spectrum(signal, model, windows, n_toys=300, deficits=deficits)
    assert found.n_reached == 0
    assert found.global_p.value == 1 / 301
    assert found.global_p.low == 0
    assert found.start < 25
    assert found.stop > 22


@pytest.mark.parametrize("at", [5, 20, 30, 45])
def test_events_of_a_single_bin_are_no_background(edges: Array, at: int) -> None:
    # Orders from 3 on put all of a function into one bin, without a finite optimum: toys of such a
    # null would hold the peak, and half of them would reach the data.
    counts = np.zeros(50)
    counts[at] = 40.0
    model = make_model("auto", Spectrum(edges, counts))
    fitted = model.fit(counts[None])
    assert fitted.order[0] == 2
    np.testing.assert_array_equal(model.null(counts[None], fitted), fitted.expected)
    found = hunt_spectrum(counts, model, bin_windows(50), n_toys=500)
    assert found.local_z > 9
    assert found.n_reached == 0


def test_a_given_background_is_not_fitted(edges: Array, smooth: Callable[[float], Array]) -> None:
    mean = smooth(2e3)
    counts = np.random.default_rng(5).poisson(mean).astype(float)
    data = Spectrum(edges, counts, 0.5 * mean)
    given = hunt_spectrum(counts, make_model("expected", data), bin_windows(50), n_toys=50)
    np.testing.assert_array_equal(given.expected, 0.5 * mean)
    assert given.method == "50 Poisson toys of the given background"
    scaled = hunt_spectrum(counts, make_model("template", data), bin_windows(50), n_toys=50)
    assert scaled.expected.sum() == pytest.approx(counts.sum(), rel=1e-6)
    assert given.local_z > scaled.local_z


def test_sliding_windows_can_be_hunted(edges: Array, smooth: Callable[[float], Array]) -> None:
    counts = np.random.default_rng(6).poisson(smooth(1e5)).astype(float)
    data = Spectrum(edges, counts)
    found = hunt_spectrum(counts, make_model("sliding-p3", data), bin_windows(50, 2, 6), n_toys=60)
    assert 0 < found.global_p.value <= 1
    assert "sliding-p3" in found.method


def test_side_bands_that_forbid_everything_give_p_1(edges: Array) -> None:
    counts = np.tile([1000.0, 1.0], 25)
    data = Spectrum(edges, counts, np.full(50, 500.0))
    found = hunt_spectrum(
        counts, make_model("expected", data), bin_windows(50, 1, 1), n_toys=30, side_bands=True
    )
    assert (found.start, found.stop, found.global_p.value) == (0, 0, 1.0)


def test_names_of_backgrounds(edges: Array) -> None:
    data = Spectrum(edges, np.ones(50))
    assert make_model("auto", data).orders == (2, 3, 4, 5, 6)
    assert make_model("p4", data).orders == (4,)
    assert make_model("ua2", data).orders == (4,)
    assert make_model("ua2-3", data).orders == (3,)
    for name in ("p1", "p7", "best", "ua2-9", "sliding-4"):
        with pytest.raises(ConfigurationError):
            make_model(name, data)
    with pytest.raises(InputDataError, match="needs a column `expected`"):
        make_model("template", data)
    holes = Spectrum(edges, np.ones(50), np.append(np.ones(49), 0.0))
    with pytest.raises(InputDataError, match="column `expected` holds 0"):
        make_model("expected", holes)
    with pytest.raises(ConfigurationError, match="at least one toy"):
        hunt_spectrum(data.observed, make_model("p3", data), bin_windows(50), n_toys=0)
