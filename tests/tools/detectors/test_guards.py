"""Guards: they fire on scores made from the mass or from identities, not on CWoLa nulls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.detectors.guards import guard_score
from bumpscout_tools.events.view import View

WINDOW = (2500.0, 2900.0)
WINDOWS = [WINDOW, (2300.0, 2700.0), (2700.0, 3100.0)]


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


BOTH = {"mass dependence", "feature consistency"}
EFFICIENCY = 0.02


def reports(score: np.ndarray, view, window=WINDOW):
    """Guard the whole window as bump; the side bands say how many events it expects."""
    selected = np.zeros(len(view), dtype=bool)
    selected[np.argsort(-score, kind="stable")[: round(EFFICIENCY * len(view))]] = True
    inside = (view.mass >= window[0]) & (view.mass < window[1])
    expected = selected[~inside].mean() * inside.sum()
    return guard_score(score, view, window, window, EFFICIENCY, expected)


def fired(score: np.ndarray, view, window=WINDOW) -> set[str]:
    return {report.name for report in reports(score, view, window) if report.fired}


def honest(view, settings: CwolaSettings | None = None, seed: int = 3) -> np.ndarray:
    detector = CwolaHunting(settings or CwolaSettings(members=1))
    return cross_fit(detector, view, [WINDOW], features=view.feature_names, seed=seed)[:, 0]


@pytest.mark.parametrize(
    "cheat",
    [
        lambda mass: mass,
        lambda mass: -mass,
        lambda mass: -np.abs(mass - 2700),
        lambda mass: ((mass > 2600) & (mass < 2800)).astype(float),
        lambda mass: np.sin(mass / 30),
    ],
    ids=["mass", "minus mass", "distance", "indicator", "wave"],
)
def test_a_score_made_from_the_mass_fires_both(make_events, cheat) -> None:
    view = make_events()
    assert fired(cheat(view.mass), view) >= BOTH


def test_an_indicator_hidden_in_noise_fires(make_events, rng) -> None:
    view = make_events()
    indicator = (view.mass > 2500) & (view.mass < 2900)
    for strength in (0.2, 0.5, 1.0, 3.0):
        assert fired(rng.normal(size=len(view)) + strength * indicator, view)


def test_an_indicator_added_to_an_honest_score_fires(make_events) -> None:
    view = make_events()
    indicator = (view.mass > 2600) & (view.mass < 2800)
    assert fired(honest(view) + 0.5 * indicator, view)


def test_a_score_by_identity_fires(make_events, rng) -> None:
    view = make_events()
    assert "feature consistency" in fired(view.event_id.astype(float), view)
    chosen = np.isin(view.event_id, rng.choice(view.event_id, 2000, replace=False))
    assert "feature consistency" in fired(chosen.astype(float), view)


def test_a_score_that_the_features_hardly_explain_fires(make_events, rng) -> None:
    view = make_events()
    feature = view.features[:, 0] / view.features[:, 0].std()
    assert "feature consistency" in fired(feature + 2.0 * rng.normal(size=len(view)), view)


@pytest.mark.parametrize("lift", [0.5, 1.0])
def test_an_honest_score_lifted_in_a_mass_range_loses_its_bump(make_events, lift: float) -> None:
    view = make_events(16_000)
    inside = (view.mass > 2500) & (view.mass < 2900)
    score = norm.ppf(honest(view)) + lift * inside
    assert "selection consistency" in fired(score, view)


def test_a_list_of_events_on_top_of_an_honest_score_loses_its_bump(make_events, rng) -> None:
    view = make_events(16_000)
    inside = np.flatnonzero((view.mass > 2500) & (view.mass < 2900))
    score = honest(view)
    score[rng.choice(inside, 80, replace=False)] = 2.0
    assert fired(score, view) == {"selection consistency"}


def middle_reports(score: np.ndarray, view) -> dict[str, bool]:
    """Guard a bump in the middle of the window."""
    bump = (2620.0, 2780.0)
    selected = np.zeros(len(view), dtype=bool)
    selected[np.argsort(-score, kind="stable")[: round(EFFICIENCY * len(view))]] = True
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    middle = (view.mass >= bump[0]) & (view.mass < bump[1])
    expected = selected[~inside].mean() * middle.sum()
    found = guard_score(score, view, WINDOW, bump, EFFICIENCY, expected)
    return {report.name: report.fired for report in found}


def test_a_small_lift_of_the_whole_score_shows_beside_the_rest_of_the_window(make_events) -> None:
    view = make_events(24_000)
    score = norm.ppf(honest(view))
    middle = (view.mass >= 2620) & (view.mass < 2780)
    assert not any(middle_reports(score, view).values())
    assert middle_reports(score + 0.2 * middle, view)["local lift"]


def test_events_put_on_top_of_a_bump_are_swapped_one_way_only(make_events, rng) -> None:
    view = make_events(16_000)
    rows = np.flatnonzero((view.mass >= 2620) & (view.mass < 2780))
    score = honest(view)
    score[rng.choice(rows, 60, replace=False)] = 2.0
    assert middle_reports(score, view)["selection symmetry"]


def test_a_constant_score_fires_and_does_not_crash(make_events) -> None:
    assert fired(np.zeros(8000), make_events()) >= BOTH


def test_a_function_of_the_features_does_not_fire(make_events) -> None:
    view = make_events()
    assert (
        fired(view.features[:, 0] + view.features[:, 1] ** 2 - view.features[:, 3], view) == set()
    )


@pytest.mark.parametrize("seed", range(4))
def test_cwola_on_background_alone_does_not_fire(make_events, seed: int) -> None:
    view = make_events(16_000, seed=seed)
    scores = cross_fit(
        CwolaHunting(CwolaSettings()), view, WINDOWS, features=view.feature_names, seed=seed
    )
    for column, window in enumerate(WINDOWS):
        assert fired(scores[:, column], view, window) == set()


def test_cwola_on_a_signal_does_not_fire(make_events) -> None:
    view = make_events(16_000, n_signal=150)
    assert fired(honest(view, CwolaSettings()), view) == set()


def following_the_mass(view: View) -> View:
    """Add a tenth of the mass, in TeV, to the two masses of the jets."""
    features = view.features.copy()
    features[:, :2] += 0.1 * view.mass[:, None] / 1000
    return View(view.event_id, view.mass, features, view.feature_names)


def test_places_among_events_of_the_same_mass_explain_a_score(make_events, rng) -> None:
    """As those of LaCATHODE; what is done to such a score in the window still shows."""
    plain = make_events(24_000, n_signal=200)
    view, score = following_the_mass(plain), norm.ppf(honest(plain))
    middle = (view.mass >= 2620) & (view.mass < 2780)
    assert not any(middle_reports(score, view).values())
    assert middle_reports(score + 0.3 * middle, view)["local lift"]
    listed = score.copy()
    listed[rng.choice(np.flatnonzero(middle), 100, replace=False)] = 9.0
    assert any(middle_reports(listed, view).values())


def test_reports_say_their_numbers(make_events) -> None:
    view = make_events()
    mass, feature, *_ = reports(view.mass, view)
    assert mass.value == pytest.approx(1.0, abs=0.01)
    assert "explains 100" in mass.message or "explains 99" in mass.message
    assert mass.value > mass.threshold
    assert feature.value < feature.threshold
