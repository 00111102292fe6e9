"""Global significance of one spectrum: the field against toys, the tail, and the rule."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import DijetBasis, fit
from bumpscout_tools.errors import ConfigurationError, FitError
from bumpscout_tools.inference import (
    GaussianField,
    PeakScan,
    choose_method,
    global_p,
    gross_vitells,
    peak_grid,
    scan_peaks,
    score_vectors,
    spectrum_field,
    toy_scan,
    upcrossings,
)
from bumpscout_tools.inference.tilted import weighted_p
from bumpscout_tools.statistics.intervals import clopper_pearson

Array = NDArray[Any]


def scanned(basis: DijetBasis, smooth: Array, z: float, n_masses: int = 40) -> PeakScan:
    """Return a scan of a spectrum whose best peak was moved to z."""
    peaks = peak_grid(np.linspace(2200.0, 4900.0, n_masses), [0.0], 0.03)
    scan = scan_peaks(np.round(smooth), basis, 3, peaks)
    moved = scan.z.copy()
    moved[10] = z
    return replace(scan, z=moved)


def test_scores_do_not_see_the_background(basis: DijetBasis, smooth: Array, edges: Array) -> None:
    one = fit(smooth, basis, 3)
    templates = peak_grid([2500.0, 3500.0], [0.0, 0.1]).templates(edges)
    v = score_vectors(basis, one.coefficients, one.expected, templates)
    for j in range(3):
        moved = basis.expected(one.coefficients + 1e-5 * np.eye(3)[j])
        assert np.all(
            np.abs(v @ (moved - one.expected)) < 1e-5 * np.sqrt(one.expected.sum()) * 0.01
        )
    np.testing.assert_allclose((v**2 * one.expected).sum(axis=1), 1.0)


def test_scores_are_the_profile_z_where_counts_are_high(
    basis: DijetBasis, smooth: Array, edges: Array
) -> None:
    peaks = peak_grid(np.linspace(2300.0, 4500.0, 12), [0.0, 0.1])
    counts = np.random.default_rng(3).poisson(100 * smooth).astype(float)
    scan = scan_peaks(counts, basis, 3, peaks)
    v = score_vectors(basis, scan.coefficients, scan.expected, peaks.templates(edges))
    np.testing.assert_allclose(v @ (counts - scan.expected), scan.z, atol=0.03)


def test_field_against_refit_toys(basis: DijetBasis, smooth: Array, edges: Array) -> None:
    peaks = peak_grid(np.linspace(2200.0, 4900.0, 60), [0.0, 0.1], 0.03)
    one = fit(smooth, basis, 3)
    field = spectrum_field(basis, one.coefficients, one.expected, peaks.templates(edges))
    rng = np.random.default_rng(4)
    sampled = field.sample_max(rng, 20_000)
    z = toy_scan(rng.poisson(one.expected, (2000, 40)), basis, (3,), peaks)
    assert np.corrcoef(z[:, 10], z[:, 12])[0, 1] == pytest.approx(
        float(field.correlation[10, 12]), abs=0.02
    )
    assert stats.ks_2samp(sampled, z.max(axis=1)).pvalue > 0.01


def test_tail_bound_bounds_and_is_close(basis: DijetBasis, smooth: Array, edges: Array) -> None:
    peaks = peak_grid(np.linspace(2200.0, 4900.0, 60), [0.0], 0.03)
    one = fit(smooth, basis, 3)
    field = spectrum_field(basis, one.coefficients, one.expected, peaks.templates(edges))
    sampled = field.sample_max(np.random.default_rng(1), 400_000)
    for z in (2.5, 3.0, 3.5):
        p = np.mean(sampled >= z)
        assert p < field.tail_bound(z) + 4 * np.sqrt(p / 400_000)
    assert float(field.tail_bound(3.5)) == pytest.approx(np.mean(sampled >= 3.5), rel=0.1)


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.95, 1.0])
def test_tail_bound_is_exact_for_two(rho: float) -> None:
    field = GaussianField(np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]]))
    covariance = np.array([[1.0, rho], [rho, 1.0]])
    for z in (0.5, 2.0, 3.0):
        if rho == 1.0:
            exact = float(stats.norm.sf(z))
        else:
            inside = stats.multivariate_normal(np.zeros(2), covariance).cdf(np.array([z, z]))
            exact = 1.0 - float(inside)
        assert float(field.tail_bound(z)) == pytest.approx(exact, rel=1e-3)


def test_the_rule() -> None:
    assert choose_method(3.9, 50.0) == "gaussian field"
    assert choose_method(4.0, 50.0) == "gaussian field, tail bound"
    assert choose_method(3.9, 49.9) == "refit toys"
    assert choose_method(4.0, 49.9) == "importance-sampled refit toys"
    assert choose_method(3.9, 1e6, order_chosen=True) == "refit toys"


def test_methods_agree(basis: DijetBasis, smooth: Array) -> None:
    scan = scanned(basis, smooth, 3.0)
    rng = np.random.default_rng(2)
    field = global_p(rng, scan, basis, method="gaussian field")
    toys = global_p(rng, scan, basis, method="refit toys", n_toys=4000)
    weighted = global_p(rng, scan, basis, method="importance-sampled refit toys", n_toys=1500)
    crossings = global_p(rng, scan, basis, method="gross-vitells", n_toys=500)
    assert field.method == "gaussian field"
    assert field.n == 200_000
    for other in (toys, weighted, crossings):
        assert other.low <= other.value <= other.high
        width = np.hypot(other.high - other.low, 0.05 * field.value)
        assert abs(other.value - field.value) < 3 * width


def test_far_tail_from_weighted_toys(basis: DijetBasis, smooth: Array) -> None:
    scan = scanned(basis, 20 * smooth, 5.5)
    rng = np.random.default_rng(7)
    bound = global_p(rng, scan, basis)
    toys = global_p(rng, scan, basis, method="importance-sampled refit toys", n_toys=1500)
    assert bound.method == "gaussian field, tail bound"
    assert bound.value < 1e-6
    assert toys.value == pytest.approx(bound.value, rel=0.3)


def test_weighted_toys_that_never_reach_the_data_give_no_p_of_zero() -> None:
    assert weighted_p(np.zeros(999)) == (0.001, 0.0, clopper_pearson(0, 999)[1])
    value, low, high = weighted_p(np.array([0.0, 0.0, 0.0, 4e-9]))
    assert value == pytest.approx(1e-9)
    assert (low, high) == (0.0, pytest.approx(2e-9))


def test_counting_follows_k_plus_one(basis: DijetBasis, smooth: Array) -> None:
    scan = scanned(basis, smooth, 20.0)
    p = global_p(np.random.default_rng(1), scan, basis, method="refit toys", n_toys=99)
    assert p.value == pytest.approx(0.01)
    assert p.low == 0.0
    assert p.high >= p.value


def test_order_is_chosen_in_each_toy(basis: DijetBasis, smooth: Array) -> None:
    peaks = peak_grid(np.linspace(2300.0, 4500.0, 5), [0.0, 0.15])
    toys = np.random.default_rng(9).poisson(smooth, (200, 40))
    chosen = toy_scan(toys, basis, (2, 3, 4), peaks)
    fixed = toy_scan(toys, basis, (3,), peaks)
    same = np.all(np.isclose(chosen, fixed), axis=1)
    assert 0.8 < same.mean() < 1.0


def test_gross_vitells_formula() -> None:
    z = np.array([[-1.0, 0.5, -0.2, 0.1, 0.2], [1.0, 0.9, -0.1, -0.2, -0.3]])
    crossings = upcrossings(z, 0.0)
    np.testing.assert_array_equal(crossings, [2, 0])
    p = gross_vitells(crossings, 0.0, 3.0)
    assert p.value == pytest.approx(stats.norm.sf(3.0) + np.exp(-4.5))
    with pytest.raises(ConfigurationError, match="level below"):
        gross_vitells(crossings, 2.0, 1.0)


def test_gross_vitells_refuses_several_widths(basis: DijetBasis, smooth: Array) -> None:
    scan = scan_peaks(smooth, basis, 3, peak_grid([2500.0, 3000.0], [0.0, 0.1]))
    with pytest.raises(ConfigurationError, match="one width"):
        global_p(np.random.default_rng(1), scan, basis, method="gross-vitells", n_toys=10)


def test_a_peak_outside_the_bins_is_refused(basis: DijetBasis, smooth: Array, edges: Array) -> None:
    one = fit(smooth, basis, 3)
    outside = peak_grid([9000.0], [0.0], 0.01).templates(edges)
    with pytest.raises(FitError, match="outside the bins"):
        spectrum_field(basis, one.coefficients, one.expected, outside)


def test_published_background_139fb() -> None:
    folder = os.environ.get("BUMPSCOUT_DATA")
    if not folder:
        pytest.skip("BUMPSCOUT_DATA is unset: the published spectra are not available")
    text = (Path(folder) / "spectra" / "atlas_dijet_13tev_139fb.csv").read_text()
    rows = [line.split(",") for line in text.splitlines() if line[:1].isdigit()]
    table = np.array(rows, dtype=float)
    basis = DijetBasis(np.append(table[:, 0], table[-1, 1]), 13000.0, 4)
    peaks = peak_grid(np.linspace(1300.0, 6500.0, 260), [0.0], 0.03)
    scan = scan_peaks(table[:, 2], basis, 4, peaks)
    field = spectrum_field(
        basis, scan.coefficients, scan.expected, peaks.templates(basis.edges_gev)
    )
    sampled = field.sample_max(np.random.default_rng(1), 50_000)
    for z, p in ((2.0, 0.644), (2.5, 0.265), (3.0, 0.0730), (3.5, 0.0150)):
        assert np.mean(sampled >= z) == pytest.approx(p, rel=0.1)
