"""The variational autoencoder on constituents: what it finds, what it computes, how it fails."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from scipy.spatial.distance import cdist

from bumpscout_tools.detectors import VaeDetector, VaeSettings, cross_fit, fixed_scores
from bumpscout_tools.errors import DetectorError, TrainingStopped
from bumpscout_tools.events.view import View

NO_MASS = np.zeros(0)
CONTROL: dict[str, Any] = {"control_feature": "deta", "control_max": 1.8}
PARTS = 10
COLUMNS = 2 * 3 * PARTS
N = 1200
SMALL: dict[str, Any] = {"latent": 4, "width": 16, "epochs": 10, "batch": 64}


def jets(n: int, prongs: int, rng: np.random.Generator) -> np.ndarray:
    """Constituents (n, 30) around one axis or two, hardest first; a few places are empty."""
    share = np.sort(rng.dirichlet(np.full(PARTS, 0.5), n), axis=1)[:, ::-1]
    share *= share > 0.003
    centre = 0.25 * rng.choice([-1.0, 1.0], (n, PARTS)) * (prongs == 2)
    y, z = rng.normal(0, 0.05, (2, n, PARTS))
    z += centre
    momenta = [share * np.cos(y), share * np.sin(y), share * np.sinh(z)]
    return np.stack(momenta, axis=2).reshape(n, -1)


def events(n: int, prongs: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([jets(n, one, rng) for one in prongs], axis=1)


def train(features: np.ndarray, seed: int = 1, **settings: Any):
    return VaeDetector(VaeSettings(**SMALL | settings)).fit(features, NO_MASS, None, seed)


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """Events of two narrow jets, and of two with two prongs each."""
    rng = np.random.default_rng(3)
    return events(N, (1, 1), rng), events(150, (2, 2), rng)


@pytest.fixture(scope="module")
def trained(sample):
    return train(sample[0])


def test_it_finds_jets_with_two_prongs(sample, trained) -> None:
    background, signal = (trained.score(rows, NO_MASS) for rows in sample)
    assert (signal > np.quantile(background, 0.99)).mean() > 0.5
    assert trained.relative_loss < 0.9


def test_the_score_is_the_loss_of_its_jets(sample, trained) -> None:
    """The network and its distance again, in numpy and with scipy's distances."""
    rows = np.concatenate([sample[0][:20], sample[1][:20]])
    layers = [layer.astype(float) for layer in trained.layers]

    def dense(values: np.ndarray, first: int, count: int) -> np.ndarray:
        for i in range(first, first + 2 * count, 2):
            values = values @ layers[i].T + layers[i + 1]
            if i + 2 < first + 2 * count:
                values = np.where(values > 0, values, 0.01 * values)
        return values

    expected = []
    for jet in rows.reshape(-1, PARTS, 3) / trained.spread:
        there = (jet != 0).any(axis=1)
        hidden = dense(jet, 0, 2)
        hidden = np.where(hidden > 0, hidden, 0.01 * hidden) * there[:, None]
        mean, log_variance = np.split(dense(hidden.mean(axis=0), 4, 2), 2)
        outputs = dense(mean, 8, 3).reshape(PARTS, 3)
        distance = cdist(jet, outputs, "sqeuclidean")
        chamfer = distance.min(axis=1)[there].sum() + distance.min(axis=0).sum()
        divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
        expected.append(0.5 * chamfer + trained.settings.kl_weight * divergence)
    of_jets = np.reshape(expected, (-1, 2))
    np.testing.assert_allclose(trained.jet_losses(rows), of_jets, rtol=2e-4)
    score = trained.score(rows, NO_MASS)
    np.testing.assert_allclose(score, np.log(of_jets.min(axis=1)), atol=3e-4)


def test_the_order_of_constituents_and_of_jets_says_nothing(sample, trained) -> None:
    rows = sample[1][:50]
    mixed = rows.reshape(-1, 2, PARTS, 3)[:, ::-1, np.random.default_rng(1).permutation(PARTS)]
    np.testing.assert_allclose(
        trained.score(mixed.reshape(50, -1), NO_MASS), trained.score(rows, NO_MASS), atol=1e-4
    )


