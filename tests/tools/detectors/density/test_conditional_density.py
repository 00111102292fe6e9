from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial import cKDTree

from bumpscout_tools.detectors.density import ConditionalDensity
from bumpscout_tools.errors import DetectorError, InputDataError

FloatArray = npt.NDArray[np.float64]

WINDOW = (3200.0, 3800.0)


def events(n: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Columns: a + b, a, b, c, with c exactly 0 in some events, more often where a is small."""
    rng = np.random.default_rng(seed)
    mass = 2300.0 + rng.exponential(650.0, n)
    t = np.log(mass / 3000.0)
    z = rng.standard_normal((n, 3))
    a = 100 * np.exp(0.6 * z[:, 0] + 0.8 * t)
    b = 80 * np.exp(0.7 * (0.6 * z[:, 0] ** 2 - 0.6 + 0.6 * z[:, 1]) - 0.5 * t)
    c = 0.5 * np.exp(0.4 * (0.8 * z[:, 1] + 0.6 * z[:, 2])) * (1 + 0.5 * t)
    c[rng.random(n) < np.clip(0.06 - 0.05 * z[:, 0], 0.0, 0.3)] = 0.0
    return np.column_stack([a + b, a, b, c]), mass


def masked(
    features: FloatArray, mass: FloatArray, window: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    out = (mass < window[0]) | (mass > window[1])
    return features[out], mass[out]


@pytest.fixture(scope="module")
def train() -> tuple[FloatArray, FloatArray]:
    return events(16000, 1)


@pytest.fixture(scope="module")
def density(train: tuple[FloatArray, FloatArray]) -> ConditionalDensity:
    return ConditionalDensity.fit(*masked(*train, WINDOW), seed=5, steps=600, threads=1)


def test_medians_and_spreads_follow_the_mass_and_cross_the_masked_window(
    density: ConditionalDensity,
) -> None:
    real, mass = events(60000, 2)
    generated = density.sample(mass, np.random.default_rng(0))
    for low, high in [(2300, 2600), (2600, 3200), WINDOW, (3800, 6000)]:
        inside = (mass > low) & (mass < high)
        for column in range(4):
            x, y = real[inside, column], generated[inside, column]
            x, y = x[x > 0], y[y > 0]
            quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
            ratio = np.quantile(y, quantiles) / np.quantile(x, quantiles)
            assert np.abs(ratio - 1).max() < 0.08


def test_correlations_are_kept(density: ConditionalDensity) -> None:
    real, mass = events(60000, 3)
    generated = density.sample(mass, np.random.default_rng(1))

    def ranks(x: FloatArray) -> FloatArray:
        return np.corrcoef(np.column_stack([x, mass]).argsort(axis=0).argsort(axis=0).T)

    assert np.abs(ranks(real) - ranks(generated)).max() < 0.03


def test_atoms_are_exact_and_as_frequent_as_in_the_data_given_other_features(
    density: ConditionalDensity,
) -> None:
    real, mass = events(60000, 4)
    generated = density.sample(mass, np.random.default_rng(2))
    assert (generated >= 0).all()
    for low, high in [(0, 60), (60, 100), (100, 1e9)]:
        share = [
            np.mean(x[(x[:, 1] > low) & (x[:, 1] < high), 3] == 0.0) for x in (real, generated)
        ]
        assert share[1] == pytest.approx(share[0], abs=0.02)
    assert len(np.unique(generated[:, 3])) > 0.9 * len(generated)


def test_a_feature_that_is_the_sum_of_others_stays_their_sum(
    density: ConditionalDensity,
) -> None:
    generated = density.sample(np.full(5000, 3000.0), np.random.default_rng(3))
    np.testing.assert_allclose(generated[:, 0], generated[:, 1] + generated[:, 2], rtol=1e-6)
    assert (generated[:, 1:3] > 0).all()


def test_closure_passes_a_good_generator_and_flags_bad_ones(
    density: ConditionalDensity,
) -> None:
    real, mass = events(20000, 6)
    good = density.closure(real, mass, np.random.default_rng(4))
    assert abs(good.auc - 0.5) < 0.02
    assert abs(good.top_share - 0.5) < 5 * good.top_share_error
    shifted = density.closure(real, mass * 1.4, np.random.default_rng(4))
    assert shifted.auc > 0.55
    # Heavier tails than the model's: the rare events are real ones.
    wide = real * np.exp(0.4 * np.random.default_rng(5).standard_normal((len(real), 1)))
    assert density.closure(wide, mass, np.random.default_rng(4)).top_share > 0.6


def test_a_narrow_signal_is_hardly_learned_when_another_window_is_masked() -> None:
    features, mass = events(16000, 7)
    rng = np.random.default_rng(8)
    signal = np.array([0.0, 300.0, 20.0, 0.2]) * np.exp(0.05 * rng.standard_normal((80, 4)))
    signal[:, 0] = signal[:, 1] + signal[:, 2]

    def in_corner(x: FloatArray) -> FloatArray:
        return (np.abs(np.log(x[:, 1:] / [300.0, 20.0, 0.2] + 1e-9)) < 0.2).all(axis=1)

    mixed = np.concatenate([features, signal])
    mixed_mass = np.concatenate([mass, rng.normal(3500, 50, 80)])
    fit_on = masked(mixed, mixed_mass, (4200, 5000))
    density = ConditionalDensity.fit(*fit_on, seed=1, steps=600, threads=1)
    window = (mass > 3350) & (mass < 3650)
    drawn = density.sample(np.repeat(mass[window], 20), np.random.default_rng(0))
    assert in_corner(signal).sum() > 70
    assert in_corner(drawn).sum() / 20 < 0.35 * in_corner(signal).sum()


def test_no_event_is_memorised(
    train: tuple[FloatArray, FloatArray], density: ConditionalDensity
) -> None:
    def points(features: FloatArray, mass: FloatArray) -> FloatArray:
        smooth = features[:, 3] > 0
        return np.log(np.column_stack([features[:, 1:], mass])[smooth]) / [0.6, 0.6, 0.4, 0.2]

    known = cKDTree(points(*masked(*train, WINDOW)))
    features, mass = masked(*events(16000, 9), WINDOW)
    generated = density.sample(mass, np.random.default_rng(6))
    held_out, _ = known.query(points(features, mass))
    sampled, _ = known.query(points(generated, mass))
    for share in (0.01, 0.1, 0.5):
        assert np.quantile(sampled, share) > 0.85 * np.quantile(held_out, share)


def test_latents_of_held_out_events_are_standard_normal(density: ConditionalDensity) -> None:
    latent = density.latent(*events(20000, 10))[:, :2]
    assert np.abs(latent.mean(axis=0)).max() < 0.05
    assert np.abs(latent.std(axis=0) - 1).max() < 0.05
    assert abs(np.corrcoef(latent.T)[0, 1]) < 0.03


def test_weights_count() -> None:
    features, mass = events(4000, 11)
    heavy = features[:, 1] > np.median(features[:, 1])
    density = ConditionalDensity.fit(
        features[:, 1:], mass, seed=1, weights=np.where(heavy, 3.0, 1.0), steps=200, threads=1
    )
    drawn = density.sample(mass, np.random.default_rng(0))
    assert np.mean(drawn[:, 0] > np.median(features[:, 1])) == pytest.approx(0.75, abs=0.03)


def test_a_seed_decides_the_fit_and_no_global_state_changes() -> None:
    features, mass = events(2000, 12)
    state = torch.random.get_rng_state()
    legacy = np.random.mtrand._rand.get_state(legacy=False)["state"]["key"].copy()
    threads = torch.get_num_threads()
    first, again, other = (
        ConditionalDensity.fit(features, mass, seed=seed, steps=30, threads=1).sample(
            mass, np.random.default_rng(1)
        )
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert torch.equal(state, torch.random.get_rng_state())
    assert (np.random.mtrand._rand.get_state(legacy=False)["state"]["key"] == legacy).all()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_a_few_zeros_lead_to_no_negative_values(zeros: int) -> None:
    features, mass = events(3000, 15)
    features = features[:, 1:3].copy()
    features[:zeros, 0] = 0.0
    density = ConditionalDensity.fit(features, mass, seed=1, steps=30, threads=1)
    drawn = density.sample(np.repeat(mass, 10), np.random.default_rng(0))
    assert (drawn >= 0).all()
    assert np.mean(drawn == 0) < 0.005


def test_progress_is_reported() -> None:
    calls: list[tuple[int, int]] = []
    ConditionalDensity.fit(
        *events(1500, 13), seed=1, steps=30, threads=1, progress=lambda *c: calls.append(c)
    )
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert calls[-1][0] <= calls[-1][1]


def test_a_worker_samples_the_same_without_torch(
    density: ConditionalDensity, tmp_path: Path
) -> None:
    mass = np.linspace(2400.0, 6000.0, 500)
    expected = density.sample(mass, np.random.default_rng(7))
    for copy in (
        ConditionalDensity.from_bytes(density.to_bytes()),
        pickle.loads(pickle.dumps(density)),
    ):
        np.testing.assert_array_equal(copy.sample(mass, np.random.default_rng(7)), expected)
    (tmp_path / "density.npz").write_bytes(density.to_bytes())
    code = (
        "import sys, pathlib, numpy as np\n"
        "from bumpscout_tools.detectors.density import ConditionalDensity as C\n"
        "d = C.from_bytes(pathlib.Path('density.npz').read_bytes())\n"
        "np.save('out.npy', d.sample(np.linspace(2400.0, 6000.0, 500), np.random.default_rng(7)))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-4)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_bytes_that_are_no_density_are_refused(content: bytes) -> None:
    with pytest.raises(InputDataError, match="Fit it anew"):
        ConditionalDensity.from_bytes(content)


def test_unusable_events_are_refused() -> None:
    features, mass = events(1200, 14)
    with pytest.raises(DetectorError, match="at least 1000 events"):
        ConditionalDensity.fit(features[:999], mass[:999], seed=1)
    with pytest.raises(DetectorError, match="features"):
        ConditionalDensity.fit(features, mass[:-1], seed=1)
    with pytest.raises(DetectorError, match="same"):
        ConditionalDensity.fit(features, np.full_like(mass, 3000.0), seed=1)
    broken = features.copy()
    broken[5, 1] = np.nan
    with pytest.raises(DetectorError, match="finite"):
        ConditionalDensity.fit(broken, mass, seed=1)
    constant = features.copy()
    constant[:, 3] = 1.0
    with pytest.raises(DetectorError, match="column 3"):
        ConditionalDensity.fit(constant, mass, seed=1)
