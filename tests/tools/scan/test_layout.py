"""Fit range and windows: a fixed grid, requests honoured, and no choice driven by a signal."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.scan.layout import make_layout
from bumpscout_tools.scan.plan import SpectrumPlan, WindowPlan

STEP = 0.02


def on_grid(edges: np.ndarray, step: float = STEP) -> np.ndarray:
    """Positions of edges on the fixed grid; whole numbers if they lie on it."""
    return np.log(edges / 1000.0) / step


def turn_on(n: int, at: float, rng: np.random.Generator) -> np.ndarray:
    """A falling spectrum behind a turn-on at `at` GeV, 120 GeV wide."""
    mass = 1200 + rng.exponential(500, 4 * n)
    return mass[rng.random(4 * n) < 1 / (1 + np.exp(-(mass - at) / 120))][:n]


def test_edges_lie_on_one_grid_whatever_the_data(make_plan, make_mass) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        layout = make_layout(make_plan(), make_mass(8000 + 4000 * seed, rng))
        positions = on_grid(layout.edges)
        np.testing.assert_allclose(positions, np.round(positions), atol=1e-9)
        np.testing.assert_allclose(np.diff(positions), 1.0, atol=1e-9)
        for first, last in layout.windows:
            assert last - first == 6
            assert round(positions[first]) % 3 == 0


def test_windows_keep_both_side_bands_and_enough_events(make_plan, make_mass) -> None:
    mass = make_mass(16_000, np.random.default_rng(1))
    plan = make_plan(windows=WindowPlan(width_bins=6, step_bins=3, min_events=150))
    layout = make_layout(plan, mass)
    counts = layout.histogram(mass)
    tested = set(layout.windows)
    assert len(tested) >= 4
    for first in range(len(counts) - 5):
        if round(on_grid(layout.edges)[first]) % 3:
            continue
        parts = [counts[max(0, a) : a + 6].sum() for a in (first - 6, first, first + 6)]
        fits = first >= 6 and first + 12 <= len(counts) and min(parts) >= 150
        assert fits == ((first, first + 6) in tested)


def test_the_order_of_the_events_does_not_matter(make_plan, make_mass) -> None:
    mass = make_mass(9000, np.random.default_rng(2))
    one, other = make_layout(make_plan(), mass), make_layout(make_plan(), np.sort(mass))
    np.testing.assert_array_equal(one.edges, other.edges)
    assert one.windows == other.windows


def test_requested_bounds_are_honoured(make_plan, make_mass) -> None:
    mass = make_mass(30_000, np.random.default_rng(3))
    spectrum = SpectrumPlan(min_gev=2500, max_gev=4800)
    layout = make_layout(make_plan(spectrum=spectrum), mass)
    assert 2500 <= layout.edges[0] < 2500 * np.exp(STEP)
    assert 4800 * np.exp(-STEP) < layout.edges[-1] <= 4800
    positions = on_grid(layout.edges)
    np.testing.assert_allclose(positions, np.round(positions), atol=1e-9)


def test_a_bound_on_the_grid_is_an_edge(make_plan, make_mass) -> None:
    mass = make_mass(30_000, np.random.default_rng(3))
    low, high = 1000 * np.exp(STEP * 45), 1000 * np.exp(STEP * 80)
    layout = make_layout(make_plan(spectrum=SpectrumPlan(min_gev=low, max_gev=high)), mass)
    assert layout.edges[0] == pytest.approx(low)
    assert layout.edges[-1] == pytest.approx(high)


def test_a_minimum_below_the_data_changes_nothing(make_plan, make_mass) -> None:
    mass = make_mass(9000, np.random.default_rng(4))
    free = make_layout(make_plan(), mass)
    bound = make_layout(make_plan(spectrum=SpectrumPlan(min_gev=100)), mass)
    np.testing.assert_array_equal(free.edges, bound.edges)


def test_a_strong_signal_hardly_moves_the_fit_start(make_plan, make_mass) -> None:
    moved = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        mass = make_mass(16_000, rng)
        signal = rng.normal(2800, 50, 300)
        without = make_layout(make_plan(), mass)
        with_signal = make_layout(make_plan(), np.concatenate([mass, signal]))
        assert with_signal.described
        assert abs(np.log(with_signal.edges[0] / without.edges[0])) < 0.09
        moved += with_signal.edges[0] != without.edges[0]
    assert moved <= 2


def test_the_fit_starts_beyond_a_turn_on(make_plan) -> None:
    layout = make_layout(make_plan(), turn_on(30_000, 1800, np.random.default_rng(5)))
    assert layout.described
    assert 1800 < layout.edges[0] < 2600


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rng: np.exp(rng.uniform(np.log(2000), np.log(6000), 30_000)),
        lambda rng: np.concatenate(
            [2000 + rng.exponential(400, 20_000), rng.uniform(3300, 5000, 6000)]
        ),
        lambda rng: np.round(2000 + rng.exponential(500, 30_000), -2) + 1.0,
    ],
    ids=["flat with an end", "step in the middle", "rounded"],
)
def test_spectra_that_no_dijet_function_describes_are_called_so(make_plan, wrong) -> None:
    layout = make_layout(make_plan(), wrong(np.random.default_rng(6)))
    assert not layout.described
    assert layout.windows


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rng: 2000 + 4000 * np.sqrt(rng.random(30_000)),
        lambda rng: rng.uniform(2000, 6000, 30_000),
        lambda rng: rng.normal(3000, 300, 30_000),
    ],
    ids=["rising", "flat", "peak"],
)
def test_a_spectrum_that_does_not_fall_has_no_range_to_fit(make_plan, wrong) -> None:
    with pytest.raises(InputDataError, match="fewer than 20 bins"):
        make_layout(make_plan(), wrong(np.random.default_rng(6)))


@pytest.mark.parametrize(
    ("mass", "said"),
    [
        (np.zeros(0), "Only 0 events"),
        (np.full(10, 3000.0), "Only 10 events"),
        (np.full(5000, 3000.0), "fewer than 20 bins"),
        (np.full(5000, -3000.0), "Only 0 events"),
        (np.zeros(5000), "Only 0 events"),
        (np.full(5000, 20_000.0), "Only 0 events"),
    ],
    ids=["none", "ten", "one mass", "negative", "zero", "above sqrt(s)"],
)
def test_too_little_to_search_is_an_input_error(make_plan, mass: np.ndarray, said: str) -> None:
    with pytest.raises(InputDataError, match=said):
        make_layout(make_plan(), mass)


def test_few_impossible_masses_do_not_disturb(make_plan, make_mass) -> None:
    mass = make_mass(9000, np.random.default_rng(7))
    spoiled = np.concatenate([mass, [0.0, -5.0, 1e-300, 12_999.9, 5e6]])
    one, other = make_layout(make_plan(), mass), make_layout(make_plan(), spoiled)
    np.testing.assert_array_equal(one.edges, other.edges)


@pytest.mark.parametrize("bounds", [(6500, None), (None, 2050), (20_000, 30_000)])
def test_a_request_that_leaves_nothing_is_an_input_error(make_plan, make_mass, bounds) -> None:
    spectrum = SpectrumPlan(min_gev=bounds[0], max_gev=bounds[1])
    with pytest.raises(InputDataError):
        make_layout(make_plan(spectrum=spectrum), make_mass(9000, np.random.default_rng(8)))


def test_windows_too_wide_for_the_spectrum_are_an_input_error(make_plan, make_mass) -> None:
    plan = make_plan(windows=WindowPlan(width_bins=50, step_bins=1, min_events=20))
    with pytest.raises(InputDataError, match="No signal window fits"):
        make_layout(plan, make_mass(9000, np.random.default_rng(9)))


@pytest.mark.parametrize(("sqrt_s", "width"), [(7000.0, 0.04), (7000.0, 0.02), (13_000.0, 0.02)])
def test_masses_near_the_collision_energy_end_the_fit_below_it(
    make_plan, make_mass, sqrt_s: float, width: float
) -> None:
    plan = make_plan(
        spectrum=SpectrumPlan(bin_log_width=width),
        background={"orders": (2, 3, 4), "sqrt_s_gev": sqrt_s},
        windows=WindowPlan(width_bins=2, step_bins=1, min_events=20),
    )
    mass = np.append(make_mass(9000, np.random.default_rng(10)), [0.979 * sqrt_s, 2 * sqrt_s])
    layout = make_layout(plan, mass)
    assert 0.95 * sqrt_s < layout.edges[-1] < sqrt_s
