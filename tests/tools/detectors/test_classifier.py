"""The classifier behind weak supervision: trees, perceptrons, and the choice between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import kstest

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.detectors.boosting import train_ensemble
from bumpscout_tools.detectors.classifier import (
    TrainedClassifier,
    choose,
    enrichment,
    train_classifier,
)
from bumpscout_tools.errors import DetectorError, TrainingStopped

MLP = {"classifier": "mlp", "networks": 2, "hidden": (16, 16), "epochs": 2}
TREES = {"members": 2, "trees": 15, "leaves": 8}


@pytest.fixture(scope="module")
def classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes of 6000 events in three features; 2% of the first are a far signal."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((12_000, 3))
    features[:120] = rng.normal((2.0, -2.0, 1.5), 0.15, (120, 3))
    positive = np.arange(12_000) < 6000
    return features, positive, np.ones(12_000)


def train(classes, seed: int = 1, **settings):
    return train_classifier(*classes, CwolaSettings(**settings), seed)


def found(score: np.ndarray) -> float:
    """Share of the signal above 99% of the second class."""
    return float((score[:120] > np.quantile(score[6000:], 0.99)).mean())


def test_trees_are_the_default_and_score_as_their_ensemble(classes) -> None:
    settings = CwolaSettings(**TREES)
    alone = train_ensemble(*classes, settings, 7).score(classes[0])
    trained = train_classifier(*classes, settings, 7)
    np.testing.assert_array_equal(trained.score(classes[0]), alone)
    assert trained.chosen == ("trees",)


def test_perceptrons_find_a_rare_signal(classes) -> None:
    trained = train(classes, **{**MLP, "hidden": (64, 64, 64)})
    assert trained.chosen == ("mlp",)
    assert found(trained.score(classes[0])) > 0.9


def test_perceptrons_depend_on_the_seed_alone_and_leave_torch_as_it_was(classes) -> None:
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = train(classes, **MLP).score(classes[0])
    torch.rand(3)
    np.testing.assert_array_equal(train(classes, **MLP).score(classes[0]), first)
    assert not np.array_equal(train(classes, seed=2, **MLP).score(classes[0]), first)
    torch.manual_seed(5)
    train(classes, **MLP)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_event_weights_count_as_copies(classes) -> None:
    features, positive, _ = classes
    heavier = np.where(features[:, 0] > 0, 3.0, 1.0) * np.where(positive, 1.0, 3.0)
    plain = train(classes, **MLP)
    weighted = train((features, positive, heavier), **MLP)
    right, left = features[:, 0] > 0.5, features[:, 0] < -0.5
    # Against three times the background everywhere, events on the right weigh three times more.
    change = weighted.score(features) - plain.score(features)
    np.testing.assert_allclose(change[right].mean(), change[left].mean(), atol=0.3)
    assert change[left].mean() == pytest.approx(-np.log(3.0), abs=0.3)


def test_a_stopped_training_leaves_no_scores(classes) -> None:
    for kind in ("mlp", "auto"):
        with pytest.raises(TrainingStopped):
            train_classifier(
                *classes, CwolaSettings(classifier=kind, **TREES), 1, stop=lambda: True
            )


def test_a_loss_that_is_not_finite_is_an_error(classes) -> None:
    features = classes[0].copy()
    features[5, 1] = np.nan
    with pytest.raises(DetectorError, match="diverged"):
        train((features, *classes[1:]), **MLP)


def test_enrichment_counts_standard_errors_at_tight_cuts() -> None:
    score = np.concatenate([np.linspace(0, 1, 10_000, endpoint=False) + 5e-5] * 2)
    positive = np.arange(20_000) < 10_000
    assert enrichment(score, positive, np.ones(20_000)) == pytest.approx(0.0, abs=0.05)
    score[:50] = 2.0
    by_hand = [
        (50 / 1e4) / np.sqrt(cut * (1 - cut) * 2 / 1e4) for cut in (0.03, 0.01, 0.003, 0.001)
    ]
    assert enrichment(score, positive, np.ones(20_000)) == pytest.approx(np.mean(by_hand), rel=0.05)
    assert enrichment(np.zeros(20_000), positive, np.ones(20_000)) == 0.0
    # Half of the last tenth shares the highest score: no cut is tighter than 5%.
    coarse = 0.005 / np.sqrt(0.05 * 0.95 * 2e-4)
    assert enrichment(np.round(score, 1), positive, np.ones(20_000)) == pytest.approx(coarse)
    # Weights of one class that all agree change nothing.
    weighted = np.where(positive, 1.0, 0.25)
    assert enrichment(score, positive, weighted) == pytest.approx(
        enrichment(score, positive, np.ones(20_000))
    )


def test_enrichment_of_random_scores_is_no_larger_than_chance() -> None:
    rng = np.random.default_rng(8)
    positive = np.arange(8000) < 4000
    values = [enrichment(rng.random(8000), positive, np.ones(8000)) for _ in range(200)]
    assert abs(np.mean(values)) < 0.25
    assert np.std(values) < 1.1


def test_the_choice_takes_both_where_the_data_cannot_tell() -> None:
    assert choose({"trees": 9.0, "mlp": 2.0}) == ("trees",)
    assert choose({"trees": 2.0, "mlp": 9.0}) == ("mlp",)
    assert choose({"trees": 1.1, "mlp": 1.0}) == ("trees", "mlp")


@pytest.mark.parametrize(
    ("poor", "better"),
    [({"hidden": (1,), "epochs": 1}, "trees"), ({"min_child_events": 5000}, "mlp")],
)
def test_auto_takes_what_finds_the_signal_in_held_out_events(classes, poor, better) -> None:
    good = {"networks": 2, "hidden": (64, 64, 64), "epochs": 3, **TREES}
    trained = train(classes, **{**good, **poor, "classifier": "auto"})
    significance = dict(trained.significance)
    assert trained.chosen == (better,)
    assert significance[better] == max(significance.values()) > 5
    assert found(trained.score(classes[0])) > 0.9


class Scaled:
    """An ensemble whose score is the first feature, on some scale."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def score(self, features: np.ndarray) -> np.ndarray:
        return self.scale * features[:, 0]


def test_two_kinds_are_averaged_on_one_scale(classes) -> None:
    features = classes[0][6000:]
    scores = []
    for scale in (1.0, 100.0):
        ensembles = (Scaled(1.0), Scaled(scale))
        references = tuple(np.sort(one.score(features)) for one in ensembles)
        both = TrainedClassifier(("trees", "mlp"), ensembles, references)
        scores.append(both.score(features))
    np.testing.assert_allclose(scores[0], scores[1])
    assert kstest(scores[0], "uniform").pvalue > 0.99


def test_cwola_hunts_with_perceptrons(make_events) -> None:
    view = make_events(6000, n_signal=150)
    signal = np.abs(view.features[:, 0] - 0.3) + np.abs(view.features[:, 1] - 0.3) < 0.1
    detector = CwolaHunting(CwolaSettings(folds=2, **{**MLP, "epochs": 4}))
    runs = [
        cross_fit(
            detector, view, [(2500.0, 2900.0)], features=view.feature_names, seed=5, n_jobs=n
        )[:, 0]
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.median(runs[0][signal & (np.abs(view.mass - 2700) < 100)]) > 0.95


@pytest.mark.parametrize(
    "wrong", [{"classifier": "svm"}, {"networks": 0}, {"hidden": ()}, {"epochs": 0}]
)
def test_impossible_classifiers_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CwolaSettings(**wrong)
