"""Densities in the scores of another: of other events, and of what is mixed into its events."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors.density import ConditionalDensity, log_ratio, training
from bumpscout_tools.detectors.density.ratio import LIMIT
from bumpscout_tools.errors import DetectorError


def events(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two independent normal features, the first moved; nothing follows the mass."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 2)) + np.array([shift, 0.0])
    return features, 2000.0 + rng.exponential(500.0, n)


@pytest.fixture(scope="module")
def background() -> ConditionalDensity:
    return ConditionalDensity.fit(*events(8000, 1), seed=1, degree=1, steps=150, threads=1)


def test_the_ratio_of_two_normals_is_what_the_formula_says(background) -> None:
    moved = background.refit(*events(4000, 2, shift=0.8), seed=2, degree=0, steps=200, threads=1)
    features, mass = events(2000, 3)
    expected = 0.8 * features[:, 0] - 0.5 * 0.8**2  # log N(x - 0.8) / N(x)
    bulk = np.abs(features).max(axis=1) < 2
    found = log_ratio([moved], background, features, mass)
    assert np.abs(found - expected)[bulk].mean() < 0.15
    assert np.corrcoef(found[bulk], expected[bulk])[0, 1] > 0.97


def test_a_component_is_found_with_its_share(background) -> None:
    features, mass = events(5000, 4)
    rng = np.random.default_rng(5)
    features[:400] = rng.normal([1.5, -1.5], 0.15, (400, 2))
    found, share = background.component(features, mass, seed=6, steps=400, threads=1)
    assert share == pytest.approx(0.08, abs=0.03)
    ratio = log_ratio([found], background, features, mass)
    assert ratio[:400].min() > np.quantile(ratio[400:], 0.95)


def test_ratios_stay_finite_far_from_all_events(background) -> None:
    far = np.array([[1e6, -1e6], [0.0, 1e9]])
    moved = background.refit(*events(1000, 7, shift=2.0), seed=2, degree=1, steps=20, threads=1)
    assert np.abs(log_ratio([moved], background, far, np.array([2500.0, 9e4]))).max() <= LIMIT


def test_weights_decide_the_mean_of_densities(background) -> None:
    left = background.refit(*events(2000, 8, shift=-1.0), seed=1, degree=0, steps=60, threads=1)
    right = background.refit(*events(2000, 9, shift=1.0), seed=1, degree=0, steps=60, threads=1)
    features, mass = events(500, 10)
    one = [np.exp(log_ratio([density], background, features, mass)) for density in (left, right)]
    both = log_ratio([left, right], background, features, mass, np.array([3.0, 1.0]))
    assert np.allclose(np.exp(both), 0.75 * one[0] + 0.25 * one[1])


def test_densities_in_other_scores_are_not_divided(background) -> None:
    other = ConditionalDensity.fit(*events(2000, 11), seed=1, degree=1, steps=20, threads=1)
    with pytest.raises(DetectorError, match="different scores"):
        log_ratio([other], background, *events(10, 1))


@pytest.mark.parametrize("n", [0, 99])
def test_too_few_events_are_refused(background, n: int) -> None:
    with pytest.raises(DetectorError, match="at least 100 events"):
        background.refit(*events(n, 1), seed=1, degree=0, steps=20)


def test_a_finer_dependence_on_the_mass_than_that_of_the_scores_is_refused(background) -> None:
    with pytest.raises(DetectorError, match="degree 2 in log mass"):
        background.refit(*events(500, 1), seed=1, degree=2, steps=20)


def test_a_loss_that_is_no_number_ends_the_training(background, monkeypatch) -> None:
    original = training._losses
    monkeypatch.setattr(training, "_losses", lambda *given: original(*given) * float("nan"))
    with pytest.raises(DetectorError, match="had a finite loss"):
        background.refit(*events(500, 1), seed=1, degree=0, steps=20)
    with pytest.raises(DetectorError, match="had a finite loss"):
        background.component(*events(500, 1), seed=1, steps=20)
