"""Cross-fitting of any detector: who trains on what, copies, stops, what scores depend on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from bumpscout_tools.detectors import cross_fit, fold_of, make_detector
from bumpscout_tools.errors import DetectorError, TrainingStopped
from bumpscout_tools.events.view import View

WINDOWS = [(2500.0, 2900.0), (2700.0, 3100.0)]
SMALL: dict[str, dict[str, Any]] = {
    "cwola": {"folds": 2, "members": 1, "trees": 10},
    "cathode": {"folds": 2, "members": 1, "trees": 10, "steps": 20, "oversample": 1},
    "isolation-forest": {"folds": 2, "trees": 20, "subsample": 64},
    "autoencoder": {"folds": 2, "hidden": (8, 2), "epochs": 6},
}


def scores(name: str, view: View, **changes: Any) -> np.ndarray:
    options = {"features": view.feature_names, "seed": 5} | changes
    return cross_fit(make_detector(name, SMALL[name]), view, WINDOWS, **options)


@dataclass(frozen=True)
class Remembered:
    """Scores 1 what it was trained on, 0 what it never saw."""

    seen: set[bytes]

    def score(self, features: np.ndarray, _mass: np.ndarray) -> np.ndarray:
        return np.array([float(row.tobytes() in self.seen) for row in features])


@dataclass(frozen=True)
class Memory:
    folds: int = 4
    uses_window: ClassVar[bool] = True

    def fit(self, features: np.ndarray, *_others: Any, **_watch: Any) -> Remembered:
        return Remembered({row.tobytes() for row in features})


@dataclass(frozen=True)
class Failing:
    """Fails in one fold while the others wait to be told to stop."""

    first: threading.Lock
    folds: int = 3
    uses_window: ClassVar[bool] = False

    def fit(self, *_events: Any, stop: Callable[[], bool]) -> Remembered:
        if self.first.acquire(blocking=False):
            raise DetectorError("this fold cannot be trained")
        while not stop():
            time.sleep(0.001)
        raise TrainingStopped("stopped")


def test_no_event_is_scored_by_a_model_that_trained_on_it(make_events) -> None:
    view = make_events(3000)
    np.testing.assert_array_equal(Memory().fit(view.features).score(view.features, view.mass), 1.0)
    ranks = cross_fit(Memory(), view, WINDOWS, features=view.feature_names, seed=1)
    np.testing.assert_array_equal(ranks, 0.5)


def test_copies_in_other_folds_are_remembered_and_refused(make_events) -> None:
    view = make_events(1000)
    twice = View(
        np.concatenate([view.event_id, view.event_id + np.uint64(2**63)]),
        np.tile(view.mass, 2),
        np.tile(view.features, (2, 1)),
        view.feature_names,
    )
    options = {"features": view.feature_names, "seed": 1}
    with pytest.raises(DetectorError, match="2000 of 2000 events have copies"):
        cross_fit(Memory(), twice, WINDOWS, **options)
    ranks = cross_fit(Memory(), twice, WINDOWS, allow_copies=True, **options)
    assert len(np.unique(ranks)) > 2
    one_id = View(np.tile(view.event_id, 2), twice.mass, twice.features, twice.feature_names)
    np.testing.assert_array_equal(cross_fit(Memory(), one_id, WINDOWS, **options), 0.5)


@pytest.mark.parametrize("seed", range(6))
def test_one_copied_event_is_refused_where_it_is_in_another_fold(make_events, seed: int) -> None:
    view = make_events(1000)
    one_more = View(
        np.append(view.event_id, np.uint64(1)),
        np.append(view.mass, view.mass[7]),
        np.concatenate([view.features, view.features[7:8]]),
        view.feature_names,
    )
    options = {"features": view.feature_names, "seed": seed}
    own, other = fold_of(one_more.event_id[[7, -1]], 4, seed)
    if own == other:
        assert cross_fit(Memory(), one_more, WINDOWS, **options).shape == (1001, 2)
    else:
        with pytest.raises(DetectorError, match="2 of 1001 events have copies"):
            cross_fit(Memory(), one_more, WINDOWS, **options)


def test_values_that_agree_by_rounding_are_no_copies(make_events) -> None:
    view = make_events(4000)
    rounded = View(
        view.event_id,
        np.round(view.mass),
        np.round(view.features[:, :1] * 100),
        view.feature_names[:1],
    )
    rows = np.column_stack([rounded.mass, rounded.features])
    assert 3000 < len(np.unique(rows, axis=0)) < 3980
    options = {"features": rounded.feature_names, "seed": 1}
    assert cross_fit(Memory(), rounded, WINDOWS, **options).shape == (4000, 2)
    copied = rounded.select(np.append(np.arange(4000), np.arange(1000)))
    new_ids = np.append(view.event_id, view.event_id[:1000] + np.uint64(2**63))
    again = View(new_ids, copied.mass, copied.features, copied.feature_names)
    with pytest.raises(DetectorError, match="have copies"):
        cross_fit(Memory(), again, WINDOWS, **options)


def test_coarse_features_that_follow_a_coarse_mass_are_no_copies(make_events) -> None:
    view = make_events(4000)
    mass = np.round(view.mass, -1)
    coarse = np.round(view.mass / 200.0 + view.features[:, 0])[:, None]
    rounded = View(view.event_id, mass, coarse, ("coarse",))
    assert cross_fit(Memory(), rounded, WINDOWS, features=("coarse",), seed=1).shape == (4000, 2)


@pytest.mark.parametrize("name", SMALL)
def test_scores_depend_on_the_seed_and_on_nothing_else(make_events, name: str) -> None:
    view = make_events(4000)
    first = scores(name, view)
    assert first.shape == (4000, 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, scores(name, view, n_jobs=3))
    order = np.random.default_rng(3).permutation(len(view))
    np.testing.assert_array_equal(first[order], scores(name, view.select(order)))
    assert not np.array_equal(first, scores(name, view, seed=6))


@pytest.mark.parametrize("name", ["isolation-forest", "autoencoder"])
def test_what_knows_no_windows_is_trained_once_a_fold(make_events, name: str) -> None:
    seen: list[tuple[int, int]] = []
    ranks = scores(name, make_events(1000), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    np.testing.assert_array_equal(ranks[:, 0], ranks[:, 1])


def test_a_column_is_ranked_as_it_is(make_events) -> None:
    view = make_events(500)
    column = view.features[:, 2]
    for anomalous, sign in (("high", 1), ("low", -1)):
        detector = make_detector("column", {"anomalous": anomalous})
        ranks = cross_fit(detector, view, WINDOWS, features=("tau21_light",), seed=1)
        expected = (np.argsort(np.argsort(sign * column)) + 0.5) / 500
        np.testing.assert_allclose(ranks, np.column_stack([expected, expected]))
    with pytest.raises(DetectorError, match="takes one feature"):
        cross_fit(detector, view, WINDOWS, features=view.feature_names, seed=1)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_stop_ends_all_trainings(make_events, name: str, n_jobs: int) -> None:
    asked: list[None] = []
    done: list[int] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 3

    with pytest.raises(TrainingStopped):
        scores(
            name,
            make_events(4000),
            stop=stop,
            n_jobs=n_jobs,
            progress=lambda count, _total: done.append(count),
        )
    assert len(done) < 4


def test_the_error_of_one_fold_ends_the_others_and_is_told(make_events) -> None:
    view = make_events(300)
    detector = Failing(threading.Lock())
    with pytest.raises(DetectorError, match="this fold cannot be trained"):
        cross_fit(detector, view, WINDOWS, features=view.feature_names, seed=1, n_jobs=3)
