"""Resolutions and subjettiness on particles made by hand."""

from importlib.util import find_spec

import numpy as np
import pytest

from bumpscout_tools.simulation.card import DetectorCard, JetCard
from bumpscout_tools.simulation.detector import relative_resolution, smear
from bumpscout_tools.simulation.generator import Particles
from bumpscout_tools.simulation.jets import leading_jets, subjettiness

needs_fastjet = pytest.mark.skipif(
    find_spec("fastjet") is None,
    reason="clustering needs FastJet: pip install 'bumpscout[sim]'",
)


def particles(pt: float, n: int, *, electromagnetic: bool, charged: bool) -> Particles:
    momentum = np.tile([pt, 0.0, 0.0], (n, 1))
    return Particles(
        counts=np.array([n], dtype=np.int64),
        momentum=momentum,
        electromagnetic=np.full(n, electromagnetic),
        charged=np.full(n, charged),
    )


def massless(pt: float, eta: float, phi: float) -> list[float]:
    return [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)]


@pytest.mark.parametrize(
    ("electromagnetic", "charged", "expected"),
    [
        (True, False, np.hypot(0.10 / 10, 0.01)),
        (False, False, np.hypot(0.60 / 10, 0.05)),
        (False, True, np.hypot(0.01, 1e-4 * 100)),
    ],
    ids=["photon", "neutral hadron", "track"],
)
def test_resolution_at_100_gev(electromagnetic: bool, charged: bool, expected: float) -> None:
    sample = particles(100.0, 20_000, electromagnetic=electromagnetic, charged=charged)
    assert relative_resolution(sample, DetectorCard())[0] == pytest.approx(expected)
    _, seen = smear(sample, DetectorCard(), np.random.default_rng(1))
    pt = np.hypot(seen[:, 0], seen[:, 1])
    assert pt.mean() == pytest.approx(100.0, rel=0.005)
    assert pt.std() == pytest.approx(100.0 * expected, rel=0.05)


def test_measured_particles_are_massless_and_inside_the_acceptance() -> None:
    momentum = np.array([[5.0, 0.0, 1.0], [0.01, 0.0, 0.0], [1.0, 0.0, 500.0], [0.0, 0.0, 9.0]])
    truth = np.zeros(4, dtype=bool)
    sample = Particles(np.array([2, 2], dtype=np.int64), momentum, truth, ~truth)
    counts, seen = smear(sample, DetectorCard(), np.random.default_rng(1))
    assert counts.tolist() == [1, 0]
    assert seen[0, 3] ** 2 == pytest.approx((seen[0, :3] ** 2).sum())


@needs_fastjet
def test_tau_1_of_two_equal_particles_is_their_half_distance() -> None:
    pair = np.array([massless(100, 0.0, -0.2), massless(100, 0.0, 0.2)])
    tau = subjettiness(np.array([2], dtype=np.int64), pair)
    assert tau[0] == pytest.approx([0.2, 0.0, 0.0], abs=1e-9)


@needs_fastjet
def test_tau_2_counts_what_is_off_the_two_axes() -> None:
    three = np.array([massless(100, 0.0, -0.3), massless(98, 0.0, 0.3), massless(2, 0.1, 0.3)])
    tau = subjettiness(np.array([3], dtype=np.int64), three)[0]
    # The axis of the pair lies 2% of the way from the hard to the soft particle.
    assert tau[1] == pytest.approx((98 * 0.002 + 2 * 0.098) / 200, rel=0.01)
    assert tau[2] == 0.0


@needs_fastjet
def test_tau_does_not_depend_on_where_phi_is_cut() -> None:
    rng = np.random.default_rng(3)
    offsets = rng.normal(0.0, 0.2, (30, 2))
    pts = rng.exponential(20.0, 30) + 1.0
    counts = np.array([30], dtype=np.int64)
    taus = [
        subjettiness(
            counts,
            np.array([massless(p, e, f + centre) for p, (e, f) in zip(pts, offsets, strict=True)]),
        )
        for centre in (0.0, np.pi)
    ]
    np.testing.assert_allclose(taus[0], taus[1], rtol=1e-9)


@needs_fastjet
def test_j1_is_the_harder_jet_and_events_without_a_second_jet_are_dropped() -> None:
    soft_first = [massless(1250, 0.3, 0.0), massless(1300, -0.2, 3.1), massless(100, -0.2, 3.0)]
    alone = [massless(1500, 0.0, 0.0)]
    too_soft = [massless(900, 0.0, 0.0), massless(900, 0.0, 3.1)]
    forward = [massless(1300, 0.0, 0.0), massless(1250, 2.7, 3.1)]
    events = [soft_first, [], alone, too_soft, forward]
    counts = np.array([len(event) for event in events], dtype=np.int64)
    momentum = np.array([p for event in events for p in event])
    jets = leading_jets(counts, momentum, JetCard(), 1200.0)
    assert len(jets.momentum) == 1
    assert np.hypot(*jets.momentum[0, 0, :2]) == pytest.approx(1399.5, abs=1.0)
    assert np.hypot(*jets.momentum[0, 1, :2]) == pytest.approx(1250.0)
    assert jets.counts.tolist() == [2, 1]
    np.testing.assert_allclose(jets.constituents[2], momentum[0])
