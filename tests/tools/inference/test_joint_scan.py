"""Peaks in several spectra and working points at once: the rule, and rare maxima by two ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis, fit_batch
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.inference import (
    EventToys,
    JointScan,
    PeakSpectrum,
    importance_sampled_p,
    joint_field,
    joint_p,
    joint_scan,
    peak_grid,
    scan_peaks,
)

Array = NDArray[Any]
N_BINS = 20
BASIS = DijetBasis(np.geomspace(2000.0, 4500.0, N_BINS + 1), 13000.0, 3)
PEAKS = peak_grid([2300.0, 2700.0, 3200.0, 3800.0], [0.0], 0.04)
SPECTRA = [PeakSpectrum(BASIS, (3,), PEAKS)] * 2


def events(seed: int, n: float) -> EventToys:
    """Return two overlapping power laws at two cuts."""
    rng = np.random.default_rng(seed)
    size = rng.poisson(n)
    lead = 1500.0 * np.exp(rng.exponential(0.25, size))
    near = lead * np.exp(0.04 * rng.standard_normal(size) * (rng.random(size) < 0.5))
    bins = np.searchsorted(BASIS.edges_gev, np.stack([lead, near], axis=1), side="right") - 1
    bins[bins >= N_BINS] = -1
    return EventToys.from_events(bins, np.where(rng.random(size) < 0.3, 1, 0), (N_BINS,) * 2, 2)


def raised(scan: JointScan, z: float) -> JointScan:
    """Return a scan whose largest z is z."""
    return replace(
        scan, z=tuple(np.minimum(np.where(one == scan.largest, z, one), z) for one in scan.z)
    )


@pytest.fixture(scope="module")
def many() -> JointScan:
    """Return a scan in which every peak expects 50 events."""
    return joint_scan(events(1, 60_000), SPECTRA, min_expected=50.0)


@pytest.fixture(scope="module")
def few() -> JointScan:
    """Return a scan in which some expect less than one."""
    return joint_scan(events(2, 1500), SPECTRA)


def test_scan_is_that_of_each_spectrum(many: JointScan) -> None:
    data = events(1, 60_000)
    for s, counts in enumerate(data.expected()):
        for w in range(2):
            one = scan_peaks(counts[w], BASIS, 3, PEAKS)
            part = many.part[s][w]
            assert counts[w].sum() >= 60
            np.testing.assert_allclose(many.z[s][w, part], one.z[part], atol=1e-9)
            assert np.all(many.z[s][w, ~part] == -np.inf)
            np.testing.assert_array_equal(part, many.under[s][w] >= 50.0)
            np.testing.assert_allclose(many.fits[s][w], one.coefficients)
    assert many.largest == max(float(z.max()) for z in many.z)


def test_field_only_where_every_peak_expects_fifty(many: JointScan, few: JointScan) -> None:
    rng = np.random.default_rng(1)
    assert many.least_expected >= 50.0
    assert few.least_expected < 5.0
    assert joint_p(rng, raised(many, 3.0), n_samples=2000).method == "gaussian field"
    assert joint_p(rng, raised(many, 5.0)).method == "gaussian field, tail bound"
    assert joint_p(rng, raised(few, 3.0), n_toys=20).method == "refit toys"
    rare = joint_p(rng, raised(few, 5.0), n_toys=20)
    assert rare.method == "importance-sampled refit toys"
    for method in ("gaussian field", "gaussian field, tail bound", "gross-vitells"):
        with pytest.raises(ConfigurationError, match="needs 50 background events"):
            joint_p(rng, few, method)


def test_field_not_where_orders_were_chosen() -> None:
    chosen = joint_scan(events(1, 60_000), [replace(SPECTRA[0], orders=(2, 3))] * 2, 50.0)
    rng = np.random.default_rng(1)
    assert joint_p(rng, raised(chosen, 3.0), n_toys=5).method == "refit toys"
    with pytest.raises(ConfigurationError, match="one background function"):
        joint_p(rng, chosen, "gaussian field")


def test_methods_agree_where_all_hold(many: JointScan) -> None:
    rng = np.random.default_rng(2)
    scan = raised(many, 3.0)
    field = joint_p(rng, scan)
    toys = joint_p(rng, scan, "refit toys", n_toys=3000)
    weighted = joint_p(rng, scan, "importance-sampled refit toys", n_toys=800)
    assert 0.005 < field.value < 0.02
    for other in (toys, weighted):
        spread = np.hypot(other.high - other.low, 0.1 * field.value)
        assert abs(other.value - field.value) < 2 * spread


def test_rare_maxima_agree_with_the_field(many: JointScan) -> None:
    scan = raised(many, 5.3)
    bound = joint_p(np.random.default_rng(3), scan)
    toys = joint_p(np.random.default_rng(4), scan, "importance-sampled refit toys", n_toys=1000)
    assert bound.value < 1.5e-6
    assert toys.value == pytest.approx(bound.value, rel=0.3)
    assert (toys.high - toys.low) / toys.value < 0.3


def test_weighted_toys_agree_with_brute_force_at_few_events(few: JointScan) -> None:
    # A quick statistic, so that a p-value of 1e-3 can be counted: the best pair of bins.
    mu = few.null.expected()
    pairs = (np.arange(N_BINS)[:, None] // 2 == np.arange(N_BINS // 2)).astype(float)

    def statistic(counts: tuple[Array, ...]) -> Array:
        """Return the largest excess of two bins over the refitted background, in its errors."""
        best = np.full(len(counts[0]), -np.inf)
        for s in range(2):
            means = fit_batch(counts[s][:, 1], BASIS, 3).expected @ pairs
            excess = (counts[s][:, 1] @ pairs - means) / np.sqrt(means + 0.3)
            best = np.maximum(best, excess.max(axis=1))
        return best

    vectors = [
        [np.empty((0, N_BINS)), pairs.T / np.sqrt(mu[s][1] @ pairs)[:, None]] for s in range(2)
    ]
    brute = np.concatenate(
        [statistic(few.null.draw(np.random.default_rng((5, k)), 2000)) for k in range(20)]
    )
    level = float(np.quantile(brute, 1.0 - 1.5e-3))
    counted = float(np.mean(brute >= level))
    value, low, high = importance_sampled_p(
        np.random.default_rng(6), few.null, vectors, statistic, level, 10_000
    )
    assert abs(value - counted) < 3 * np.hypot(np.sqrt(counted / brute.size), high - value)
    assert high - low < 0.4 * value


def test_tilted_toys_have_the_tilted_means(few: JointScan) -> None:
    rng = np.random.default_rng(8)
    log_ratio = np.where(np.arange(N_BINS) // 4 == 1, 1.2, -0.4)
    drawn = np.stack([few.null.draw_tilted(rng, log_ratio, 0, 1) for _ in range(2000)], axis=1)
    plain = few.null.expected()[0]
    wanted = plain[1] * np.exp(log_ratio)
    counts = few.null.nested(drawn, 0)
    error = np.sqrt(np.maximum(wanted, 0.01) / 2000)
    assert np.all(np.abs(counts[:, 1].mean(axis=0) - wanted) < 5 * error)
    # Events that do not pass the working point are as frequent as before.
    loose = (counts[:, 0] - counts[:, 1]).mean(axis=0)
    slices = plain[0] - plain[1]
    assert np.all(np.abs(loose - slices) < 5 * np.sqrt(np.maximum(slices, 0.01) / 2000))


def test_field_samples_do_what_the_toys_do(many: JointScan) -> None:
    field = joint_field(many.null, many.vectors())
    assert field.root.shape[0] == sum(int(part.sum()) for part in many.part)


def test_what_does_not_fit_is_refused(few: JointScan) -> None:
    data = events(2, 1500)
    with pytest.raises(InputDataError, match="to be scanned have"):
        joint_scan(data, SPECTRA[:1])
    with pytest.raises(ConfigurationError, match="No peak expects"):
        joint_scan(data, SPECTRA, min_expected=1e9)
    empty, rng = [[np.empty((0, N_BINS))] * 2] * 2, np.random.default_rng(1)
    with pytest.raises(ConfigurationError, match="at least one direction"):
        importance_sampled_p(rng, few.null, empty, lambda n: np.zeros(len(n[0])), 4.0)


def test_peaks_of_fits_to_a_handful_of_events_take_no_part() -> None:
    data = events(3, 400)
    scan = joint_scan(data, SPECTRA)
    for s, counts in enumerate(data.expected()):
        enough = counts.sum(axis=1) >= 20 * 3
        assert list(enough) == [True, False]
        np.testing.assert_array_equal(scan.part[s].any(axis=1), enough)