@pytest.mark.parametrize("combine", ["min", "sum", "max"])
def test_one_or_both_jets_may_be_asked_to_be_anomalous(sample, trained, combine: str) -> None:
    one = replace(trained, settings=VaeSettings(**SMALL, combine=combine))
    expected = np.log(getattr(np, combine)(trained.jet_losses(sample[1]), axis=1))
    np.testing.assert_allclose(one.score(sample[1], NO_MASS), expected, rtol=1e-12)


def test_failed_trainings_are_errors(sample) -> None:
    background = sample[0]
    with pytest.raises(DetectorError, match=r"latent space .* collapsed.* Lower kl_weight"):
        train(background, kl_weight=1000.0)
    with pytest.raises(DetectorError, match=r"learned nothing.* Train for more epochs"):
        train(background[:600], learning_rate=1e-9, epochs=1)
    with pytest.raises(DetectorError, match=r"loss is (nan|inf) after epoch 1.* Lower learning"):
        train(background[:600] * 1e200, epochs=1)
    with pytest.raises(DetectorError, match=r"4 inputs are not that.*\[constituents\]"):
        train(background[:, :4])
    with pytest.raises(DetectorError, match="at least 500 events"):
        train(background[:400])
    with pytest.raises(TrainingStopped):
        VaeDetector(VaeSettings(**SMALL)).fit(background, NO_MASS, None, 1, stop=lambda: True)


def test_torch_is_left_as_it_was(sample) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(sample[0][:600], epochs=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@dataclass(frozen=True)
class Choice:
    settings: BaseModel
    name: str = "vae"
    features: tuple[str, ...] = field(default=(*(f"p{i}" for i in range(COLUMNS)), "deta"))


@pytest.fixture(scope="module")
def view(sample) -> View:
    """The events with a feature to cut on; the signal is in the control sample alone."""
    rng = np.random.default_rng(8)
    both = np.concatenate(sample)
    deta = rng.uniform(0, 2, len(both))
    deta[len(sample[0]) :] = 1.9
    return View(
        event_id=rng.integers(0, 2**63, len(both), dtype=np.uint64),
        mass=2000 + rng.exponential(500, len(both)),
        features=np.column_stack([both, deta]),
        feature_names=Choice(VaeSettings()).features,
    )


def test_a_control_sample_is_all_that_it_learns_from(view) -> None:
    settings = VaeSettings(**SMALL, control_feature="deta", control_max=1.5)
    found = fixed_scores(Choice(settings), view, seed=2)
    control = view.features[:, -1] < 1.5
    np.testing.assert_array_equal(found.trained_on, control)
    alone = train(view.features[control][:, :-1][np.argsort(view.event_id[control])], seed=2)
    expected = alone.score(view.features[:, :-1], NO_MASS)
    np.testing.assert_allclose(found.score, expected, atol=1e-5)
    few = VaeSettings(**SMALL, control_feature="deta", control_min=1.95)
    with pytest.raises(DetectorError, match="in its control sample"):
        fixed_scores(Choice(few), view, seed=2)
    with pytest.raises(DetectorError, match=r"'deta', which is none .* \[constituents, deta\]"):
        fixed_scores(Choice(few, features=Choice(few).features[:-1]), view, seed=2)
    with pytest.raises(ValidationError, match="control_min 2 is not below control_max 1"):
        VaeSettings(control_feature="deta", control_min=2.0, control_max=1.0)
    with pytest.raises(ValidationError, match="needs control_feature and control_min or"):
        VaeSettings(control_min=2.0)


def test_cross_fitted_scores_depend_on_the_seed_alone(view) -> None:
    detector = VaeDetector(VaeSettings(**SMALL | {"folds": 2, "epochs": 5}, **CONTROL))

    def scores(events: View, n_jobs: int) -> np.ndarray:
        return cross_fit(
            detector, events, [(2500, 2900)], features=view.feature_names, seed=4, n_jobs=n_jobs
        )

    first = scores(view, 1)
    order = np.random.default_rng(1).permutation(len(view))
    np.testing.assert_array_equal(first[order], scores(view.select(order), 2))
    assert first[N:].mean() > 0.7
