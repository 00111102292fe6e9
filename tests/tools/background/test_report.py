"""Whether a fit is believed, and the reasons that are given where it is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.background.models import make_model
from bumpscout_tools.background.report import fit_report
from bumpscout_tools.background.spectrum import Spectrum

Array = NDArray[Any]


def report_of(edges: Array, counts: Array, model: str = "auto", **options: Any) -> Any:
    spectrum = Spectrum(edges, np.asarray(counts, dtype=float))
    return fit_report(spectrum, make_model(model, spectrum), n_toys=400, **options)


def test_a_smooth_spectrum_is_believed_and_told_completely(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    counts = np.random.default_rng(1).poisson(smooth(5e4))
    one = report_of(edges, counts)
    assert one.believable
    assert one.reasons == ()
    assert one.requested == "auto"
    assert one.model == f"p{len(one.parameters)}"
    assert [row.order for row in one.orders] == [2, 3, 4, 5, 6]
    assert one.ndf == 50 - len(one.parameters)
    assert len(one.expected) == 50
    assert sum(one.expected) == pytest.approx(counts.sum(), rel=1e-5)
    x = 0.5 * (edges[1:] + edges[:-1]) / 13000
    p = one.parameters
    power = p["p3"] + p.get("p4", 0) * np.log(x) + p.get("p5", 0) * np.log(x) ** 2
    density = p["p1"] * (1 - x) ** p["p2"] * x**power
    np.testing.assert_allclose(density * np.diff(edges), one.expected, rtol=1e-2)
    for low, high in one.parameter_errors.values():
        assert low < 0 < high


@pytest.mark.parametrize("total", [300.0, 1e5])
def test_true_models_are_seldom_refused(
    edges: Array, smooth: Callable[[float], Array], total: float
) -> None:
    toys = np.random.default_rng(2).poisson(smooth(total), (60, 50))
    refused = sum(not report_of(edges, n, "p3", errors=False).believable for n in toys)
    # The four criteria add up to 2.1%.
    assert refused <= 5


def test_a_step_a_turn_on_and_a_bump_are_refused_with_reasons(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    mean = smooth(1e6)
    step = np.where(np.arange(50) < 20, mean, 0.85 * mean)
    turn_on = mean * special.ndtr((np.sqrt(edges[1:] * edges[:-1]) - 2300) / 120)
    bump = mean * (1 + 0.2 * np.exp(-0.5 * (np.arange(50) - 25) ** 2))
    for shape in (step, turn_on, bump):
        one = report_of(edges, np.random.default_rng(3).poisson(shape), errors=False)
        assert not one.believable
        assert "degrees of freedom" in one.reasons[0]
    one = report_of(edges, np.random.default_rng(3).poisson(turn_on), errors=False)
    assert any("rises" in reason and "--min-gev" in reason for reason in one.reasons)


def test_a_function_that_rises_is_refused_however_well_it_fits(edges: Array) -> None:
    x = np.linspace(0.0, 1.0, 50)
    mean = 500 * np.exp(-8 * (x - 0.25) ** 2)
    one = report_of(edges, np.random.default_rng(4).poisson(mean), "p6", errors=False)
    assert one.p_value > 0.01
    assert [reason for reason in one.reasons if "rises from 2000" in reason]


def test_parameters_at_their_limit_are_told(edges: Array) -> None:
    counts = np.zeros(50)
    counts[0] = 40
    one = report_of(edges, counts, "p3")
    assert not one.believable
    assert "runs to its limit" in one.reasons[0]
    assert set(one.parameter_errors.values()) == {None}


def test_low_counts_take_their_p_from_refitted_toys_and_high_ones_from_chi2(
    edges: Array, smooth: Callable[[float], Array]
) -> None:
    few = report_of(edges, np.random.default_rng(5).poisson(smooth(300.0)), errors=False)
    assert few.p_method == "400 refitted toys"
    assert any("empty" in note for note in few.notes)
    many = report_of(edges, np.random.default_rng(5).poisson(smooth(1e8)), errors=False)
    assert many.p_method == "chi2"
    assert many.p_value == pytest.approx(special.chdtrc(many.ndf, many.deviance))


def test_very_wide_bins_are_refused_by_name() -> None:
    edges = np.append(np.geomspace(600.0, 1500.0, 20), 12990.0)
    x = edges / 13000.0
    grid = [np.linspace(a, b, 4000) for a, b in itertools.pairwise(x)]
    mean = np.array([np.trapezoid((1 - g) ** 30 * g**-5, g) for g in grid])
    one = report_of(edges, np.random.default_rng(6).poisson(1e7 * mean / mean.sum()), "p3")
    assert any("from 1500 to 12990 GeV is too wide" in reason for reason in one.reasons)


def test_weights_cancel(edges: Array, smooth: Callable[[float], Array]) -> None:
    counts = np.random.default_rng(7).poisson(smooth(5e4)).astype(float)
    plain = report_of(edges, counts, "p3")
    spectrum = Spectrum(edges, 0.25 * counts, None, 0.0625 * counts)
    weighted = fit_report(spectrum, make_model("p3", spectrum), n_toys=400)
    assert weighted.deviance == pytest.approx(plain.deviance, abs=1e-6)
    np.testing.assert_allclose(weighted.expected, 0.25 * np.array(plain.expected), rtol=1e-6)
    assert weighted.parameters["p1"] == pytest.approx(0.25 * plain.parameters["p1"], rel=1e-5)
    assert "weighted" in weighted.notes[0]


@pytest.mark.parametrize("n_bins", [5, 8, 2000])
def test_spectra_of_5_to_2000_bins_are_fitted(n_bins: int) -> None:
    edges = np.geomspace(1500, 6000, n_bins + 1)
    x = np.sqrt(edges[1:] * edges[:-1]) / 13000
    mean = (1 - x) ** 8 * x**-5 * np.diff(edges)
    counts = np.random.default_rng(8).poisson(4e4 * mean / mean.sum()).astype(float)
    spectrum = Spectrum(edges, counts)
    one = fit_report(spectrum, make_model("auto", spectrum), n_toys=40)
    assert sum(one.expected) == pytest.approx(4e4, rel=0.05)
    assert len(one.orders) == (2 if n_bins == 5 else 5)
