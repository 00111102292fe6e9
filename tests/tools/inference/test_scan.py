"""Scans of Gaussian peaks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from iminuit import Minuit
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.background import DijetBasis, fit
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.inference import (
    Nuisances,
    PeakModel,
    background_under,
    peak_grid,
    scan_peaks,
    scan_peaks_batch,
)

Array = NDArray[Any]


def test_templates_are_bin_integrals_of_a_gaussian(edges: Array) -> None:
    peaks = peak_grid([2500.0, 3500.0], [0.0, 0.1], 0.03)
    sigma = np.array([75.0, 105.0, 2500.0 * math.hypot(0.1, 0.03), 3500.0 * math.hypot(0.1, 0.03)])
    np.testing.assert_allclose(peaks.sigma_gev, sigma)
    cumulated = special.ndtr((edges - peaks.mass_gev[:, None]) / sigma[:, None])
    np.testing.assert_allclose(peaks.templates(edges), np.diff(cumulated, axis=1), atol=1e-14)


def test_templates_keep_their_precision_far_from_the_peak(edges: Array) -> None:
    far = peak_grid([2100.0], [0.0], 0.03).templates(edges)[0, 18]
    u = (edges[18:20] - 2100.0) / 63.0
    assert u[0] > 15
    tail = special.log_ndtr(-u)
    exact = tail[0] + math.log1p(-math.exp(tail[1] - tail[0]))
    assert math.log(far) == pytest.approx(exact, rel=1e-10)


def test_a_width_of_zero_needs_a_resolution() -> None:
    with pytest.raises(ConfigurationError, match="resolution above 0"):
        peak_grid([2000.0], [0.0], 0.0)


def test_background_under_a_flat_peak_is_what_its_bins_hold() -> None:
    template = np.array([[0.0, 0.25, 0.25, 0.25, 0.25, 0.0]])
    assert background_under(template, np.full(6, 30.0))[0] == pytest.approx(120.0)


@pytest.mark.parametrize("events", [2e5, 300.0])
def test_scan_finds_what_minuit_finds(
    basis: DijetBasis, smooth: Array, edges: Array, events: float
) -> None:
    rng = np.random.default_rng(5)
    counts = rng.poisson(smooth * events / 2e5).astype(float)
    peaks = peak_grid(np.linspace(2300.0, 4800.0, 6), [0.0, 0.15], 0.03)
    scan = scan_peaks(counts, basis, 3, peaks)
    assert scan.converged.all()
    templates = peaks.templates(edges)
    null = fit(counts, basis, 3)
    at = 0

    def deviance(p: Array) -> float:
        mu = basis.expected(p[:3]) + p[3] * templates[at]
        if np.any(mu <= 0):
            return 1e9
        return float(2 * np.sum(mu - counts + special.xlogy(counts, counts / mu)))

    for at in range(peaks.size):
        minuit = Minuit(deviance, np.append(null.coefficients, 0.01))
        minuit.errordef, minuit.strategy, minuit.tol = 1.0, 2, 1e-4
        for _ in range(3):
            minuit.migrad()
        fall = null.deviance - float(minuit.fval or 0.0)
        # The best signal may lie where a mean vanishes: there Minuit stops short.
        assert scan.z[at] ** 2 >= fall - 1e-3
        if scan.signal[at] > 0:
            assert scan.z[at] ** 2 == pytest.approx(fall, abs=1e-3)
            assert scan.q0[at] == pytest.approx(fall, abs=1e-3)
            assert scan.signal[at] == pytest.approx(minuit.values[3], abs=0.01 * minuit.errors[3])
        else:
            assert scan.q0[at] == 0.0
            assert scan.z[at] <= 0.0


def test_error_and_z_of_a_strong_injection(basis: DijetBasis, smooth: Array, edges: Array) -> None:
    peaks = peak_grid([3000.0], [0.0], 0.03)
    error = scan_peaks(smooth, basis, 3, peaks).error[0]
    scan = scan_peaks(smooth + 8.0 * error * peaks.templates(edges)[0], basis, 3, peaks)
    assert scan.signal[0] == pytest.approx(8.0 * error, rel=0.02)
    assert scan.z[0] == pytest.approx(8.0, rel=0.1)


def test_a_hole_gives_a_negative_signal_that_keeps_the_total_positive(
    basis: DijetBasis, smooth: Array, edges: Array
) -> None:
    counts = np.round(smooth / 2000.0)
    counts[25:32] = 0.0
    peaks = peak_grid([4000.0], [0.0], 0.03)
    scan = scan_peaks(counts, basis, 3, peaks)
    model = PeakModel(basis, 3, peaks)
    fits = model.fit(
        counts[None, :], np.zeros(1, np.int64), np.zeros(1, np.int64), scan.coefficients[None, :]
    )
    total = basis.expected(fits.parameters[0, :3]) + fits.signal[0] * peaks.templates(edges)[0]
    assert scan.signal[0] < 0
    assert scan.z[0] < 0
    assert np.all(total > 0)


def test_empty_and_nearly_empty_spectra_are_scanned(basis: DijetBasis) -> None:
    counts = np.zeros((3, 40))
    counts[1, 20] = 1.0
    counts[2, 5:8] = 1.0
    scans = scan_peaks_batch(counts, basis, 2, peak_grid([2500.0, 4000.0], [0.0], 0.03))
    assert np.all(np.isfinite(scans.z))
    assert np.all(scans.z[0] == 0.0)
    assert np.all(scans.signal[0] == 0.0)


def test_a_background_that_the_signal_replaces_is_fitted_in_few_steps(basis: DijetBasis) -> None:
    # Regression: steps towards a vanishing background were halved without end.
    counts = np.zeros((1, 40))
    counts[0, 20] = 3.0
    model = PeakModel(basis, 2, peak_grid([3300.0], [0.0], 0.03))
    zero = np.zeros(1, np.int64)
    start = model.background(counts).coefficients
    fits = model.fit(counts, zero, zero, start, signal=np.array([3.0]))
    assert fits.converged[0]
    template = model.templates()[0]
    alone = 2.0 * (3.0 * template.sum() - 3.0 + 3.0 * np.log(1.0 / template[20]))
    assert fits.deviance[0] <= alone + 1e-3


def test_counts_of_another_binning_are_refused(basis: DijetBasis) -> None:
    with pytest.raises(InputDataError, match="40 bins"):
        scan_peaks(np.zeros(39), basis, 3, peak_grid([3000.0]))


def test_spurious_signals_must_belong_to_the_peaks() -> None:
    with pytest.raises(InputDataError, match="3 hypotheses"):
        Nuisances(spurious_signal=(1.0, 2.0)).spreads(3)
