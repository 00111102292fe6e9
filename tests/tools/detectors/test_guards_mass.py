"""Guards of the side bands: quiet where the score ignores the mass, fired where it follows it."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors.guards_mass import (
    mass_classifier,
    sculpting,
    sideband_correlation,
)

WINDOW = (2500.0, 2900.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)


@pytest.fixture
def mass(rng) -> np.ndarray:
    values = 2000 + rng.exponential(500, 8000)
    return values[(values < WINDOW[0]) | (values >= WINDOW[1])]


def test_scores_that_ignore_the_mass_do_not_fire(rng, mass) -> None:
    values = []
    for _ in range(5):
        score = rng.normal(size=len(mass))
        correlation, classifier = (
            sideband_correlation(score, mass),
            mass_classifier(score, mass, WINDOW),
        )
        assert not correlation.fired
        assert not classifier.fired
        values.append(correlation.value)
        assert classifier.value == pytest.approx(0.5, abs=0.05)
    # The estimate is unbiased: 0 on average for independent variables.
    assert abs(np.mean(values)) < 0.003


def test_the_distance_correlation_is_one_for_the_mass_and_sees_what_is_no_trend(rng, mass) -> None:
    assert sideband_correlation(mass, mass).value == pytest.approx(1.0)
    assert sideband_correlation(-mass, mass).fired
    place = np.argsort(np.argsort(mass)) / len(mass)
    around = np.abs(place - 0.5) + rng.normal(0, 0.05, len(mass))
    assert abs(np.corrcoef(around, place)[0, 1]) < 0.05
    assert sideband_correlation(around, mass).fired
    # A Gaussian pair of rank correlation 0.5 has a squared distance correlation of about 0.2.
    x = rng.normal(size=4000)
    pair = sideband_correlation(0.52 * x + np.sqrt(1 - 0.52**2) * rng.normal(size=4000), x + 10)
    assert pair.value == pytest.approx(0.22, abs=0.05)


def test_a_classifier_finds_side_bands_in_the_score(rng, mass) -> None:
    above = mass >= WINDOW[1]
    # A shift by one standard deviation has an area of Phi(1 / sqrt 2) = 0.760.
    shifted = mass_classifier(rng.normal(size=len(mass)) + above, mass, WINDOW)
    assert shifted.fired
    assert shifted.value == pytest.approx(0.760, abs=0.02)
    # No trend, but two sides: only the lower band has both tails.
    tails = np.where(above, 0.3, 3.0) * rng.normal(size=len(mass))
    assert mass_classifier(tails, mass, WINDOW).fired


def test_an_efficiency_that_a_fit_follows_is_no_sculpting_and_a_wave_is(rng, mass) -> None:
    inside = np.zeros(len(mass), dtype=bool)
    fired = 0
    for _ in range(20):
        share = 0.05 * (mass / 2500) ** 2
        fired += sculpting(rng.random(len(mass)) < share, mass, inside).fired
    assert fired == 0
    wave = 0.1 * (1 + 0.9 * np.sin(2 * np.pi * np.log(mass) / 0.12))
    assert sculpting(rng.random(len(mass)) < wave, mass, inside).fired
    hidden = (mass > 2400) & (mass < 2500)
    chosen = (rng.random(len(mass)) < 0.03) | hidden
    assert sculpting(chosen, mass, inside).fired
    assert not sculpting(chosen, mass, hidden).fired


def test_too_few_events_are_said_and_do_not_fire(mass) -> None:
    few = mass[:50]
    reports = [
        sideband_correlation(few, few),
        mass_classifier(few, few, WINDOW),
        sculpting(np.zeros(50, dtype=bool), few, np.zeros(50, dtype=bool)),
    ]
    assert [(report.fired, report.value) for report in reports] == [(False, None)] * 3
    assert all("too few" in report.message for report in reports)
