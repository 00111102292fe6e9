"""Simulated events with objects: leptons, tags and missing energy where the process has them."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from pydantic import ValidationError

from bumpscout_tools.features.rmm_config import RmmConfig
from bumpscout_tools.features.rmm_objects import rmm_masses, select_objects
from bumpscout_tools.simulation import ObjectCard, ResonanceCard, simulate_objects

CONFIG = RmmConfig(overlap_dr=0.4)
needs_simulation = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="the extra sim is not installed",
)


def resonance(partner: str, **settings: object) -> ObjectCard:
    return ObjectCard(
        signal=ResonanceCard(resonance_mass_gev=2000, partner=partner, **settings), seed=3
    )


@needs_simulation
def test_a_resonance_and_a_lepton() -> None:
    made = simulate_objects(resonance("lepton", quarks="bottom"), 150)
    table = made.table
    assert table.n_events == 150
    assert 0 < made.cross_section_pb < 1
    leptons = table.particles["electrons"].counts + table.particles["muons"].counts
    assert (leptons == 1).mean() > 0.6
    # The neutrino: missing energy is far beyond its resolution.
    assert np.median(table.columns["met_pt"]) > 80
    objects = select_objects(table, CONFIG)
    mass = rmm_masses(objects, ("m_bb",))[:, 0]
    assert np.isfinite(mass).mean() > 0.35
    # Radiation out of jets of R = 0.4 moves the peak down.
    peak = np.nanmedian(mass[mass > 1400])
    assert 1700 < peak < 2000
    # 0.77 each for the two leading jets, which hold the b hadrons.
    jets = table.particles["jets"]
    leading = jets.offsets[:-1]
    tags = jets.extra["btag"][np.concatenate([leading, leading + 1])]
    assert 0.6 < tags.mean() < 0.85


@needs_simulation
def test_a_resonance_and_many_jets() -> None:
    table = simulate_objects(resonance("tops"), 100).table
    assert np.median(table.particles["jets"].counts) >= 6
    assert table.particles["electrons"].counts.sum() + table.particles["muons"].counts.sum() <= 2
    assert np.median(table.columns["met_pt"]) < 60


@needs_simulation
def test_multijets_have_hardly_any_lepton_and_the_seed_fixes_them() -> None:
    card = ObjectCard(seed=5)
    made = simulate_objects(card, 200)
    again = simulate_objects(card, 200)
    other = simulate_objects(card, 200, number=1)
    jets = made.table.particles["jets"]
    np.testing.assert_array_equal(jets.pt, again.table.particles["jets"].pt)
    assert made.cross_section_pb == again.cross_section_pb
    assert not np.array_equal(jets.pt[:50], other.table.particles["jets"].pt[:50])
    assert (np.maximum.reduceat(jets.pt, jets.offsets[:-1]) > 500).all()
    leptons = made.table.particles["electrons"].counts + made.table.particles["muons"].counts
    assert leptons.sum() <= 6
    # Jets above 500 GeV at 13 TeV: hundreds of pb.
    assert 200 < made.cross_section_pb < 2000


def test_impossible_resonances_are_refused() -> None:
    with pytest.raises(ValidationError, match="makes no two tops"):
        ResonanceCard(resonance_mass_gev=2000, partner="tops", partner_mass_gev=300)
    with pytest.raises(ValidationError, match="no two b quarks"):
        ResonanceCard(resonance_mass_gev=2000, partner="tops", quarks="bottom")
