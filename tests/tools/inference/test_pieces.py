"""Peaks on gaps, known backgrounds and sliding windows: against independent minimisers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from bumpscout_tools.background import DijetBasis, Spectrum
from bumpscout_tools.background.masked import model_of_used_bins
from bumpscout_tools.background.signal import poisson_deviance, signal_fit
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference import Nuisances, peak_grid
from bumpscout_tools.inference.extra_bins import fixed_background
from bumpscout_tools.inference.piece_limits import impacts_of, limits_of, scan_of, spurious_of
from bumpscout_tools.inference.pieces import peaks_of, pieces_of
from bumpscout_tools.inference.scan import scan_peaks_batch

Array = NDArray[Any]
SQRT_S = 13000.0
NONE = np.zeros(1)


@pytest.fixture
def spectrum() -> Spectrum:
    edges = np.geomspace(1500.0, 6000.0, 51)
    x = np.sqrt(edges[1:] * edges[:-1]) / SQRT_S
    mean = (1 - x) ** 9 * x**-5 * np.diff(edges)
    mean *= 3e4 / mean.sum()
    counts = np.random.default_rng(4).poisson(mean).astype(float)
    return Spectrum(edges, counts, expected=mean)


PEAKS = peak_grid([2000.0, 2450.0, 3100.0, 4500.0], [0.0, 0.05], 0.03)


def test_a_gap_is_a_mask_whatever_it_holds(spectrum: Spectrum) -> None:
    part = spectrum.without([(2500.0, 2900.0), (4000.0, 4100.0)])
    assert part.excluded is not None
    model = model_of_used_bins("p3", part)
    pieces = pieces_of(part, model, 3, PEAKS, SQRT_S)
    scan = scan_of(pieces, NONE, np.random.default_rng(1), 20)
    basis = DijetBasis(part.edges, SQRT_S, 3)
    for h in range(PEAKS.size):
        width = PEAKS.sigma_gev[h] / PEAKS.mass_gev[h]
        one = signal_fit(part.observed, basis, 3, PEAKS.mass_gev[h], width, part.excluded)
        assert scan.z[h] == pytest.approx(one.z, abs=1e-4)
        assert scan.signal[h] == pytest.approx(one.signal, abs=2e-3 * scan.error[h])
        assert scan.error[h] == pytest.approx(0.5 * (one.error_high - one.error_low), rel=0.03)
    other = replace(part, observed=np.where(part.excluded, 1e5, part.observed))
    again = pieces_of(other, model_of_used_bins("p3", other), 3, PEAKS, SQRT_S)
    first, second = (limits_of(some, Nuisances(), 0.95) for some in (pieces, again))
    np.testing.assert_array_equal(first.observed, second.observed)
    np.testing.assert_array_equal(spurious_of(pieces)[0], spurious_of(again)[0])
    # Half of a peak in the gap: fewer events are under it than where nothing is left out.
    whole = pieces_of(spectrum, model_of_used_bins("p3", spectrum), 3, PEAKS, SQRT_S)
    full = limits_of(whole, Nuisances(), 0.95)
    assert first.background[1] < 0.7 * full.background[1]
    assert first.expected[1, 2] > 1.2 * full.expected[1, 2]


@pytest.mark.parametrize("uncertainty", [0.0, 0.05])
def test_a_known_background_and_its_uncertainty(spectrum: Spectrum, uncertainty: float) -> None:
    model = model_of_used_bins("expected", spectrum)
    pieces = pieces_of(spectrum, model, 0, PEAKS, SQRT_S, uncertainty)
    scan = scan_of(pieces, NONE, np.random.default_rng(1), 20)
    assert spectrum.expected is not None
    mean, size = spectrum.expected, np.log1p(uncertainty)
    for h, shape in enumerate(PEAKS.templates(spectrum.edges)):

        def cost(x: Array, unit: Array = scan.error[h] * shape) -> float:
            mu = mean * np.exp(size * x[1]) + x[0] * unit
            pull = x[1] ** 2 if uncertainty else 0.0
            return poisson_deviance(spectrum.observed, mu)[0] + float(pull)

        options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 5000}
        best = optimize.minimize(cost, [0.1, 0.0], method="Nelder-Mead", options=options)
        null = optimize.minimize_scalar(
            lambda a, cost=cost: cost(np.array([0.0, a])), bounds=(-5, 5), method="bounded"
        )
        z = np.sign(best.x[0]) * np.sqrt(max(null.fun - best.fun, 0.0))
        assert scan.z[h] == pytest.approx(z, abs=1e-3)
        assert scan.signal[h] == pytest.approx(best.x[0] * scan.error[h], abs=2e-3 * scan.error[h])


def test_what_is_known_better_excludes_more(spectrum: Spectrum) -> None:
    fitted = pieces_of(spectrum, model_of_used_bins("p3", spectrum), 3, PEAKS, SQRT_S)
    known = model_of_used_bins("expected", spectrum)
    medians = [
        limits_of(pieces, Nuisances(), 0.95).expected[:, 2]
        for pieces in (
            pieces_of(spectrum, known, 0, PEAKS, SQRT_S),
            pieces_of(spectrum, known, 0, PEAKS, SQRT_S, 0.3),
            fitted,
        )
    ]
    assert np.all(medians[0] < medians[1])
    assert np.all(medians[1] < medians[2])


def test_a_peak_is_fitted_in_the_sliding_window_around_it(spectrum: Spectrum) -> None:
    model = model_of_used_bins("sliding-p3", spectrum, window_bins=26)
    pieces = pieces_of(spectrum, model, 3, PEAKS, SQRT_S)
    assert len(pieces) == 4
    expected = model.fit(spectrum.counts[None]).expected[0]
    scan = scan_of(pieces, expected, np.random.default_rng(1), 40)
    peaks = peaks_of(pieces)
    np.testing.assert_array_equal(peaks.mass_gev, PEAKS.mass_gev)
    for piece in pieces:
        first, last = piece.bins[0], piece.bins[-1] + 1
        assert last - first == 26
        basis = DijetBasis(spectrum.edges[first : last + 1], SQRT_S, 3)
        for h in piece.index:
            width = peaks.sigma_gev[h] / peaks.mass_gev[h]
            one = signal_fit(
                spectrum.observed[first:last], basis, 3, float(peaks.mass_gev[h]), width
            )
            assert scan.z[h] == pytest.approx(one.z, abs=1e-3)
    # Too few events at 4.5 TeV for the field: spectra of the background, fitted anew.
    assert (scan.found.method, scan.found.n) == ("refit toys", 40)
    limits = limits_of(pieces, Nuisances(luminosity=0.02), 0.95)
    assert np.all(limits.observed > scan.signal)
    assert impacts_of(pieces, Nuisances(luminosity=0.2), 0.95)["luminosity"] > 0


def test_the_field_of_sliding_windows_agrees_with_refit_toys(spectrum: Spectrum) -> None:
    peaks = peak_grid(np.geomspace(1800.0, 3000.0, 18), [0.0], 0.03)
    model = model_of_used_bins("sliding-p3", spectrum, window_bins=26)
    pieces = pieces_of(spectrum, model, 3, peaks, SQRT_S)
    expected = model.fit(spectrum.counts[None]).expected[0]
    scan = scan_of(pieces, expected, np.random.default_rng(1))
    assert scan.found.method == "gaussian field"
    toys = np.random.default_rng(2).poisson(expected, (400, expected.size)).astype(float)
    z = [
        scan_peaks_batch(one.of_spectrum(toys), one.basis, one.order, one.peaks).best()
        for one in pieces
    ]
    share = np.mean(np.max(z, axis=0) >= scan.z.max())
    error = np.sqrt(scan.found.value * (1 - scan.found.value) / 400)
    assert share == pytest.approx(scan.found.value, abs=3.5 * error + 0.01)


def test_peaks_wider_than_their_window_are_left_out(spectrum: Spectrum) -> None:
    wide = peak_grid([3000.0], [0.0, 0.15], 0.03)
    model = model_of_used_bins("sliding-p3", spectrum, window_bins=9)
    assert peaks_of(pieces_of(spectrum, model, 3, wide, SQRT_S)).width == [0.0]
    alone = peak_grid([3000.0], [0.15], 0.03)
    with pytest.raises(ConfigurationError, match="wider than the sliding window"):
        pieces_of(spectrum, model, 3, alone, SQRT_S)


def test_uncertainties_that_do_not_belong_are_refused(spectrum: Spectrum) -> None:
    with pytest.raises(ConfigurationError, match="belongs to `expected`"):
        pieces_of(spectrum, model_of_used_bins("p3", spectrum), 3, PEAKS, SQRT_S, 0.1)
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        fixed_background(spectrum.edges, spectrum.observed, 1.0)
