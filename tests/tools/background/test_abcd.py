"""ABCD fits: against arithmetic, coverage by toys, signal in the control regions, closure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bumpscout_tools.background.abcd import Abcd, abcd_fit, closure_check
from bumpscout_tools.errors import ConfigurationError, InputDataError


def test_signal_in_a_alone_is_the_count_less_the_naive_background() -> None:
    one = abcd_fit(Abcd(30, 100, 50, 500), 0.0)
    assert one.valid
    assert one.naive == 10.0
    assert one.signal == pytest.approx(20.0, abs=0.01)
    # Without a signal all four counts share the background: rows times columns over everything.
    assert one.background == pytest.approx(130 * 80 / 680, rel=1e-3)
    table = np.array([[30.0, 100.0], [50.0, 500.0]])
    outer = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    deviance = 2 * np.sum(table * np.log(table / outer))
    assert one.z == pytest.approx(np.sqrt(deviance), rel=1e-3)
    assert one.local_p == pytest.approx(stats.norm.sf(one.z), rel=1e-3)


def test_closure_uncertainty_weakens_an_excess() -> None:
    z = [abcd_fit(Abcd(60, 300, 150, 1500), closure).z for closure in (0.0, 0.2, 0.5)]
    assert z[0] > z[1] > z[2] > 0


def test_signal_in_the_control_regions_is_not_taken_for_background() -> None:
    truth = Abcd(1.0, 0.3, 0.3, 0.1)
    background = np.array([10.0, 100.0, 50.0, 500.0])
    counts = Abcd(*np.round(background + 200.0 * np.array(truth)))
    blind, seeing = abcd_fit(counts, 0.0), abcd_fit(counts, 0.0, truth)
    assert seeing.signal == pytest.approx(200.0, abs=2.0)
    assert blind.signal < 190.0


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(1)
    mean = np.array([30.0, 150.0, 100.0, 1000.0])
    covered = 0
    for counts in rng.poisson(mean, (300, 4)):
        one = abcd_fit(Abcd(*counts), 0.0)
        assert one.valid
        covered += one.signal + one.error_low <= 15.0 <= one.signal + one.error_high
    assert covered / 300 == pytest.approx(0.683, abs=0.08)


@pytest.mark.parametrize(
    "counts", [Abcd(0, 3, 5, 10), Abcd(3, 0, 5, 10), Abcd(3, 3, 5, 0), Abcd(0, 0, 1, 0)]
)
def test_empty_regions_are_fitted(counts: Abcd) -> None:
    one = abcd_fit(counts, 0.2)
    assert one.valid
    assert np.isfinite(one.background)
    assert np.isnan(one.naive) == (counts.d == 0)
    if counts.a == 0:
        assert (one.signal, one.z) == (0.0, 0.0)


def test_closure_is_tested_exactly() -> None:
    good = closure_check(Abcd(10, 100, 50, 500))
    assert good.ratio == pytest.approx(1.0, abs=1e-6)
    assert good.low < 1 < good.high
    bad = closure_check(Abcd(30, 100, 50, 500))
    assert bad.ratio == pytest.approx(3.0, rel=0.02)
    assert bad.p == pytest.approx(stats.fisher_exact([[30, 100], [50, 500]]).pvalue)
    assert bad.p < 1e-4


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputDataError, match="whole numbers"):
        abcd_fit(Abcd(1.5, 2, 3, 4), 0.1)
    with pytest.raises(InputDataError, match="nothing predicts region A"):
        abcd_fit(Abcd(3, 0, 0, 0), 0.1)
    with pytest.raises(ConfigurationError, match="closure uncertainty >= 0"):
        abcd_fit(Abcd(3, 3, 3, 3), -0.1)
    with pytest.raises(InputDataError, match="empty row or column"):
        closure_check(Abcd(0, 0, 3, 4))
