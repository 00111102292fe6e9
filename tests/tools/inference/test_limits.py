"""CLs limits, discovery strengths and nuisances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyhf
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis, fit
from bumpscout_tools.errors import ConfigurationError, FitError
from bumpscout_tools.inference import (
    Nuisances,
    PeakLimits,
    PeakModel,
    cls_asymptotic,
    nuisance_impacts,
    peak_grid,
    peak_limits,
    scan_peaks,
)

Array = NDArray[Any]


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_limit_agrees_with_pyhf(edges: Array, smooth: Array) -> None:
    # One function parameter, the normalisation: pyhf has it as a free factor.
    basis = DijetBasis(edges, 13000.0, 1)
    flat = fit(smooth / 500.0, basis, 1).expected
    counts = np.random.default_rng(1).poisson(flat).astype(float)
    peaks = peak_grid([3000.0], [0.05], 0.03)
    model = PeakModel(basis, 1, peaks, Nuisances(luminosity=0.03, efficiency=0.15))
    ours = peak_limits(counts, model)
    scale = float(ours.expected[0, 2])
    bend = {"hi": 1.15, "lo": 1 / 1.15}, {"hi": 1.03, "lo": 1 / 1.03}
    theirs = pyhf.Model(
        {
            "channels": [
                {
                    "name": "mass",
                    "samples": [
                        {
                            "name": "signal",
                            "data": (scale * peaks.templates(edges)[0]).tolist(),
                            "modifiers": [
                                {"name": "mu", "type": "normfactor", "data": None},
                                {"name": "efficiency", "type": "normsys", "data": bend[0]},
                                {"name": "luminosity", "type": "normsys", "data": bend[1]},
                            ],
                        },
                        {
                            "name": "background",
                            "data": flat.tolist(),
                            "modifiers": [{"name": "b", "type": "normfactor", "data": None}],
                        },
                    ],
                }
            ]
        },
        poi_name="mu",
        modifier_settings={"normsys": {"interpcode": "code1"}},
    )
    data = [*counts.tolist(), *theirs.config.auxdata]
    observed, bands = pyhf.infer.intervals.upper_limits.upper_limit(data, theirs, rtol=1e-4)
    assert float(ours.observed[0]) == pytest.approx(float(observed) * scale, rel=0.02)
    np.testing.assert_allclose(ours.expected[0], np.array(bands) * scale, rtol=0.02)


def test_cls_of_the_asymptotic_formulae() -> None:
    # At q = q_A: p_sb = Phi(-sqrt q_A), p_b = 1/2.
    assert float(cls_asymptotic(4.0, 4.0)) == pytest.approx(2 * 0.022750132, rel=1e-6)
    below = cls_asymptotic(4.0 - 1e-9, 4.0)
    above = cls_asymptotic(4.0 + 1e-9, 4.0)
    assert float(below) == pytest.approx(float(above), rel=1e-6)


def test_median_of_toys_is_the_expected_limit(basis: DijetBasis, smooth: Array) -> None:
    model = PeakModel(basis, 3, peak_grid([2600.0, 3500.0], [0.0, 0.1], 0.03))
    rng = np.random.default_rng(2)
    toys = rng.poisson(smooth, (200, 40))
    observed = np.array([peak_limits(toy, model).observed for toy in toys])
    expected = peak_limits(fit(smooth, basis, 3).expected, model).expected
    for band, quantile in ((1, 0.1587), (2, 0.5), (3, 0.8413)):
        np.testing.assert_allclose(
            np.quantile(observed, quantile, axis=0), expected[:, band], rtol=0.2
        )


def test_discovery_strength_is_seen_at_its_significance(
    basis: DijetBasis, smooth: Array, edges: Array
) -> None:
    peaks = peak_grid([2600.0, 3500.0], [0.0, 0.1], 0.03)
    mu = fit(smooth, basis, 3).expected
    found = peak_limits(mu, PeakModel(basis, 3, peaks))
    templates = peaks.templates(edges)
    for z, strength in ((3.0, found.discovery_3), (5.0, found.discovery_5)):
        for h in range(peaks.size):
            scan = scan_peaks(mu + strength[h] * templates[h], basis, 3, peaks)
            assert scan.z[h] == pytest.approx(z, abs=1e-3)


def test_every_nuisance_widens_the_limit_and_is_named(basis: DijetBasis, smooth: Array) -> None:
    peaks = peak_grid([3000.0], [0.0], 0.03)
    counts = np.round(smooth)
    error = float(scan_peaks(counts, basis, 3, peaks).error[0])
    sizes = {
        "luminosity": 0.1,
        "efficiency": 0.2,
        "mass_scale": 0.02,
        "resolution": 0.2,
        "spurious_signal": error,
    }
    model = PeakModel(basis, 3, peaks, Nuisances.model_validate(sizes))
    impacts = nuisance_impacts(counts, model)
    assert list(impacts) == list(sizes)
    assert all(float(impact[0]) > 0 for impact in impacts.values())
    assert float(impacts["efficiency"][0]) > float(impacts["luminosity"][0])
    # A spurious signal as large as the error adds to it in quadrature.
    alone = PeakModel(basis, 3, peaks, Nuisances(spurious_signal=error))
    without = peak_limits(counts, PeakModel(basis, 3, peaks)).expected[0, 2]
    assert peak_limits(counts, alone).expected[0, 2] / without == pytest.approx(
        math.sqrt(2), rel=0.03
    )


def test_a_spurious_signal_can_forbid_a_discovery(basis: DijetBasis, smooth: Array) -> None:
    peaks = peak_grid([3000.0], [0.0], 0.03)
    error = float(scan_peaks(smooth, basis, 3, peaks).error[0])
    small = peak_limits(smooth, PeakModel(basis, 3, peaks)).discovery_5[0]
    model = PeakModel(basis, 3, peaks, Nuisances(spurious_signal=2 * error))
    assert peak_limits(smooth, model).discovery_5[0] > 2 * small


def test_limits_without_events_near_the_peak_are_three_events(edges: Array) -> None:
    # A counting experiment that sees nothing excludes -ln 0.05 = 3.0 events.
    basis = DijetBasis(edges, 13000.0, 2)
    counts = np.zeros(40)
    counts[:6] = [30.0, 20.0, 8.0, 4.0, 2.0, 1.0]
    peaks = peak_grid([4200.0], [0.0], 0.03)
    model = PeakModel(basis, 2, peaks)
    toys = peak_limits(counts, model, rng=np.random.default_rng(3), n_toys=1000)
    asymptotic = peak_limits(counts, model)
    assert toys.method == ("toys",)
    assert asymptotic.method == ("asymptotic",)
    assert toys.background[0] < 0.1
    assert float(toys.observed[0]) == pytest.approx(3.0, rel=0.07)
    assert float(toys.expected[0, 2]) == pytest.approx(3.0, rel=0.07)
    assert np.all(np.diff(toys.expected[0]) >= 0)
    assert float(asymptotic.observed[0]) < 2.5


def test_toys_agree_with_the_asymptotic_limit_at_high_counts(
    basis: DijetBasis, smooth: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bumpscout_tools.inference import limits

    model = PeakModel(basis, 3, peak_grid([3000.0], [0.0], 0.03), Nuisances(efficiency=0.1))
    counts = np.random.default_rng(4).poisson(smooth / 20)
    formula = peak_limits(counts, model)
    monkeypatch.setattr(limits, "TOYS_BELOW_EVENTS", 1e9)
    counted = peak_limits(counts, model, rng=np.random.default_rng(5), n_toys=2000)
    assert counted.method == ("toys",)
    assert float(counted.observed[0]) == pytest.approx(float(formula.observed[0]), rel=0.07)
    np.testing.assert_allclose(counted.expected[0], formula.expected[0], rtol=0.15)


def test_cross_section_of_an_event() -> None:
    assert PeakLimits.pb_per_event(139.0, 0.5) == pytest.approx(1 / 69_500)
    with pytest.raises(ConfigurationError, match="luminosity above 0"):
        PeakLimits.pb_per_event(0.0, 0.5)


def test_what_has_no_limit_is_refused(basis: DijetBasis, smooth: Array) -> None:
    model = PeakModel(basis, 3, peak_grid([3000.0], [0.0], 0.03))
    with pytest.raises(FitError, match="without events"):
        peak_limits(np.zeros(40), model)
    with pytest.raises(ConfigurationError, match="confidence level"):
        peak_limits(smooth, model, 0.2)
    with pytest.raises(FitError, match="does not change"):
        peak_limits(smooth, PeakModel(basis, 3, peak_grid([20_000.0], [0.0], 0.001)))
    with pytest.raises(ConfigurationError, match="no nuisance 'trigger'"):
        nuisance_impacts(smooth, model, ["trigger"])
