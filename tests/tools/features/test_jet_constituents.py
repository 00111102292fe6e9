"""Constituents as inputs: what they do not depend on, and views that have them."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.features.catalogue import FEATURE_SETS, inputs_of_features
from bumpscout_tools.features.clustering import LeadingJets
from bumpscout_tools.features.jet_constituents import constituents_of, delta_eta
from bumpscout_tools.features.views import constituent_table, view_of
from bumpscout_tools.scan.plan import DetectorPlan


def two_jets(n: int, seed: int = 1) -> LeadingJets:
    """Two jets an event, with up to 130 massless constituents within 0.5 of random axes."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 130, 2 * n)
    jet = np.repeat(np.arange(2 * n), counts)
    axis = np.stack([rng.uniform(-2, 2, 2 * n), rng.uniform(-np.pi, np.pi, 2 * n)])
    eta, phi = axis[:, jet] + rng.uniform(-0.5, 0.5, (2, len(jet)))
    pt = rng.exponential(10, len(jet))
    return made(counts, pt, eta, phi)


def made(counts: np.ndarray, pt: np.ndarray, eta: np.ndarray, phi: np.ndarray) -> LeadingJets:
    momentum = np.stack(
        [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=1
    )
    starts = np.cumsum(counts) - counts
    jets = np.add.reduceat(momentum, starts).reshape(-1, 2, 4)
    return LeadingJets(jets, counts, momentum, np.arange(len(jets)))


def coordinates(jets: LeadingJets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    px, py, pz, _ = jets.constituents.T
    pt = np.hypot(px, py)
    return pt, np.arcsinh(pz / pt), np.arctan2(py, px)


def test_they_know_neither_direction_nor_scale_nor_order() -> None:
    jets = two_jets(40)
    values = constituents_of(jets)
    assert values.shape == (40, 600)
    assert values.dtype == np.float32
    rng = np.random.default_rng(2)
    pt, eta, phi = coordinates(jets)
    jet = np.repeat(np.arange(80), jets.counts)
    turned = made(jets.counts, 3.0 * pt, eta + 0.4, phi + 2.5)
    np.testing.assert_allclose(constituents_of(turned), values, atol=1e-5)
    axes = jets.momentum[..., 2] / np.hypot(jets.momentum[..., 0], jets.momentum[..., 1])
    np.testing.assert_allclose(delta_eta(jets), np.abs(np.diff(np.arcsinh(axes)))[:, 0], rtol=1e-9)
    shuffled = np.lexsort((rng.random(len(jet)), jet))
    again = made(jets.counts, pt[shuffled], eta[shuffled], phi[shuffled])
    np.testing.assert_allclose(constituents_of(again), values, atol=1e-5)


def test_they_keep_shares_and_angles_of_the_hardest() -> None:
    jets = two_jets(30)
    px, py, pz = constituents_of(jets).reshape(60, 100, 3).transpose(2, 0, 1).astype(float)
    share = np.hypot(px, py)
    assert (np.diff(share, axis=1) <= 1e-7).all()
    np.testing.assert_array_equal((share > 0).sum(axis=1), np.minimum(jets.counts, 100))
    pt, eta, phi = coordinates(jets)
    starts = np.cumsum(jets.counts) - jets.counts
    for i in (0, 7, 31):
        rows = slice(starts[i], starts[i] + jets.counts[i])
        hard = np.argsort(-pt[rows])[:2]
        whole = jets.momentum.reshape(-1, 4)[i]
        np.testing.assert_allclose(
            share[i, :2], pt[rows][hard] / np.hypot(whole[0], whole[1]), rtol=1e-5
        )
        d_phi = np.angle(np.exp(1j * np.diff(phi[rows][hard])))[0]
        expected = np.hypot(np.diff(eta[rows][hard])[0], d_phi)
        eta_2 = np.arcsinh(pz[i, :2] / share[i, :2])
        found = np.hypot(np.diff(eta_2), np.diff(np.arctan2(py[i, :2], px[i, :2])))[0]
        assert found == pytest.approx(expected, rel=1e-4)
    # The larger spread of the momentum lies along z, its longer tail on the positive side.
    y, z = np.arctan2(py, px), np.arcsinh(np.divide(pz, share, where=share > 0, out=0 * pz))
    few = jets.counts <= 100
    spread_y, spread_z = ((share * angle**2).sum(axis=1) for angle in (y, z))
    assert (spread_z >= spread_y - 1e-6)[few].all()
    assert ((share * z**3).sum(axis=1) >= -1e-6)[few].all()


def test_plans_name_them_by_one_word() -> None:
    plan = DetectorPlan(name="vae", features=("constituents", "deta_jj"))
    assert plan.features == (*FEATURE_SETS["constituents"], "deta_jj")
    assert len(plan.features) == 601
    assert inputs_of_features(plan.features) == "constituents"
    assert inputs_of_features(["deta_jj"]) == "constituents"
    assert inputs_of_features(["mj_light"]) == "dijet"


def table_of(jets: LeadingJets, **kinds: Particles) -> EventTable:
    pt, eta, phi = coordinates(jets)
    per_event = jets.counts.reshape(-1, 2).sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(per_event)])
    owner = np.tile([0.0, 1.0], len(per_event)).repeat(jets.counts)
    parts = Particles(offsets, pt, eta, phi, np.zeros_like(pt), {"fatjet": owner})
    return EventTable({}, format="test", particles={"constituents": parts, **kinds})


