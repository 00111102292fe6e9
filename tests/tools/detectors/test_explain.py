"""What makes anomalous events different: shifts, attributions that add up, and their limits."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors import (
    AutoencoderDetector,
    AutoencoderSettings,
    CwolaHunting,
    CwolaSettings,
    cross_fit,
)
from bumpscout_tools.detectors.explain import (
    differences,
    integrated_gradients,
    surrogate_contributions,
    tree_contributions,
)
from bumpscout_tools.detectors.explain_bump import explain_bump
from bumpscout_tools.scan.plan import DetectorPlan

WINDOW = (2500.0, 2900.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_shifts_are_standardised_and_compare_events_of_the_same_masses(rng) -> None:
    n = 40_000
    mass = rng.uniform(2500, 2900, n)
    selected = rng.random(n) < np.where(mass > 2750, 0.08, 0.02)
    moved = rng.normal(0, 2.0, n) + 1.0 * selected
    follows = mass + rng.normal(0, 50, n)
    one, other = differences(
        ("moved", "follows"), np.column_stack([moved, follows]), mass, selected
    )
    assert one.shift == pytest.approx(0.5, abs=3 * one.shift_error)
    assert one.shift_error == pytest.approx(1 / np.sqrt(selected.sum()), rel=0.2)
    # Unweighted, the selected events of this feature lie 0.5 standard deviations higher.
    assert abs(other.shift) < 0.12
    assert one.share is None


def test_integrated_gradients_of_a_product_are_known_and_complete(rng) -> None:
    features, baselines = rng.normal(size=(50, 3)), rng.normal(size=(10, 3))

    def score(x: np.ndarray) -> np.ndarray:
        return x[:, 0] * x[:, 1] + 2 * x[:, 2]

    def slopes(x: np.ndarray) -> np.ndarray:
        return np.column_stack([x[:, 1], x[:, 0], np.full(len(x), 2.0)])

    found = integrated_gradients(slopes, features, baselines)
    assert found.sum(axis=1) == pytest.approx(score(features) - score(baselines).mean())
    assert found[:, 2] == pytest.approx(2 * (features[:, 2] - baselines[:, 2].mean()))


def test_the_gradient_of_the_autoencoder_is_that_of_its_score(make_events) -> None:
    view = make_events(2000)
    settings = AutoencoderSettings(hidden=(8, 2), epochs=3, activation="silu", loss="mse")
    fitted = AutoencoderDetector(settings).fit(view.features, view.mass, None, 1)
    rows, step = view.features[:20], 1e-3
    slopes = fitted.slopes(rows)
    for column in range(4):
        size = step * view.features[:, column].std()
        up, down = rows.copy(), rows.copy()
        up[:, column] += size
        down[:, column] -= size
        numeric = (fitted.score(up, view.mass) - fitted.score(down, view.mass)) / (2 * size)
        assert slopes[:, column] == pytest.approx(numeric, rel=0.05, abs=0.02 / size * step)


def test_contributions_of_trees_add_up_to_their_score(make_events) -> None:
    view = make_events(4000)
    settings = CwolaSettings(classifier="trees", min_child_events=20)
    fitted = CwolaHunting(settings).fit(view.features, view.mass, WINDOW, 1)
    (ensemble,) = fitted.classifier.ensembles
    found = tree_contributions(ensemble.boosters, view.features)
    score = fitted.score(view.features, view.mass)
    assert found.sum(axis=1) - score == pytest.approx(
        np.full(4000, float((found.sum(axis=1) - score).mean())), abs=1e-6
    )


def test_a_surrogate_says_which_features_make_a_score(rng) -> None:
    features = rng.normal(size=(4000, 3))
    score = features[:, 1] ** 2 + 0.1 * rng.normal(size=4000)
    found, explained = surrogate_contributions(score, features, np.arange(4000))
    spread = found.std(axis=0)
    assert spread[1] > 10 * spread[0]
    assert explained > 0.8
    _, nothing = surrogate_contributions(rng.normal(size=4000), features, np.arange(10))
    assert nothing < 0.05


@pytest.mark.parametrize(
    ("name", "settings", "method"),
    [
        ("cwola", {"classifier": "trees", "members": 1}, "tree contributions"),
        ("autoencoder", {"epochs": 3}, "integrated gradients"),
        (None, {}, "surrogate tree contributions"),
    ],
)
def test_a_bump_is_explained_by_its_detector(make_events, name, settings, method) -> None:
    view = make_events(8000, n_signal=200)
    cwola = CwolaHunting(CwolaSettings(members=1, classifier="trees"))
    score = cross_fit(cwola, view, [WINDOW], features=view.feature_names, seed=3)[:, 0]
    selected = score > np.quantile(score, 0.97)
    choice = None
    if name is not None:
        choice = DetectorPlan(name=name, settings=settings, features=view.feature_names)
    found = explain_bump(view.feature_names, view, score, selected, WINDOW, detector=choice, seed=3)
    assert found.method == method
    assert (found.explained is None) == (name is not None)
    by_name = {one.feature: one for one in found.features}
    assert by_name["tau21_light"].shift < -1
    assert by_name["mj_light"].shift > 1
    assert sum(one.share for one in found.features) == pytest.approx(1.0)


def test_too_few_selected_events_are_counted_and_not_compared(make_events) -> None:
    view = make_events(2000)
    selected = np.arange(2000) < 5
    found = explain_bump(view.feature_names, view, view.mass, selected, WINDOW)
    assert found.features == ()
    assert found.n_selected <= 5
