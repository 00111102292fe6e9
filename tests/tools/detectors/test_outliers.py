"""Isolation forest and autoencoder: what they rank up, how they fail, and what the guards see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from bumpscout_tools.detectors import AutoencoderDetector, AutoencoderSettings, make_detector
from bumpscout_tools.detectors.cross_fit import cross_fit
from bumpscout_tools.detectors.guards import guard_score, mass_dependence
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

NO_MASS = np.zeros(0)
WINDOW = (2500.0, 2900.0)
SMALL: dict[str, dict[str, Any]] = {
    "isolation-forest": {"folds": 2, "trees": 50},
    "autoencoder": {"folds": 2, "hidden": (16, 2), "epochs": 10},
}


def curved(n: int, rng: np.random.Generator) -> np.ndarray:
    """Five features on a curved surface of two dimensions, with a little noise."""
    u, v = rng.uniform(-1, 1, (2, n))
    surface = np.column_stack([u, v, u * v, u**2 - v, np.sin(2 * u)])
    return surface + 0.05 * rng.normal(size=surface.shape)


def sic(score: np.ndarray, signal: np.ndarray, eps_b: float) -> float:
    """Significance improvement eps_S / sqrt(eps_B) at a background efficiency."""
    threshold = np.quantile(score[~signal], 1 - eps_b)
    return float((score[signal] > threshold).mean() / np.sqrt(eps_b))


def train(features: np.ndarray, seed: int = 1, **settings: Any):
    return AutoencoderDetector(AutoencoderSettings(**settings)).fit(features, NO_MASS, None, seed)


@pytest.fixture(scope="module")
def surface() -> tuple[np.ndarray, np.ndarray]:
    """Events on the surface, and signal that has their marginals but not their correlations."""
    rng = np.random.default_rng(4)
    background = curved(6000, rng)
    signal = np.column_stack([rng.permutation(column) for column in curved(300, rng).T])
    features = np.concatenate([background, signal])
    return features, np.arange(len(features)) >= 6000


def test_an_autoencoder_finds_what_breaks_the_correlations(surface) -> None:
    features, signal = surface
    score = train(features, hidden=(32, 16, 2), epochs=20).score(features, NO_MASS)
    assert sic(score, signal, 1e-2) > 4


def test_an_isolation_forest_finds_the_tails(surface) -> None:
    features, _ = surface
    far = features.copy()
    far[-300:] += 2.0 * np.sign(far[-300:])
    forest = make_detector("isolation-forest", SMALL["isolation-forest"])
    score = forest.fit(far, NO_MASS, None, 1).score(far, NO_MASS)
    assert sic(score, surface[1], 1e-2) > 4
    assert (score > 0).all()
    assert (score < 1).all()


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_the_score_is_the_logarithm_of_the_reconstruction_loss(surface, loss: str) -> None:
    features = surface[0][:2000]
    trained = train(features, hidden=(16, 2), epochs=10, loss=loss, activation="leaky-relu")
    inputs = (features - features.mean(axis=0)) / features.std(axis=0)
    values = inputs
    for i in range(0, len(trained.layers), 2):
        values = values @ trained.layers[i].T.astype(float) + trained.layers[i + 1]
        if i + 2 < len(trained.layers):
            values = np.where(values > 0, values, 0.01 * values)
    difference = np.abs(values - inputs) ** (1 if loss == "mae" else 2)
    expected = np.log(difference.mean(axis=1))
    np.testing.assert_allclose(trained.score(features, NO_MASS), expected, atol=2e-3)


def test_the_rmm_preset_has_the_published_layers() -> None:
    rng = np.random.default_rng(2)
    factors = rng.exponential(size=(600, 3))
    sparse = factors @ (rng.exponential(size=(3, 1287)) * (rng.random((3, 1287)) < 0.1))
    trained = train(0.05 * sparse, preset="rmm", epochs=3)
    widths = [layer.shape[1] for layer in trained.layers[::2]]
    assert widths == [1287, 800, 400, 200, 400, 800]
    assert trained.layers[-1].shape == (1287,)
    np.testing.assert_array_equal(trained.centre, 0.0)
    assert trained.relative_loss < 0.9


def test_a_training_that_diverges_is_an_error(surface) -> None:
    huge = surface[0][:500] * 1e20
    with pytest.raises(DetectorError, match=r"loss is (nan|inf) after epoch 1"):
        train(huge, hidden=(8, 2), standardise=False, loss="mse")


def test_a_collapsed_latent_space_is_an_error(surface) -> None:
    with pytest.raises(DetectorError, match="latent space collapsed"):
        train(surface[0][:500], hidden=(8, 2), learning_rate=1e-9, epochs=1)
    constant = np.full((500, 4), 3.0)
    with pytest.raises(DetectorError, match="latent space collapsed"):
        train(constant, hidden=(8, 2), epochs=2)


def test_noise_without_structure_is_told() -> None:
    noise = np.random.default_rng(1).normal(size=(1000, 200))
    with pytest.raises(DetectorError, match="latent space collapsed"):
        train(noise, hidden=(16, 2), epochs=3)


def test_what_cannot_be_trained_is_refused(surface) -> None:
    features = surface[0]
    with pytest.raises(DetectorError, match="no narrower than the 5 inputs"):
        train(features, hidden=(16, 5))
    for name in SMALL:
        with pytest.raises(DetectorError, match="needs at least"):
            make_detector(name).fit(features[:50], NO_MASS, None, 1)
    forest = make_detector("isolation-forest")
    with pytest.raises(DetectorError, match="No feature varies"):
        forest.fit(np.ones((500, 2)), NO_MASS, None, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(surface) -> None:
    with pytest.raises(DetectorError, match="no CUDA device here; use device auto"):
        train(surface[0], hidden=(16, 2), device="cuda")
    assert train(surface[0], hidden=(16, 2), device="auto", epochs=5).epochs <= 5


def test_torch_is_left_as_it_was(surface) -> None:
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    train(surface[0], hidden=(16, 2), epochs=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def drifting(view: View) -> View:
    """The same events with features that follow the mass, as jet masses do."""
    shifted = view.features * (1 + 2.0 * (view.mass[:, None] / 2000 - 1))
    return View(view.event_id, view.mass, shifted, view.feature_names)


@pytest.mark.parametrize("name", SMALL)
def test_guards_fire_where_the_score_follows_the_mass_and_only_there(make_events, name) -> None:
    view = make_events(16_000)
    for events, fires in ((view, False), (drifting(view), True)):
        detector = make_detector(name, SMALL[name])
        score = cross_fit(detector, events, [WINDOW], features=events.feature_names, seed=1)[:, 0]
        report = mass_dependence(rankdata(score) / len(score), events.mass)
        assert report.fired == fires
        if not fires:
            inside = (events.mass >= WINDOW[0]) & (events.mass < WINDOW[1])
            reports = guard_score(score, events, WINDOW, WINDOW, 0.02, 0.02 * inside.sum())
            assert [one.name for one in reports if one.fired] == []