def test_a_view_has_them_beside_the_features_of_the_jets() -> None:
    """Fat jets that a file brings along, with their constituents."""
    jets = two_jets(60)
    p = jets.momentum.reshape(-1, 4)
    pt = np.hypot(p[:, 0], p[:, 1])
    mass = np.sqrt(np.maximum(p[:, 3] ** 2 - (p[:, :3] ** 2).sum(axis=1), 0))
    fat = Particles(
        2 * np.arange(61), pt, np.arcsinh(p[:, 2] / pt), np.arctan2(p[:, 1], p[:, 0]), mass
    )
    events = table_of(jets, fatjets=fat)
    view, report = view_of(events, "constituents")
    plain, _ = view_of(events)
    assert report.n_kept == len(view) == 60
    np.testing.assert_array_equal(view.mass, plain.mass)
    assert view.feature_names == (*plain.feature_names, "deta_jj", *FEATURE_SETS["constituents"])
    of_jets = view.features[:, -600:].reshape(60, 2, 100, 3)
    hardest_first = np.hypot(of_jets[..., 0], of_jets[..., 1])
    order = np.argsort(-pt.reshape(60, 2), axis=1)
    expected = constituents_of(jets).reshape(60, 2, 100, 3)
    expected = np.take_along_axis(expected, order[:, :, None, None], axis=1)
    np.testing.assert_allclose(of_jets, expected, atol=1e-5)
    assert (np.diff(hardest_first, axis=2) <= 1e-6).all()


@pytest.mark.skipif(find_spec("fastjet") is None, reason="clustering needs FastJet")
def test_files_may_be_converted_in_chunks() -> None:
    """As large files of particles are read: jets are made a part at a time."""
    from bumpscout_tools.events.reader import concatenate

    jets = two_jets(20, seed=6)
    whole = table_of(jets)
    halves = []
    for first in (0, 20):
        counts = jets.counts[first : first + 20]
        start = int(jets.counts[:first].sum())
        parts = jets.constituents[start : start + int(counts.sum())]
        halves.append(table_of(LeadingJets(jets.momentum, counts, parts, np.arange(10))))
    joined = concatenate([constituent_table(half) for half in halves])
    assert not joined.particles
    view, _ = view_of(joined, "constituents")
    expected, _ = view_of(whole, "constituents")
    assert view.feature_names == expected.feature_names
    np.testing.assert_array_equal(view.features, expected.features)


def test_files_without_constituents_say_so() -> None:
    columns = {"m_jj": np.array([1500.0, 2000.0]), "x": np.ones(2)}
    with pytest.raises(InputDataError, match=r"no constituents of jets \(format test; found m_jj"):
        view_of(EventTable(columns, format="test"), "constituents")


@pytest.mark.skipif(find_spec("fastjet") is None, reason="clustering needs FastJet")
def test_particles_of_whole_events_are_clustered_first() -> None:
    jets = two_jets(12, seed=4)
    events = table_of(jets)
    view, _ = view_of(events, "constituents")
    plain, _ = view_of(events)
    np.testing.assert_array_equal(view.event_id, plain.event_id)
    np.testing.assert_array_equal(view.features[:, : len(plain.feature_names)], plain.features)
    inputs = view.features[:, -600:].reshape(-1, 2, 100, 3)
    # Momenta of a jet add up to about its own, which points along x.
    total = inputs.sum(axis=2)
    assert np.median(total[..., 0]) == pytest.approx(1.0, abs=0.1)
    assert np.abs(np.median(total[..., 1])) < 0.05
