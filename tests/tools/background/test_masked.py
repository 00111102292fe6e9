"""Fits and hunts with excluded bins: the same as with a mask, and blind to what is hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import (
    DijetBasis,
    Spectrum,
    fit,
    hunt_spectrum,
    select_order,
)
from bumpscout_tools.background.masked import model_of_used_bins, windows_of_used_bins
from bumpscout_tools.background.part import PartBasis
from bumpscout_tools.background.report import fit_report
from bumpscout_tools.background.signal import signal_fit
from bumpscout_tools.errors import ConfigurationError, FitError
from bumpscout_tools.statistics import bin_windows

Array = NDArray[Any]
RANGES = [(2400.0, 2800.0), (4000.0, 4200.0)]


@pytest.fixture
def spectrum(edges: Array, smooth: Callable[[float], Array]) -> Spectrum:
    mean = smooth(2e4)
    counts = np.random.default_rng(1).poisson(mean).astype(float)
    return Spectrum(edges, counts, expected=mean)


def test_bins_that_reach_into_a_range_are_excluded_and_ends_are_cut(spectrum: Spectrum) -> None:
    part = spectrum.without(RANGES)
    assert part.excluded is not None
    for low, high in part.excluded_ranges():
        assert any(low <= a and b <= high for a, b in RANGES)
    assert part.used.size + np.count_nonzero(part.excluded) == spectrum.n_bins
    assert np.all(part.counts[part.excluded] == 0)
    first = spectrum.without([(0.0, float(spectrum.edges[3]))])
    assert first.excluded is None
    assert first.edges[0] == spectrum.edges[3]
    assert spectrum.without([]) is spectrum


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ([(3000.0, 2000.0)], "rising"),
        ([(20000.0, 30000.0)], "nothing to exclude"),
        ([(0.0, 6300.0)], "bins are left"),
    ],
)
def test_ranges_that_leave_nothing_are_refused(
    spectrum: Spectrum, ranges: list[tuple[float, float]], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        spectrum.without(ranges)


def test_the_fit_is_that_with_a_mask(spectrum: Spectrum) -> None:
    part = spectrum.without(RANGES)
    report = fit_report(part, model_of_used_bins("auto", part), n_toys=50)
    basis = DijetBasis(spectrum.edges, 13000.0, 6)
    masked = select_order(spectrum.observed, basis, (2, 3, 4, 5, 6), 0.05, part.excluded)
    assert report.model == f"p{masked.order}"
    assert report.deviance == pytest.approx(masked.fit.deviance, abs=1e-6)
    assert report.ndf == masked.fit.ndf
    assert report.runs_p == pytest.approx(masked.runs_p)
    np.testing.assert_allclose(report.expected, masked.fit.expected, rtol=1e-6)
    np.testing.assert_allclose(list(report.parameters.values()), masked.fit.parameters, rtol=1e-5)
    assert report.n_events == part.counts.sum()
    assert len(report.excluded_gev) == 2


@pytest.mark.parametrize("name", ["auto", "p3", "ua2", "sliding-p3", "expected", "template"])
def test_what_is_hidden_changes_nothing(spectrum: Spectrum, name: str) -> None:
    part = spectrum.without(RANGES)
    assert part.excluded is not None
    other = replace(part, observed=np.where(part.excluded, 777.0, part.observed))

    def answers(one: Spectrum) -> tuple[object, ...]:
        model = model_of_used_bins(name, one)
        report = fit_report(one, model, n_toys=50, seed=3)
        windows = windows_of_used_bins(bin_windows(one.n_bins, 2, 5), one)
        found = hunt_spectrum(one.observed[one.used], model, windows, n_toys=50, side_bands=True)
        return report.model_copy(update={"observed": ()}), found.global_p, found.local_z

    assert answers(part) == answers(other)


@pytest.mark.parametrize("test", ["lr", "f"])
def test_both_tests_choose_among_the_bins_that_are_left(spectrum: Spectrum, test: Any) -> None:
    part = spectrum.without(RANGES)
    report = fit_report(part, model_of_used_bins("auto", part, test=test), n_toys=20)
    assert report.order_test == test
    assert report.believable, report.reasons


def test_windows_touch_no_excluded_bin(spectrum: Spectrum) -> None:
    part = spectrum.without(RANGES)
    assert part.excluded is not None
    every = bin_windows(part.n_bins, 1, 6)
    kept = windows_of_used_bins(every, part)
    expected = {
        (a, b)
        for a, b in zip(every.starts, every.stops, strict=True)
        if not part.excluded[a:b].any()
    }
    back = {
        (part.used[a], part.used[b - 1] + 1) for a, b in zip(kept.starts, kept.stops, strict=True)
    }
    assert back == expected


def test_sliding_windows_give_the_excluded_bins_a_background(spectrum: Spectrum) -> None:
    part = spectrum.without(RANGES)
    report = fit_report(part, model_of_used_bins("sliding-p3", part, window_bins=24), n_toys=20)
    assert part.excluded is not None
    assert spectrum.expected is not None
    hidden = spectrum.expected[part.excluded]
    off = np.array(report.expected)[part.excluded] - hidden
    assert np.all(np.abs(off) < 2 * np.sqrt(hidden))


def test_too_few_bins_are_left_for_an_order(edges: Array) -> None:
    basis = DijetBasis(edges, 13000.0, 5)
    with pytest.raises(FitError, match="5 bins are left"):
        PartBasis(basis, np.arange(5))
    assert PartBasis(basis, np.arange(5), 4).max_order == 4


def test_a_signal_beside_a_veto_is_found_whatever_is_in_it(
    spectrum: Spectrum, edges: Array
) -> None:
    basis = DijetBasis(edges, 13000.0, 3)
    mask = spectrum.without(RANGES).excluded
    assert mask is not None
    counts = spectrum.observed.copy()
    one = signal_fit(counts, basis, 3, 2900.0, 0.04, mask)
    counts[mask] += 5000
    again = signal_fit(counts, basis, 3, 2900.0, 0.04, mask)
    assert one.valid
    assert again.signal == one.signal
    free = signal_fit(spectrum.observed, basis, 3, 2900.0, 0.04)
    assert one.error_high > 1.1 * free.error_high
    used = ~mask
    alone = fit(counts, basis, 3, mask)
    assert one.background_deviance == pytest.approx(alone.deviance)
    assert one.expected.shape == counts.shape
    assert np.all(one.expected[used] > 0)
    with pytest.raises(ConfigurationError, match="masked bins alone"):
        signal_fit(counts, basis, 3, 2600.0, 0.0, mask)
