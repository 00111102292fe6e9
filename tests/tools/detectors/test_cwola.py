"""CWoLa hunting with cross-fitting: it finds a signal, and no event helps to choose itself."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from pydantic import ValidationError

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit, fold_of
from bumpscout_tools.detectors.inputs import inputs_of
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

WINDOW = (2500.0, 2900.0)
SMALL = CwolaSettings(folds=2, members=1, trees=15, leaves=8)
GREEDY = CwolaSettings(
    folds=2, members=1, trees=80, leaves=64, learning_rate=0.3, min_child_events=1
)
"""Trees that remember single events."""


def score(view: View, settings: CwolaSettings = SMALL, **changes) -> np.ndarray:
    options = {"features": view.feature_names, "seed": 5} | changes
    return cross_fit(CwolaHunting(settings), view, [WINDOW], **options)[:, 0]


def preference(score: np.ndarray, view: View) -> float:
    """Mean rank inside the window less that in the side bands, in standard errors."""
    low, high = WINDOW
    inside = (view.mass >= low) & (view.mass < high)
    beside = (view.mass >= low * low / high) & (view.mass < high * high / low) & ~inside
    error = np.sqrt(score.var() * (1 / inside.sum() + 1 / beside.sum()))
    return float((score[inside].mean() - score[beside].mean()) / error)


def copied(view: View, *, same_id: bool) -> View:
    ids = view.event_id if same_id else view.event_id + np.uint64(2**63)
    return View(
        np.concatenate([view.event_id, ids]),
        np.tile(view.mass, 2),
        np.tile(view.features, (2, 1)),
        view.feature_names,
    )


def test_signal_events_rank_high(make_events) -> None:
    view = make_events(n_signal=200)
    signal = np.abs(view.features[:, 0] - 0.3) + np.abs(view.features[:, 1] - 0.3) < 0.1
    assert np.median(score(view)[signal & (np.abs(view.mass - 2700) < 100)]) > 0.95


def test_no_event_is_scored_by_a_model_that_saw_it(make_events) -> None:
    view = make_events()
    trained = CwolaHunting(GREEDY).fit(view.features, view.mass, WINDOW, seed=1)
    remembered = trained.score(view.features, view.mass)
    assert preference(remembered, view) > 20
    assert abs(preference(score(view, GREEDY), view)) < 5


def test_copies_of_an_event_do_not_choose_each_other(make_events) -> None:
    view = make_events(4000)
    apart = copied(view, same_id=False)
    assert preference(score(apart, GREEDY, allow_copies=True), view_of_copies(view)) > 15
    with pytest.raises(DetectorError, match="8000 of 8000 events have copies"):
        score(apart, GREEDY)
    assert abs(preference(score(copied(view, same_id=True), GREEDY), view_of_copies(view))) < 6


def view_of_copies(view: View) -> View:
    return copied(view, same_id=True)


def test_copies_share_their_score_up_to_ties(make_events) -> None:
    view = make_events(2000)
    both = score(copied(view, same_id=True))
    np.testing.assert_array_equal(both[:2000], both[2000:])


def test_scores_are_ranks_of_each_fold(make_events) -> None:
    view = make_events()
    settings = CwolaSettings(folds=3, members=1, trees=15)
    values = score(view, settings)
    fold = fold_of(view.event_id, 3, seed=5)
    assert values.shape == (8000,)
    for number in range(3):
        inside = values[fold == number]
        assert inside.mean() == pytest.approx(0.5, abs=1e-9)
        assert 0 < inside.min() < inside.max() < 1


def test_same_seed_same_scores_whatever_the_number_of_threads(make_events) -> None:
    view = make_events(3000)
    windows = [WINDOW, (2600.0, 3100.0)]
    runs = [
        cross_fit(CwolaHunting(SMALL), view, windows, features=view.feature_names, seed=8, n_jobs=n)
        for n in (1, 3, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])
    assert not np.array_equal(score(view), score(view, seed=6))


def test_windows_do_not_influence_each_others_models_beyond_their_seed(make_events) -> None:
    view = make_events(3000)
    alone = score(view)
    first_of_two = cross_fit(
        CwolaHunting(SMALL), view, [WINDOW, (2600.0, 3100.0)], features=view.feature_names, seed=5
    )[:, 0]
    np.testing.assert_array_equal(alone, first_of_two)


def test_progress_counts_every_training(make_events) -> None:
    seen: list[tuple[int, int]] = []
    score(make_events(2000), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_side_bands_weigh_the_same_and_together_as_much_as_the_window(
    make_events, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = make_events()
    seen: dict[str, np.ndarray] = {}

    def spy(data, label, weight, **options):
        seen.update(data=data, label=label, weight=weight)
        return real(data, label=label, weight=weight, **options)

    real = lightgbm.Dataset
    monkeypatch.setattr(lightgbm, "Dataset", spy)
    train = np.arange(len(view)) % 2 == 0
    features = np.column_stack([view.features, view.mass])
    CwolaHunting(SMALL).fit(features[train], view.mass[train], WINDOW, seed=1)
    mass, label, weight = seen["data"][:, -1], seen["label"], seen["weight"]
    low, high = WINDOW
    np.testing.assert_array_equal(label == 1, (mass >= low) & (mass < high))
    inside, below = weight[label == 1].sum(), weight[mass < low].sum()
    assert below == pytest.approx(weight[mass >= high].sum()) == pytest.approx(0.5 * inside)
    assert low * low / high * (1 - 1e-9) <= mass.min() < mass.max() < high * high / low
    assert len(mass) == ((train) & (view.mass >= low**2 / high) & (view.mass < high**2 / low)).sum()


def test_a_linear_drift_of_a_feature_is_not_taken_for_a_signal(make_events) -> None:
    view = make_events(20_000)
    features = view.features.copy()
    features[:, 0] += 0.1 * np.log(view.mass / 2700)
    drifting = View(view.event_id, view.mass, features, view.feature_names)
    low, high = WINDOW
    near = (view.mass >= low * low / high) & (view.mass < high * high / low)
    correlation = np.corrcoef(score(drifting)[near], np.log(view.mass[near]))[0, 1]
    assert abs(correlation) < 0.06


@pytest.mark.parametrize("names", [("m_jj",), ("mj_light", "label"), ()])
def test_mass_and_unknown_features_are_refused(make_events, names: tuple[str, ...]) -> None:
    with pytest.raises(DetectorError, match="Unknown features"):
        score(make_events(1000), features=names)


def test_a_message_of_unknown_features_stays_short():
    n = 10
    names = tuple(f"feature_{number}" for number in range(1500))
    view = View(
        event_id=np.arange(n, dtype=np.uint64),
        mass=np.full(n, 1000.0),
        features=np.zeros((n, 1500)),
        feature_names=names,
    )
    with pytest.raises(DetectorError, match="feature_69 and 1430 more") as caught:
        inputs_of(view, tuple(f"m_{number}" for number in range(1287)))
    assert "m_69 and 1217 more" in str(caught.value)
    assert len(str(caught.value)) < 2500


@pytest.mark.parametrize("window", [(9000.0, 9900.0), (100.0, 120.0), (2000.0, 2200.0)])
def test_windows_without_events_or_side_bands_cannot_be_trained(make_events, window) -> None:
    view = make_events(2000)
    with pytest.raises(DetectorError, match=r"window \d+-\d+ GeV: lower side band"):
        cross_fit(CwolaHunting(SMALL), view, [window], features=view.feature_names, seed=1)


def test_copies_of_one_event_only_cannot_be_trained(make_events) -> None:
    view = make_events(3000)
    same = View(np.full(3000, 7, np.uint64), view.mass, view.features, view.feature_names)
    with pytest.raises(DetectorError):
        score(same)


def test_settings_refuse_what_they_do_not_know() -> None:
    for wrong in ({"fold": 5}, {"folds": 1}, {"learning_rate": 0.0}, {"sideband_windows": -1}):
        with pytest.raises(ValidationError):
            CwolaSettings(**wrong)
