"""The null generator: new events, the fitted spectrum, nothing learned in the masked window."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.stats import chi2

from bumpscout_tools.background import DijetBasis, select_order
from bumpscout_tools.detectors.density import ConditionalDensity
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.execute import Prepared, prepare
from bumpscout_tools.scan.null import NullModel, fit_null

WINDOW = 2
"""Number of the masked window; the signal of the toys lies inside."""


@pytest.fixture(scope="module")
def quick_density():
    """The density with few training steps; how well it closes is not at stake here."""
    with pytest.MonkeyPatch.context() as patch:
        fit = functools.partial(ConditionalDensity.fit, steps=40, threads=1)
        patch.setattr(ConditionalDensity, "fit", fit)
        yield


@pytest.fixture
def prepared(make_plan, make_view) -> Prepared:
    view = make_view(10_000, seed=3, n_signal=250, signal_gev=2650.0)
    return prepare(make_plan(), view, np.random.default_rng(3))


def fitted(plan, prepared: Prepared) -> NullModel:
    return fit_null(plan, prepared, prepared.layout.windows_gev[WINDOW], seed=1)


@pytest.mark.usefixtures("quick_density")
def test_draws_are_new_events_of_the_fitted_spectrum(make_plan, prepared) -> None:
    null = fitted(make_plan(), prepared)
    layout, view = prepared.layout, prepared.view
    draws = [null.draw(np.random.default_rng(seed)) for seed in range(10)]
    masses = np.concatenate([draw.mass for draw in draws])
    features = np.concatenate([draw.features for draw in draws])
    assert not np.isin(masses, view.mass).any()
    assert not np.isin(features[:, 0], view.features[:, 0]).any()
    assert len(np.unique(masses)) == len(masses)
    assert masses.min() >= layout.edges[0]
    assert masses.max() < layout.edges[-1]
    for draw in draws:
        assert len(np.unique(draw.event_id)) == len(draw)
        assert draw.feature_names == view.feature_names

    first, last = layout.windows[WINDOW]
    masked = np.zeros(len(layout.edges) - 1, dtype=bool)
    masked[first - 3 : last + 3] = True
    low, high = null.masked_gev
    np.testing.assert_allclose([low, high], layout.edges[[first - 3, last + 3]], rtol=1e-9)
    plan = make_plan().background
    counts = layout.histogram(view.mass)
    chosen = select_order(counts, layout.basis, plan.orders, plan.alpha, masked)
    assert null.order == chosen.order + 1
    basis = DijetBasis(layout.edges, layout.sqrt_s_gev, null.order)
    fit = select_order(counts, basis, (null.order,), plan.alpha, masked).fit
    assert null.expected == pytest.approx(fit.expected.sum())
    counts = layout.histogram(masses)
    full = 10 * fit.expected > 20
    pull2 = (counts[full] - 10 * fit.expected[full]) ** 2 / (10 * fit.expected[full])
    assert chi2.sf(pull2.sum(), full.sum()) > 1e-3
    totals = np.array([len(draw) for draw in draws])
    assert len(set(totals)) > 5
    assert abs(totals.mean() - null.expected) < 4 * np.sqrt(null.expected / 10)


@pytest.mark.usefixtures("quick_density")
def test_nothing_inside_the_masked_range_is_learned(make_plan, prepared) -> None:
    null = fitted(make_plan(), prepared)
    view = prepared.view
    inside = (view.mass >= null.masked_gev[0]) & (view.mass < null.masked_gev[1])
    rng = np.random.default_rng(5)
    other_features = view.features.copy()
    other_features[inside] = rng.uniform(5, 6, (int(inside.sum()), 4))
    emptied = ~inside | (rng.random(len(view)) < 0.3)
    changed = View(view.event_id, view.mass, other_features, view.feature_names).select(emptied)
    other = fitted(make_plan(), Prepared(prepared.layout, changed, prepared.tasks))
    one, two = null.draw(np.random.default_rng(1)), other.draw(np.random.default_rng(1))
    np.testing.assert_array_equal(one.mass, two.mass)
    np.testing.assert_array_equal(one.features, two.features)


@pytest.mark.usefixtures("quick_density")
def test_what_lies_outside_the_mask_is_learned(make_plan, prepared) -> None:
    null = fitted(make_plan(), prepared)
    view = prepared.view
    thinned = view.select((view.mass < null.masked_gev[1]) | (np.arange(len(view)) % 2 == 0))
    other = fitted(make_plan(), Prepared(prepared.layout, thinned, prepared.tasks))
    assert other.expected < null.expected - 5 * np.sqrt(null.expected)


def test_too_few_events_for_a_density_are_an_error(make_plan, make_view) -> None:
    prepared = prepare(
        make_plan(windows={"width_bins": 6, "step_bins": 3, "min_events": 40}),
        make_view(1300),
        np.random.default_rng(1),
    )
    with pytest.raises(DetectorError, match="at least 1000 events"):
        fit_null(make_plan(), prepared, prepared.layout.windows_gev[0], seed=1)
