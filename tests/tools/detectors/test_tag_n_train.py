"""Tag N' Train: jets are told apart by name, and two anomalous jets are found."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors import TagNTrain, TagNTrainSettings, cross_fit, make_detector
from bumpscout_tools.detectors.tag_n_train import jet_inputs
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

WINDOW = (2500.0, 2900.0)
NAMES = ("mj_light", "mj_delta", "tau21_light", "tau21_heavy")
SMALL = {"folds": 2, "members": 1, "trees": 30, "leaves": 8, "min_child_events": 50, "steps": 100}


def two_jets(n: int, n_signal: int, seed: int = 4) -> tuple[View, np.ndarray]:
    """Independent jets of falling masses; a signal of two heavy two-pronged jets at 2.7 TeV."""
    rng = np.random.default_rng(seed)
    background = np.column_stack([rng.gamma(2, 0.05, (n, 2)), rng.beta(6, 3, (n, 2))])
    signal = np.column_stack(
        [rng.normal(0.35, 0.02, (n_signal, 2)), rng.beta(3, 10, (n_signal, 2))]
    )
    jets = np.concatenate([background, signal])
    mass = np.concatenate([2000 + rng.exponential(500, n), rng.normal(2700, 40, n_signal)])
    features = np.column_stack([jets[:, 0], jets[:, 1] - jets[:, 0], jets[:, 2:]])
    order = rng.permutation(n + n_signal)
    ids = rng.integers(0, 2**63, n + n_signal, dtype=np.uint64)
    return View(ids, mass[order], features[order], NAMES), (np.arange(n + n_signal) >= n)[order]


def score_of(view: View, n_jobs: int = 1, **changes: object) -> np.ndarray:
    detector = make_detector("tag-n-train", SMALL | changes)
    return cross_fit(detector, view, [WINDOW], features=view.feature_names, seed=2, n_jobs=n_jobs)[
        :, 0
    ]


def test_the_heavier_mass_is_the_lighter_one_and_the_difference() -> None:
    events = np.array([[0.1, 0.4, 0.2, 0.3]])
    jets = jet_inputs(NAMES)
    np.testing.assert_allclose(events @ jets.light, [[0.1, 0.2]])
    np.testing.assert_allclose(events @ jets.heavy, [[0.5, 0.3]])


def test_pairs_are_found_in_any_order_and_the_difference_is_left_out_beside_both_masses() -> None:
    names = ("tau32_heavy", "mj_heavy", "mj_light", "mj_delta", "tau32_light")
    events = np.array([[0.7, 0.5, 0.1, 0.4, 0.6]])
    jets = jet_inputs(names)
    np.testing.assert_allclose(np.sort(events @ jets.light), [[0.1, 0.6]])
    np.testing.assert_allclose(np.sort(events @ jets.heavy), [[0.5, 0.7]])
    assert list((events @ jets.light)[0] < 0.5) == list((events @ jets.heavy)[0] < 0.6)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("mj_light", "tau21_light", "tau21_heavy"), "mj_light"),
        (("mj_delta", "tau21_light", "tau21_heavy"), "mj_delta"),
        ((*NAMES, "met"), "met"),
        (("mj_light", "mj_heavy"), "got mj_light, mj_heavy"),
    ],
)
def test_features_that_do_not_come_in_pairs_are_refused(names, said: str) -> None:
    with pytest.raises(DetectorError, match=f"features of both jets.*{said}"):
        TagNTrain().named(names)


@pytest.mark.parametrize("tagger", ["density", "autoencoder"])
def test_two_anomalous_jets_rank_high(tagger: str) -> None:
    view, signal = two_jets(10_000, 150)
    score = score_of(view, tagger=tagger)
    inside = (view.mass >= WINDOW[0]) & (view.mass < WINDOW[1])
    cut = np.quantile(score[inside & ~signal], 0.99)
    assert (score[inside & signal] > cut).mean() > 0.6


def test_background_alone_is_not_preferred_inside() -> None:
    view, _ = two_jets(6000, 0)
    score = score_of(view)
    low, high = WINDOW
    inside = (view.mass >= low) & (view.mass < high)
    beside = (view.mass >= low * low / high) & (view.mass < high * high / low) & ~inside
    error = np.sqrt(score.var() * (1 / inside.sum() + 1 / beside.sum()))
    assert abs(score[inside].mean() - score[beside].mean()) < 4 * error


def test_same_seed_same_scores_whatever_the_number_of_threads() -> None:
    view, _ = two_jets(5000, 50)
    np.testing.assert_array_equal(score_of(view), score_of(view, n_jobs=2))


def test_windows_without_events_and_missing_names_are_refused() -> None:
    view, _ = two_jets(3000, 0)
    detector = TagNTrain(TagNTrainSettings(**SMALL))
    with pytest.raises(DetectorError, match="names of its features"):
        detector.fit(view.features, view.mass, WINDOW, 1)
    for window in ((9000.0, 9900.0), (100.0, 120.0)):
        with pytest.raises(DetectorError, match=r"cannot be trained for the window"):
            detector.named(NAMES).fit(view.features, view.mass, window, 1)
