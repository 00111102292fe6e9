"""CATHODE: the template follows the mass into the window, and a signal stands out against it."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors import CathodeSettings, cross_fit, make_detector
from bumpscout_tools.detectors.cathode import Cathode
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

WINDOW = (2500.0, 2900.0)
SMALL = {"folds": 2, "members": 1, "trees": 30, "steps": 250, "oversample": 2}


def following(view: View) -> View:
    """Features that follow the mass linearly, as when 0.1 m_jj is added (arXiv:2109.00546)."""
    features = view.features.copy()
    features[:, :2] += 0.2 * (view.mass[:, None] - 2700) / 1000
    return View(view.event_id, view.mass, features, view.feature_names)


def signal_of(view: View) -> np.ndarray:
    """The planted signal, in the features that it was planted with."""
    near = np.abs(view.features[:, 0] - 0.3) + np.abs(view.features[:, 1] - 0.3) < 0.1
    return near & (view.features[:, 2] < 0.45) & (np.abs(view.mass - 2700) < 120)


def found(score: np.ndarray, view: View, signal: np.ndarray) -> float:
    """Share of the signal among the 1% most anomalous events of the window."""
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    cut = np.quantile(score[inside & ~signal], 0.99)
    return float((score[inside & signal] > cut).mean())


def preference(score: np.ndarray, view: View) -> float:
    """Mean rank inside the window less that outside but near, in standard errors."""
    low, high = WINDOW
    inside = (view.mass >= low) & (view.mass < high)
    beside = (view.mass >= low * low / high) & (view.mass < high * high / low) & ~inside
    error = np.sqrt(score.var() * (1 / inside.sum() + 1 / beside.sum()))
    return float((score[inside].mean() - score[beside].mean()) / error)


def score_of(view: View, **changes: object) -> np.ndarray:
    detector = make_detector("cathode", SMALL | changes)
    return cross_fit(detector, view, [WINDOW], features=view.feature_names, seed=2, n_jobs=2)[:, 0]


@pytest.mark.parametrize("latent", [False, True])
def test_it_finds_a_signal_where_features_follow_the_mass(make_events, latent: bool) -> None:
    view = make_events(10_000, seed=3, n_signal=150)
    assert found(score_of(following(view), latent=latent), view, signal_of(view)) > 0.7


@pytest.mark.parametrize("latent", [False, True])
def test_background_alone_is_not_preferred_inside(make_events, latent: bool) -> None:
    assert abs(preference(score_of(make_events(6000), latent=latent), make_events(6000))) < 4


@pytest.mark.parametrize("window", [None, (9000.0, 9900.0), (1000.0, 2900.0), (2500.0, 90_000.0)])
def test_windows_without_events_inside_or_beside_are_refused(make_events, window) -> None:
    view = make_events(3000)
    with pytest.raises(DetectorError, match=r"CATHODE (cannot be trained|needs a signal window)"):
        Cathode(CathodeSettings(**SMALL)).fit(view.features, view.mass, window, 1)


def test_the_template_holds_no_event_of_the_window(make_events) -> None:
    view = make_events(4000)
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    far = view.features.copy()
    far[inside, 0] += 100.0
    trained = Cathode(CathodeSettings(**SMALL)).fit(far, view.mass, WINDOW, 1)
    score = trained.score(far, view.mass)
    assert score[inside].min() > np.quantile(score[~inside], 0.99)
