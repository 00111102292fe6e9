"""Subjettiness and soft drop against FastJet, brute force and jets calculated by hand."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.features.substructure import mass_of, soft_drop, subjettiness

needs_fastjet = pytest.mark.skipif(
    find_spec("fastjet") is None, reason="the comparison needs FastJet: bumpscout[sim]"
)


def random_jets(n_jets: int, n_particles: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Jets of a few clumps of massless particles, some across the cut of azimuth."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(max(2, n_particles // 2), n_particles + 1, n_jets)
    parts = []
    for n in counts:
        centre = np.array([rng.normal(0, 1), rng.choice([0, np.pi])])
        clumps = centre + rng.normal(0, 0.35, (3, 2))
        eta, phi = (clumps[rng.integers(0, 3, n)] + rng.normal(0, 0.08, (n, 2))).T
        pt = rng.exponential(20, n) + 0.5
        parts.append(pt * np.array([np.cos(phi), np.sin(phi), np.sinh(eta), np.cosh(eta)]))
    return counts, np.concatenate(parts, axis=1).T


def angles(momentum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pt = np.hypot(momentum[..., 0], momentum[..., 1])
    return np.arcsinh(momentum[..., 2] / pt), np.arctan2(momentum[..., 1], momentum[..., 0])


def tau_of(particles: np.ndarray, axes: np.ndarray, beta: float, radius: float) -> float:
    """The definition of arXiv:1011.2268, without any of the code under test."""
    (eta, phi), (axis_eta, axis_phi) = angles(particles), angles(axes)
    turn = np.remainder(phi[:, None] - axis_phi + np.pi, 2 * np.pi) - np.pi
    distance = np.hypot(eta[:, None] - axis_eta, turn).min(axis=1)
    pt = np.hypot(particles[:, 0], particles[:, 1])
    return float((pt * distance**beta).sum() / (pt.sum() * radius**beta))


@needs_fastjet
@pytest.mark.parametrize(("axes", "scheme"), [("kt", "E_scheme"), ("wta-kt", "WTA_pt_scheme")])
def test_subjettiness_with_the_axes_of_fastjet(axes: str, scheme: str) -> None:
    import fastjet
    from fastjet._swig import ClusterSequence, JetDefinition, PseudoJet

    ClusterSequence.set_fastjet_banner_stream(None)
    counts, momentum = random_jets(40, 40, seed=3)
    found = subjettiness(counts, momentum, radius=0.8, axes=axes)
    assert found.shape == (40, 9, 3)
    definition = JetDefinition(fastjet.kt_algorithm, 1000.0, getattr(fastjet, scheme))
    for jet, start in enumerate(np.cumsum(counts) - counts):
        particles = momentum[start : start + counts[jet]]
        sequence = ClusterSequence([PseudoJet(*map(float, p)) for p in particles], definition)
        for n in range(1, 10):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                subjets = sequence.exclusive_jets(n)
            subjets = np.array([[j.px(), j.py(), j.pz(), j.e()] for j in subjets])
            for b, beta in enumerate((0.5, 1.0, 2.0)):
                expected = tau_of(particles, subjets, beta, 0.8)
                assert found[jet, n - 1, b] == pytest.approx(expected, rel=1e-5, abs=1e-7)


@needs_fastjet
@pytest.mark.parametrize(("z_cut", "beta"), [(0.1, 0.0), (0.1, 1.0), (0.2, 2.0), (0.3, 0.5)])
def test_soft_drop_is_that_of_fastjet(z_cut: float, beta: float) -> None:
    import awkward as ak
    import fastjet
    from fastjet._swig import ClusterSequence

    ClusterSequence.set_fastjet_banner_stream(None)
    counts, momentum = random_jets(60, 30, seed=5)
    columns = dict(zip(("px", "py", "pz", "E"), momentum.T.copy(), strict=True))
    jets = ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts)
    definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0)
    theirs = fastjet.ClusterSequence(jets, definition).exclusive_jets_softdrop_grooming(
        njets=1, beta=beta, symmetry_cut=z_cut, R0=0.8
    )
    groomed = soft_drop(counts, momentum, z_cut=z_cut, beta=beta, radius=0.8)
    np.testing.assert_allclose(mass_of(groomed), np.asarray(theirs.msoftdrop), atol=1e-4)
    np.testing.assert_allclose(groomed[:, 3], np.asarray(theirs.Esoftdrop), rtol=1e-9)
    total = np.add.reduceat(momentum, np.cumsum(counts) - counts)
    assert not np.allclose(groomed, total)


def test_minimised_axes_against_all_ways_to_share_the_particles() -> None:
    """For beta = 2 tau_N is smallest for some share-out with each axis at the mean of its part."""
    counts, momentum = random_jets(40, 6, seed=8)
    found = subjettiness(counts, momentum, n_max=3, betas=(2.0,), minimise=True)[..., 0]
    plain = subjettiness(counts, momentum, n_max=3, betas=(2.0,))[..., 0]
    assert (found <= plain + 1e-12).all()
    best = np.zeros_like(found)
    for jet, start in enumerate(np.cumsum(counts) - counts):
        particles = momentum[start : start + counts[jet]]
        eta, phi = angles(particles)
        phi = np.remainder(phi - phi[0] + np.pi, 2 * np.pi)
        pt = np.hypot(particles[:, 0], particles[:, 1])
        for n in (1, 2, 3):
            if counts[jet] <= n:
                continue
            sums = []
            for share in product(range(n), repeat=int(counts[jet])):
                total = 0.0
                for part in range(n):
                    mine = np.array(share) == part
                    if mine.any():
                        for x in (eta[mine], phi[mine]):
                            total += float(pt[mine] @ (x - np.average(x, weights=pt[mine])) ** 2)
                sums.append(total)
            best[jet, n - 1] = min(sums) / pt.sum()
    np.testing.assert_allclose(found[:, 0], best[:, 0], rtol=1e-5, atol=1e-9)
    assert (found >= best * (1 - 1e-6) - 1e-9).all()
    # A local minimum is often the global one; exclusive kt axes alone hardly ever are.
    reached = np.isclose(found[:, 1:], best[:, 1:], rtol=1e-3, atol=1e-6)
    assert reached.mean() > 0.8
    assert np.isclose(plain[:, 1:], best[:, 1:], rtol=1e-3, atol=1e-6).mean() < reached.mean()


def test_for_beta_one_no_axis_of_one_jet_is_better_than_the_minimised() -> None:
    """tau_1 with beta = 1 is the weighted sum of distances: compare with a fine grid of axes."""
    counts, momentum = random_jets(20, 12, seed=9)
    found = subjettiness(counts, momentum, n_max=1, betas=(1.0,), minimise=True)[:, 0, 0]
    steps = np.linspace(-0.9, 0.9, 181)
    for jet, start in enumerate(np.cumsum(counts) - counts):
        particles = momentum[start : start + counts[jet]]
        (eta, phi), pt = angles(particles), np.hypot(particles[:, 0], particles[:, 1])
        phi = np.remainder(phi - phi[0] + np.pi, 2 * np.pi) - np.pi
        grid_eta, grid_phi = np.meshgrid(steps + np.mean(eta), steps + np.mean(phi))
        sums = sum(
            p * np.hypot(grid_eta - a, grid_phi - b) for p, a, b in zip(pt, eta, phi, strict=True)
        )
        assert found[jet] <= sums.min() / pt.sum() + 1e-6


def test_a_jet_of_two_particles_by_hand() -> None:
    """Two of equal pT, 0.4 apart: every particle is 0.2 from the axis; z = 1/2, m^2 = 2 pT^2 ..."""
    phi = np.array([-0.2, 0.2])
    pair = 100 * np.stack([np.cos(phi), np.sin(phi), 0 * phi, 1 + 0 * phi], axis=1)
    tau = subjettiness(np.array([2]), pair, n_max=2, radius=0.5)[0]
    np.testing.assert_allclose(tau, [[0.4**0.5, 0.4, 0.16], [0, 0, 0]], atol=1e-12)
    groomed = soft_drop(np.array([2]), pair)
    assert mass_of(groomed)[0] == pytest.approx(100 * np.sqrt(2 * (1 - np.cos(0.4))))
    soft = pair * np.array([[1.0], [0.05]])
    assert mass_of(soft_drop(np.array([2]), soft))[0] == pytest.approx(0, abs=1e-4)


def test_empty_jets_and_single_particles_have_no_substructure() -> None:
    counts = np.array([0, 1, 0, 2])
    momentum = np.array([[5.0, 0, 0, 5], [3, 4, 0, 5], [3, 4.1, 1, 5.2]])
    tau = subjettiness(counts, momentum)
    assert (tau[:3] == 0).all()
    assert (tau[3, 0] > 0).all()
    assert (tau[3, 1:] == 0).all()
    np.testing.assert_allclose(soft_drop(counts, momentum)[1], [5, 0, 0, 5])


def test_what_cannot_be_computed_is_said() -> None:
    counts, momentum = random_jets(3, 5, seed=1)
    with pytest.raises(ConfigurationError, match="positive betas"):
        subjettiness(counts, momentum, betas=(1.0, 0.0))
    with pytest.raises(ConfigurationError, match="do not fit to momenta"):
        soft_drop(counts + 1, momentum)
