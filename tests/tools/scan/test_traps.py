"""Traps of data-trained scans that no other test holds; docs/statistics.md lists them all."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.scan.cells import fit_cell
from bumpscout_tools.scan.layout import make_layout
from bumpscout_tools.statistics import best_interval


def cell_of(plan, layout, counts: np.ndarray, window: int):
    return fit_cell(
        plan,
        layout,
        counts=counts,
        window=window,
        efficiency=0.1,
        detector=0,
        stage="coarse",
        test_id="",
        rng=np.random.default_rng(1),
    ).cell


def test_a_score_is_hunted_inside_its_own_window_only(make_plan, make_mass) -> None:
    """Outside, where the side bands were trained to look dull, a bump counts for nothing."""
    plan, mass = make_plan(), make_mass(20_000, np.random.default_rng(3))
    layout = make_layout(plan, mass)
    counts = layout.histogram(mass)
    first, last = layout.windows[1]
    for bin_number, inside in ((first + 2, True), (last + 2, False)):
        spiked = counts.copy()
        spiked[bin_number] += round(8 * np.sqrt(counts[bin_number]))
        cell = cell_of(plan, layout, spiked, 1)
        low, high = cell.interval_gev
        assert layout.edges[first] <= low < high <= layout.edges[last]
        assert (cell.local_z > 4) == inside


def test_the_yield_at_a_scanned_maximum_is_too_large_and_at_a_fixed_place_it_is_not() -> None:
    rng = np.random.default_rng(2)
    expected = np.full(12, 100.0)
    signal = np.zeros(12)
    signal[5:7] = 10.0
    scanned, fixed = [], []
    for _ in range(400):
        counts = rng.poisson(expected + signal).astype(float)
        found = best_interval(counts, expected, 0, 12, 2, 4)
        scanned.append(found.n_observed - found.n_expected)
        fixed.append(counts[5:7].sum() - 200.0)
    assert np.mean(fixed) == pytest.approx(20.0, abs=4 * np.sqrt(220 / 400))
    assert np.mean(scanned) > 1.5 * 20.0


def test_cuts_leave_counts_that_fluctuate_like_poisson(make_plan, make_mass) -> None:
    """A quantile of each mass bin, taken from the same events, would fix the counts of each."""
    plan, n = make_plan(), 8000
    layout = make_layout(plan, make_mass(n, np.random.default_rng(1)))
    first, last = layout.windows[1]
    in_window, flat = [], []
    for seed in range(300):
        rng = np.random.default_rng((seed, 5))
        mass, score = make_mass(n, rng), rng.random(n)
        kept = np.argsort(-score, kind="stable")[: n // 10]
        in_window.append(layout.histogram(mass[kept])[first:last].sum())
        rows = np.flatnonzero((mass >= layout.edges[first]) & (mass < layout.edges[last]))
        flat.append((score[rows] > np.quantile(score[rows], 0.9)).sum())
    ratio = np.var(in_window) / np.mean(in_window)
    assert ratio == pytest.approx(1.0, abs=4 * np.sqrt(2 / 300))
    assert np.var(flat) / np.mean(flat) < 0.3


def test_repeated_events_make_a_bump_that_one_identifier_for_copies_takes_away(
    make_plan, make_view
) -> None:
    plan, view = make_plan(), make_view(6000, seed=4)
    rows = np.random.default_rng(1).integers(len(view), size=12_000)
    repeated = view.select(rows)
    layout = make_layout(plan, repeated.mass)
    settings = CwolaSettings(folds=2, members=1, trees=60, leaves=64, min_child_events=5)
    window = len(layout.windows) // 2
    z = []
    for ids in (np.arange(len(rows), dtype=np.uint64), repeated.event_id):
        copies = type(view)(ids, repeated.mass, repeated.features, view.feature_names)
        options = {"features": view.feature_names, "seed": 1}
        if ids is not repeated.event_id:
            with pytest.raises(DetectorError, match="copies"):
                cross_fit(CwolaHunting(settings), copies, [layout.windows_gev[window]], **options)
        score = cross_fit(
            CwolaHunting(settings),
            copies,
            [layout.windows_gev[window]],
            allow_copies=True,
            **options,
        )[:, 0]
        kept = np.argsort(-score, kind="stable")[: len(rows) // 20]
        z.append(cell_of(plan, layout, layout.histogram(repeated.mass[kept]), window).local_z)
    random_folds, one_fold = z
    assert random_folds > 8
    assert one_fold < 5
