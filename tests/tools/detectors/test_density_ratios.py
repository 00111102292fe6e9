"""ANODE, R-ANODE and QUAK: densities inside a window over the one interpolated into it."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize

from bumpscout_tools.detectors import QuakSettings, cross_fit, make_detector
from bumpscout_tools.detectors.quak import _mixture_weights
from bumpscout_tools.detectors.settings_density import SignalPrior
from bumpscout_tools.errors import DetectorError, TrainingStopped
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import DetectorPlan

WINDOW = (2500.0, 2900.0)
NAMES = ("mj_light", "mj_delta", "tau21_light", "tau21_heavy")
SHARED = {"folds": 2, "steps": 100}
SMALL = {
    "anode": SHARED | {"inner_steps": 100, "trainings": 1},
    "r-anode": SHARED | {"signal_steps": 150, "trainings": 1},
    "quak": SHARED | {"signal_steps": 60},
}


def prior(name: str, centre: float = 0.3, n: int = 400, seed: int = 5) -> SignalPrior:
    """Events of the signal that `toy_events` plants, or of one with other masses."""
    rng = np.random.default_rng(seed)
    masses = [rng.normal(centre, 0.02, n), rng.normal(centre, 0.03, n)]
    values = np.column_stack([*masses, rng.beta(2, 8, n), rng.beta(2, 8, n)])
    return SignalPrior.of(name, f"{seed:064x}", NAMES, values)


def settings_of(name: str, **changes: object) -> dict[str, object]:
    priors = {"priors": [prior("near")]} if name == "quak" else {}
    return SMALL[name] | priors | changes


def scores(name: str, view: View, **changes: object) -> np.ndarray:
    detector = make_detector(name, settings_of(name, **changes))
    return cross_fit(detector, view, [WINDOW], features=NAMES, seed=2, n_jobs=2)[:, 0]


def following(view: View) -> View:
    """Two features that follow the mass linearly, by half of their spread over the window."""
    features = view.features.copy()
    features[:, 2:] += 0.2 * (view.mass[:, None] - 2700) / 1000
    return View(view.event_id, view.mass, features, view.feature_names)


@pytest.mark.parametrize("name", SMALL)
def test_it_finds_a_signal_where_features_follow_the_mass(make_events, name: str) -> None:
    view = make_events(6000, seed=3, n_signal=150)
    near = np.abs(view.features[:, 0] - 0.3) + np.abs(view.features[:, 1] - 0.3) < 0.1
    signal = near & (view.features[:, 2] < 0.45) & (np.abs(view.mass - 2700) < 120)
    score = scores(name, following(view))
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    cut = np.quantile(score[inside & ~signal], 0.99)
    assert (score[inside & signal] > cut).mean() > 0.7


@pytest.mark.parametrize("name", SMALL)
def test_background_alone_is_not_preferred_inside(make_events, name: str) -> None:
    view = make_events(3000)
    score, (low, high) = scores(name, view), WINDOW
    inside = (view.mass >= low) & (view.mass < high)
    beside = (view.mass >= low * low / high) & (view.mass < high * high / low) & ~inside
    error = np.sqrt(score.var() * (1 / inside.sum() + 1 / beside.sum()))
    assert abs(score[inside].mean() - score[beside].mean()) < 4 * error


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("window", [None, (1000.0, 2900.0), (2500.0, 90_000.0)])
def test_windows_without_events_beside_them_are_refused(make_events, name, window) -> None:
    view = make_events(3000)
    with pytest.raises(DetectorError, match=r"(cannot be trained|needs a signal window)"):
        make_detector(name, settings_of(name)).fit(view.features, view.mass, window, 1)


@pytest.mark.parametrize("name", ["anode", "r-anode"])
def test_a_window_with_few_events_is_refused(make_events, name: str) -> None:
    view = make_events(3000)
    with pytest.raises(DetectorError, match="at least 100 are needed"):
        make_detector(name, SMALL[name]).fit(view.features, view.mass, (2690.0, 2705.0), 1)


@pytest.mark.parametrize("name", SMALL)
def test_it_stops_when_told_to_in_the_last_training(make_events, name: str) -> None:
    view = make_events(3000)
    told: list[int] = []
    detector = make_detector(name, settings_of(name))

    def stop() -> bool:
        return len(told) > 0 and told[-1] == 1 and len(told) > 1

    with pytest.raises(TrainingStopped):
        detector.fit(
            *(view.features, view.mass, WINDOW, 1),
            stop=stop,
            progress=lambda done, _: told.append(done),
        )
    assert told.count(1) == 2


def test_priors_count_as_much_as_the_window_shows_of_them() -> None:
    rng = np.random.default_rng(1)
    ratios = np.exp(rng.normal([[0.3], [-0.4], [0.1]], 1.0, (3, 500)))

    def loss(logits: np.ndarray) -> float:  # one event more for each, as the function says
        shares = np.exp(logits) / (1 + np.exp(logits).sum())
        background = 1 - shares.sum()
        likelihood = np.log(background + shares @ ratios).sum()
        return -float(likelihood + np.log(shares).sum() + np.log(background))

    best = minimize(loss, np.full(3, -2.0), method="BFGS").x
    expected = np.exp(best) / (1 + np.exp(best).sum())
    assert np.allclose(_mixture_weights(np.log(ratios)), expected, atol=2e-3)
    assert np.ptp(_mixture_weights(np.empty((3, 0)))) == 0


def test_a_prior_of_which_the_data_show_nothing_counts_little(make_events) -> None:
    view = make_events(6000, seed=3, n_signal=150)
    both = {"priors": [prior("near"), prior("far", centre=0.6, seed=6)]}
    detector = make_detector("quak", SMALL["quak"] | both)
    near, far = detector.fit(view.features, view.mass, WINDOW, 1).weights
    assert near > 5 * far
    equal = make_detector("quak", SMALL["quak"] | both | {"weights": "equal"})
    assert equal.fit(view.features, view.mass, WINDOW, 1).weights is None


def test_quak_without_priors_or_with_other_features_says_what_to_do(make_events) -> None:
    view = make_events(3000)
    with pytest.raises(DetectorError, match="QUAK needs simulated signal events"):
        make_detector("quak").fit(view.features, view.mass, WINDOW, 1)
    with pytest.raises(DetectorError, match="hold 4 features and the detector uses 3"):
        make_detector("quak", settings_of("quak")).fit(view.features[:, :3], view.mass, WINDOW, 1)


def test_priors_survive_a_plan_and_belong_to_its_features() -> None:
    one = prior("near")
    settings = QuakSettings(priors=(one,))
    assert QuakSettings.model_validate_json(settings.model_dump_json()) == settings
    assert one.values().shape == (400, 4)
    DetectorPlan(name="quak", settings=settings, features=NAMES)
    with pytest.raises(ValidationError, match="near holds the features mj_light"):
        DetectorPlan(name="quak", settings=settings, features=NAMES[::-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": "no base64"}, "no table of 4 features"),
        ({"rows": "AAAA"}, "no table of 4 features"),
        ({"features": NAMES[:3]}, "no table of 3 features"),
        ({"rows": "AAAAAAAAAAAAAAAAAAAAAA=="}, "holds 1 events; a prior has 200 to 2000"),
        ({"sha256": "x"}, "pattern"),
    ],
)
def test_damaged_priors_are_refused(change: dict[str, object], said: str) -> None:
    whole = prior("near", n=500).model_dump()
    if "features" in change:
        whole["rows"] = prior("near", n=401).rows
    with pytest.raises(ValidationError, match=said):
        SignalPrior.model_validate(whole | change)


def test_a_file_is_one_prior_and_no_value_is_infinite() -> None:
    with pytest.raises(ValidationError, match="named twice"):
        QuakSettings(priors=(prior("a"), prior("b")))
    with pytest.raises(ValidationError, match="not finite"):
        SignalPrior.of("a", "0" * 64, ("x",), np.full((300, 1), np.inf))


def test_the_density_inside_is_no_finer_in_the_mass_than_the_one_outside() -> None:
    with pytest.raises(ValidationError, match="inner_degree 2 exceeds degree 1"):
        make_detector("anode").settings.__class__(degree=1, inner_degree=2)
