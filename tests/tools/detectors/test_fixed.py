"""Fixed scores: trained on a set-aside share, and on nothing that is scanned."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from pydantic import BaseModel

from bumpscout_tools.detectors import fixed_scores, make_detector, score_by_share
from bumpscout_tools.detectors.settings import settings_of
from bumpscout_tools.errors import ConfigurationError, DetectorError, TrainingStopped
from bumpscout_tools.events.view import View

ALL = ("mj_light", "mj_delta", "tau21_light", "tau21_heavy")
SMALL = {
    "isolation-forest": {"trees": 20},
    "autoencoder": {"hidden": (8, 2), "epochs": 10},
}


@dataclass(frozen=True)
class Choice:
    name: str
    settings: BaseModel = field(default_factory=lambda: settings_of("column"))
    features: tuple[str, ...] = ALL


def choice(name: str, **changes: object) -> Choice:
    return Choice(name, settings_of(name, SMALL.get(name, {}) | changes))


@pytest.mark.parametrize("name", SMALL)
def test_scores_depend_on_the_seed_alone(make_events, name: str) -> None:
    view = make_events(20_000)
    first = fixed_scores(choice(name), view, seed=3)
    assert first.score.shape == first.trained_on.shape == (20_000,)
    assert np.isfinite(first.score).all()
    order = np.random.default_rng(1).permutation(len(view))
    again = fixed_scores(choice(name), view.select(order), seed=3, n_jobs=3)
    np.testing.assert_array_equal(first.score[order], again.score)
    np.testing.assert_array_equal(first.trained_on[order], again.trained_on)
    other = fixed_scores(choice(name), view, seed=4)
    assert not np.array_equal(first.trained_on, other.trained_on)


@pytest.mark.parametrize("name", SMALL)
def test_no_scanned_event_has_a_say_in_the_scores(make_events, name: str) -> None:
    view = make_events(6000)
    before = fixed_scores(choice(name), view, seed=3)
    scanned = ~before.trained_on
    changed = view.features.copy()
    changed[scanned] = changed[scanned][::-1] * 3.0
    after = fixed_scores(
        choice(name), View(view.event_id, view.mass, changed, view.feature_names), seed=3
    )
    np.testing.assert_array_equal(before.score[~scanned], after.score[~scanned])
    fewer = view.select(np.flatnonzero(before.trained_on | (np.arange(len(view)) % 2 == 0)))
    alone = fixed_scores(choice(name), fewer, seed=3)
    kept = np.isin(view.event_id, fewer.event_id)
    np.testing.assert_allclose(alone.score, before.score[kept], atol=1e-5)


def test_the_share_is_as_large_as_asked_and_goes_by_event(make_events) -> None:
    view = make_events(20_000)
    for share in (0.05, 0.2, 0.5):
        found = fixed_scores(choice("isolation-forest", train_share=share), view, seed=1)
        error = np.sqrt(share * (1 - share) / len(view))
        assert found.trained_on.mean() == pytest.approx(share, abs=4 * error)
    twice = view.select(np.repeat(np.arange(2000), 2))
    copies = fixed_scores(choice("isolation-forest"), twice, seed=1)
    np.testing.assert_array_equal(copies.trained_on[::2], copies.trained_on[1::2])


def test_copies_of_training_events_among_the_scanned_are_refused(make_events) -> None:
    view = make_events(4000)
    twice = View(
        np.concatenate([view.event_id, view.event_id + np.uint64(2**63)]),
        np.tile(view.mass, 2),
        np.tile(view.features, (2, 1)),
        view.feature_names,
    )
    with pytest.raises(DetectorError, match="have copies"):
        fixed_scores(choice("isolation-forest"), twice, seed=1)


def test_a_column_is_its_own_score(make_events) -> None:
    view = make_events(500)
    for anomalous, sign in (("high", 1), ("low", -1)):
        settings = settings_of("column", {"anomalous": anomalous})
        found = fixed_scores(Choice("column", settings, ("mj_delta",)), view, seed=1)
        np.testing.assert_array_equal(found.score, sign * view.features[:, 1])
        assert not found.trained_on.any()


@pytest.mark.parametrize("name", ["cwola", "cathode"])
def test_detectors_that_learn_from_the_window_have_no_fixed_scores(make_events, name) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.* depend on the scanned events"):
        fixed_scores(choice(name), make_events(500), seed=1)
    view = make_events(500)
    with pytest.raises(ConfigurationError, match="needs a signal window"):
        score_by_share(make_detector(name), view.features, view.event_id, 0.2, 1)


def test_inputs_that_no_view_holds(make_events) -> None:
    view = make_events(6000)
    wide = np.repeat(view.features, 30, axis=1).astype(np.float32)
    detector = make_detector("autoencoder", SMALL["autoencoder"])
    found = score_by_share(detector, wide, view.event_id, 0.2, 1)
    narrow = score_by_share(detector, wide.astype(float), view.event_id, 0.2, 1)
    np.testing.assert_array_equal(found.score, narrow.score)


def test_a_stop_leaves_no_scores(make_events) -> None:
    seen: list[int] = []
    with pytest.raises(TrainingStopped):
        fixed_scores(
            choice("autoencoder"),
            make_events(6000),
            seed=1,
            stop=lambda: len(seen) >= 2,
            progress=lambda done, _total: seen.append(done),
        )
    assert seen == [1, 2]
