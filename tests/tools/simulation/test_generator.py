"""Prongs, the early veto, particles and the recipe of the sample, with real Pythia events."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.simulation import (
    BACKGROUND,
    BoxCard,
    Chunk,
    SignalCard,
    SimulationCard,
    read_features_h5,
    round_mantissa,
    simulate_chunk,
    simulate_events,
)
from bumpscout_tools.simulation.card import JetCard
from bumpscout_tools.simulation.generator import ParticleSource, pythia_settings
from bumpscout_tools.simulation.jets import leading_jets, subjettiness
from bumpscout_tools.simulation.store import detector_coordinates

pytestmark = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="simulating needs Pythia and FastJet: pip install 'bumpscout[sim]'",
)

ROOT = Path(__file__).parents[3]


def test_the_bundled_sample_holds_the_events_of_its_card() -> None:
    text = (ROOT / "validation" / "boxes" / "dijet_demo.card.yaml").read_text()
    card = BoxCard.model_validate(yaml.safe_load(text))
    sample = read_features_h5(ROOT / "src" / "bumpscout" / "samples" / "dijet_demo.h5")
    made = simulate_chunk(card, Chunk(BACKGROUND, 0, 40))
    there = {tuple(float(event[name]) for name in FEATURE_COLUMNS) for event in sample}
    for event in made:
        row = tuple(
            float(round_mantissa(event[name], card.mantissa_bits or 0)) for name in FEATURE_COLUMNS
        )
        assert row in there


def test_three_prongs_are_less_two_pronged_and_more_three_pronged() -> None:
    def ratios(prongs: tuple[int, int]) -> tuple[float, float]:
        signal = SignalCard.model_validate(
            {
                "resonance_mass_gev": 3500,
                "daughter_masses_gev": (500, 300),
                "n_events": 80,
                "prongs": prongs,
            }
        )
        made = simulate_chunk(SimulationCard(signals=(signal,)), Chunk(0, 0, 80))
        heavier = np.sort(np.stack([made["mj1"], made["mj2"]]), axis=0)[1]
        assert np.median(heavier) == pytest.approx(500, rel=0.05)
        tau1, tau2, tau3 = (
            np.concatenate([made[f"tau{n}j1"], made[f"tau{n}j2"]]) for n in (1, 2, 3)
        )
        return float(np.median(tau2 / tau1)), float(np.median(tau3 / tau2))

    two, three = ratios((2, 2)), ratios((3, 3))
    assert two[0] + 0.1 < three[0]
    assert three[1] + 0.05 < two[1]


def test_the_early_veto_leaves_the_events_that_pass_and_drops_the_others() -> None:
    def passing(fraction: float) -> tuple[int, int]:
        card = SimulationCard(n_background=1, early_veto_fraction=fraction)
        source = ParticleSource(card, None, 17)
        particles = source.next_batch(150)
        four = np.concatenate(
            [particles.momentum, np.linalg.norm(particles.momentum, axis=1)[:, None]], axis=1
        )
        low = leading_jets(particles.counts, four, JetCard(), 600.0)
        pt = np.hypot(low.momentum[:, 0, 0], low.momentum[:, 0, 1])
        return int((pt > 1200).sum()), int((pt < 1050).sum())

    with_veto, without = passing(0.94), passing(0.0)
    assert without[1] > 15
    assert with_veto[1] <= 2
    assert with_veto[0] > without[0] + 15


def test_the_veto_is_for_background_alone_and_can_be_left_out() -> None:
    signal = SignalCard(resonance_mass_gev=3500, daughter_masses_gev=(500, 100), n_events=1)
    card = SimulationCard(n_background=1, signals=(signal,))
    assert pythia_settings(card, None, 1) == pythia_settings(
        card.model_copy(update={"early_veto_fraction": 0.0}), None, 1
    )
    once, again = (
        simulate_chunk(card.model_copy(update={"early_veto_fraction": f}), Chunk(0, 0, 5))
        for f in (0.94, 0.0)
    )
    assert (once == again).all()


def test_particles_give_back_the_jets_of_the_features() -> None:
    card = SimulationCard(n_background=30)
    events = simulate_events(card, Chunk(BACKGROUND, 0, 20), particles=True)
    assert (events.table == simulate_chunk(card, Chunk(BACKGROUND, 0, 20))).all()
    offsets, flat, n_cut = detector_coordinates(events)
    assert n_cut == 0
    pt, eta, phi = flat.T.astype(np.float64)
    four = np.stack([np.cos(phi), np.sin(phi), np.sinh(eta), np.cosh(eta)], axis=1) * pt[:, None]
    jets = leading_jets(np.diff(offsets), four, card.jets, card.leading_jet_pt_min_gev - 1)
    assert jets.event.tolist() == list(range(20))
    np.testing.assert_allclose(jets.momentum[:, 0, 0], events.table["pxj1"], rtol=1e-4, atol=0.1)
    tau = subjettiness(jets.counts, jets.constituents).reshape(-1, 2, 3)
    np.testing.assert_allclose(tau[:, 1, 1], events.table["tau2j2"], rtol=0.01)
