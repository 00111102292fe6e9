"""Combinations of detectors: their arithmetic, their training, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm, spearmanr

from bumpscout_tools.detectors import Combination, CombinationSettings, cross_fit, make_detector
from bumpscout_tools.detectors.combine import combined
from bumpscout_tools.detectors.correlation import correlate

WINDOWS = [(2500.0, 2900.0), (2300.0, 2700.0)]
CWOLA = {
    "name": "cwola",
    "settings": {"members": 1, "trees": 20, "folds": 3, "classifier": "trees"},
}
FOREST = {"name": "isolation-forest", "settings": {"trees": 50, "folds": 3}}


def settings(rule: str) -> CombinationSettings:
    return CombinationSettings(members=[CWOLA, FOREST], rule=rule)


def test_mean_and_maximum_are_what_they_say() -> None:
    ranks = [np.array([0.5, 0.9, 0.99]), np.array([0.9, 0.9, 0.01])]
    assert combined(ranks, "maximum") == pytest.approx([0.9, 0.9, 0.99])
    # Phi^-1(0.9) = 1.2816, and Phi^-1 is odd about 0.5.
    assert combined(ranks, "mean") == pytest.approx([0.6408, 1.2816, 0.0], abs=1e-4)


@pytest.mark.parametrize("rule", ["mean", "maximum"])
def test_members_are_cross_fitted_and_their_ranks_combined(make_events, rule: str) -> None:
    view = make_events(3000, n_signal=100)
    how = {"features": view.feature_names, "seed": 5}
    scores = cross_fit(Combination(settings(rule)), view, WINDOWS, **how)
    assert scores.shape == (3100, 2)
    assert scores.min() > 0
    assert scores.max() < 1
    seeds = np.random.SeedSequence(5).generate_state(2, np.uint32) // 4
    parts = [
        cross_fit(make_detector(**part), view, WINDOWS, features=how["features"], seed=int(seed))
        for part, seed in zip(
            [{"name": m["name"], "parameters": m["settings"]} for m in (CWOLA, FOREST)],
            seeds,
            strict=True,
        )
    ]
    assert (parts[1][:, 0] == parts[1][:, 1]).all()
    own = np.mean(norm.ppf(parts), axis=0) if rule == "mean" else np.max(parts, axis=0)
    for window in (0, 1):
        assert spearmanr(own[:, window], scores[:, window]).statistic == pytest.approx(1.0)
    shuffled = np.random.default_rng(1).permutation(len(view))
    again = cross_fit(Combination(settings(rule)), view.select(shuffled), WINDOWS, **how, n_jobs=2)
    assert (again == scores[shuffled]).all()


def test_a_combination_outside_of_folds_ranks_among_what_it_was_trained_on(make_events) -> None:
    view = make_events(3000, n_signal=300)
    detector = Combination(settings("mean")).named(view.feature_names)
    fitted = detector.fit(view.features, view.mass, WINDOWS[0], 1)
    score = fitted.score(view.features, view.mass)
    signal = view.features[:, 2] + view.features[:, 3] < 0.6
    assert np.isfinite(score).all()
    assert score[signal].mean() > score[~signal].mean() + 1.0


@pytest.mark.parametrize(
    "members",
    [
        [CWOLA],
        [CWOLA, CWOLA],
        [CWOLA, {"name": "column"}],
        [CWOLA, {"name": "combination"}],
        [CWOLA, {"name": "autoencoder", "settings": {"latent": 3}}],
    ],
    ids=["one", "twice", "a column", "nested", "unknown setting"],
)
def test_combinations_that_mean_nothing_are_refused(members) -> None:
    with pytest.raises(ValidationError):
        CombinationSettings(members=members)


def test_methods_are_compared_by_ranks_and_by_what_they_select() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=20_000)
    other = 0.8 * one + 0.6 * rng.normal(size=20_000)
    scores = [one, np.exp(other), rng.normal(size=20_000), np.zeros(20_000)]
    found = correlate(["cwola", "cwola", "vae", "column"], scores, (0.1, 0.01), (2500.0, 2900.0))
    assert found.methods == ("cwola", "cwola 2", "vae", "column")
    # Spearman's coefficient of a Gaussian pair: 6 / pi asin(rho / 2).
    assert found.spearman[0][1] == pytest.approx(6 / np.pi * np.arcsin(0.4), abs=0.01)
    assert found.spearman[0][1] == pytest.approx(spearmanr(one, other).statistic, abs=1e-6)
    assert abs(found.spearman[0][2]) < 0.03
    assert found.spearman[0][3] == 0.0
    assert found.overlaps[0].share[0][2] == pytest.approx(0.1, abs=0.03)
    assert found.overlaps[0].share[0][0] == 1.0
    assert found.overlaps[1].n_selected == 200
