"""The interval of a yield: what the order, the training and the efficiency add to counting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bumpscout_tools.background import DijetBasis, fit_batch, select_order
from bumpscout_tools.scan.injection import Yield, fit_error
from bumpscout_tools.scan.layout import Layout
from bumpscout_tools.scan.yields import NullYield, efficiency_spread, null_yield, yield_interval


def counted(n: float, b: float, fit: float, true: int = 0) -> Yield:
    return Yield(
        efficiency=0.01,
        n_observed=int(n),
        n_expected=b,
        error=math.sqrt(n + fit**2),
        n_true=true,
        local_z=0.0,
        believable=True,
    )


def test_interval_by_hand():
    # 150 on 100 +- 10: the background's error is sqrt(200).
    row = counted(150, 100.0, 10.0)
    assert yield_interval(row, None, 0.0) == pytest.approx((50.0, math.sqrt(50 + 200)))
    null = NullYield(bias=0.5, width=1.5, n=20)
    signal = 50 - 0.5 * math.sqrt(200)
    error = math.sqrt(signal + 1.5**2 * 200 + (0.2 * signal) ** 2)
    assert yield_interval(row, null, 0.2) == pytest.approx((signal, error))


def test_spread_of_the_efficiency_is_what_counting_does_not_explain():
    # Mean 100 and variance 500: 400 beyond Poisson.
    true = 100 + math.sqrt(500) * np.array([-1.0, 1.0, -1.0, 1.0]) * math.sqrt(3 / 4)
    assert efficiency_spread(true) == pytest.approx(0.2)
    assert efficiency_spread(np.array([100.0, 101.0, 99.0])) == 0.0


def test_few_repetitions_without_signal_say_nothing():
    assert null_yield([counted(100, 100.0, 1.0)] * 9) is None
    quiet = null_yield([counted(100, 100.0, 1.0)] * 10)
    assert quiet == NullYield(bias=0.0, width=1.0, n=10)


def test_it_covers_where_counting_does_not():
    """Trainings that sculpt (bias 0.8, width 1.4) and keep 25% more or less of the signal."""
    rng = np.random.default_rng(4)
    b, fit, injected = 200.0, 8.0, 90.0
    e = math.sqrt(b + fit**2)

    def trial(strength: float) -> Yield:
        true = rng.poisson(strength * max(0.0, 1 + 0.25 * rng.normal()))
        n = round(b + (0.8 + 1.4 * rng.normal()) * math.hypot(math.sqrt(b), fit) + true)
        return counted(n, b, fit, true)

    null = null_yield([trial(0.0) for _ in range(400)])
    assert null is not None
    assert (null.bias, null.width) == pytest.approx((0.8, 1.4), abs=0.15)
    rows = [trial(injected) for _ in range(600)]
    spread = efficiency_spread(np.array([row.n_true for row in rows], dtype=float))
    plain = np.mean([abs(row.n_observed - b - injected) <= row.error for row in rows])
    found = [yield_interval(row, null, spread) for row in rows]
    covered = np.mean([abs(value - injected) <= error for value, error in found])
    assert plain < 0.55
    assert covered == pytest.approx(0.683, abs=3 * math.sqrt(0.683 * 0.317 / 600))
    assert e > math.sqrt(b)


def test_the_error_of_a_fit_knows_that_its_order_was_chosen(make_plan):
    """On spectra whose order is not always seen, a fixed order errs more than it says."""
    plan = make_plan()
    edges = 2000.0 * np.exp(0.03 * np.arange(41))
    layout = Layout(edges, ((15, 21),), True, 13000.0, 4)
    basis = DijetBasis(edges, 13000.0, 4)
    centres = np.sqrt(edges[1:] * edges[:-1]) / 2000
    truth = 900 * centres**-4.5 * np.exp(-0.6 * np.log(centres) ** 2)
    mask, bins = layout.window_mask((15, 21)), slice(16, 20)
    rng = np.random.default_rng(3)
    pulls, fixed = [], []
    for counts in rng.poisson(truth, (150, truth.size)).astype(float):
        selection = select_order(counts, basis, (2, 3, 4), 0.05, mask)
        off = selection.fit.expected[bins].sum() - truth[bins].sum()
        error = fit_error(plan, layout, counts, selection, mask, bins, rng)
        toys = rng.poisson(selection.fit.expected, (100, truth.size)).astype(float)
        alone = fit_batch(toys, basis, selection.order, mask).expected[:, bins].sum(axis=1).std()
        pulls.append(abs(off) <= error)
        fixed.append(abs(off) <= alone)
    assert np.mean(pulls) > np.mean(fixed) + 0.05
    assert np.mean(pulls) > 0.683 - 3 * math.sqrt(0.683 * 0.317 / 150)
