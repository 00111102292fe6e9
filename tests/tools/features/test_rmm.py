"""The rapidity-mass matrix: cells calculated by hand, invariance, blinding, the 1287 inputs."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
from pydantic import ValidationError

from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.features.rmm import rmm, rmm_columns, rmm_images, rmm_sparse
from bumpscout_tools.features.rmm_config import RmmConfig, position
from bumpscout_tools.features.rmm_objects import select_objects

OPEN = RmmConfig(blinded=())
KINDS = ("jets", "muons", "electrons", "photons")


def particles(events: list[list[tuple[float, ...]]]) -> Particles:
    """Make particles of events from (pt, eta, phi, mass[, btag])."""
    rows = [row for event in events for row in event]
    columns = np.array([(*row, 0.0)[:5] for row in rows]).reshape(-1, 5).T
    offsets = np.concatenate([[0], np.cumsum([len(event) for event in events])])
    return Particles(offsets.astype(np.int64), *columns[:4], extra={"btag": columns[4]})


def table(met: list[tuple[float, float]], **kinds: list[list[tuple[float, ...]]]) -> EventTable:
    columns = {"met_pt": np.array([x for x, _ in met]), "met_phi": np.array([x for _, x in met])}
    return EventTable(
        MappingProxyType(columns),
        format="test",
        particles={kind: particles(events) for kind, events in kinds.items()},
    )


def cells(values: np.ndarray, config: RmmConfig) -> dict[str, float]:
    names = [column.name for column in rmm_columns(config)]
    return {name: value for name, value in zip(names, values.tolist(), strict=True) if value}


def random_events(n: int = 300, seed: int = 1) -> EventTable:
    rng = np.random.default_rng(seed)
    made = {}
    for kind, mean in zip(KINDS, (6, 1, 1, 1), strict=True):
        counts = rng.poisson(mean, n)
        m = int(counts.sum())
        made[kind] = Particles(
            np.concatenate([[0], np.cumsum(counts)]),
            31 + rng.exponential(100, m),
            rng.normal(0, 0.8, m),
            rng.uniform(-np.pi, np.pi, m),
            rng.exponential(15, m),
            {"btag": rng.random(m)},
        )
    columns = {"met_pt": rng.exponential(60, n), "met_phi": rng.uniform(-np.pi, np.pi, n)}
    return EventTable(MappingProxyType(columns), format="test", particles=made)


def test_two_massless_jets_back_to_back() -> None:
    """E_T 1300 and 650 GeV: m^2 = 4 E1 E2, imbalance 650/1950; no rapidity, no missing energy."""
    events = table([(20.0, 0.0)], jets=[[(650, 0, np.pi, 0), (1300, 0, 0, 0)]])
    found = cells(rmm(events, OPEN)[0], OPEN)
    assert found == pytest.approx(
        {"et_j1": 0.1, "imbalance_j2": 1 / 3, "m_j1_j2": np.sqrt(4 * 1300 * 650) / 13000}, rel=1e-6
    )


def test_a_light_jet_a_b_jet_and_missing_energy() -> None:
    """The b-jet at y = ln 2, where cosh y = 5/4; missing energy of 100 GeV opposite to the jet."""
    events = table([(100.0, np.pi)], jets=[[(130, 0, 0, 0), (130, np.log(2), np.pi / 2, 0, 0.9)]])
    found = cells(rmm(events, OPEN)[0], OPEN)
    half = (np.sqrt(2) + np.sqrt(0.5)) / 2 - 1
    assert found == pytest.approx(
        {
            "met": 100 / 13000,
            "mt_j1": np.sqrt(230**2 - 30**2) / 13000,
            "mt_b1": np.sqrt(230**2 - 130**2 - 100**2) / 13000,
            "et_j1": 0.01,
            "et_b1": 0.01,
            "hl_b1": 0.15 * 0.25,
            "m_j1_b1": 130 * np.sqrt(2 * 1.25) / 13000,
            "h_j1_b1": 0.15 * half,
        },
        rel=1e-6,
    )


HEAVY = {
    # pT 400, mass 300: sqrt(m^2 + pT^2) = 500; sinh y = 3/4, cosh y = 5/4, so E = 625, pz = 375.
    "jets": [[(400, np.arcsinh(375 / 400), 0, 300)]],
    "muons": [[(100, 0, 0, 0)]],
    "electrons": [[(80, 0, np.pi, 0)]],
    "photons": [[(60, 0, np.pi / 2, 0)]],
}


def test_a_heavy_jet_with_a_muon_an_electron_and_a_photon() -> None:
    half = (np.sqrt(2) + np.sqrt(0.5)) / 2 - 1
    expected = {
        "hl_j1": 0.15 * 0.25,
        "et_j1": 500 / 13000,
        "et_mu1": 100 / 13000,
        "et_e1": 80 / 13000,
        "et_gamma1": 60 / 13000,
        "m_j1_mu1": np.sqrt(300**2 + 2 * (625 * 100 - 400 * 100)) / 13000,
        "m_j1_e1": np.sqrt(300**2 + 2 * (625 * 80 + 400 * 80)) / 13000,
        "m_j1_gamma1": np.sqrt(300**2 + 2 * 625 * 60) / 13000,
        "m_mu1_e1": np.sqrt(4 * 100 * 80) / 13000,
        "m_mu1_gamma1": np.sqrt(2 * 100 * 60) / 13000,
        "m_e1_gamma1": np.sqrt(2 * 80 * 60) / 13000,
        **{f"h_j1_{other}": 0.15 * half for other in ("mu1", "e1", "gamma1")},
    }
    found = cells(rmm(table([(0.0, 0.0)], **HEAVY), OPEN)[0], OPEN)
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_transverse_energy_of_root_is_an_option() -> None:
    """E sin(theta) of the jet above: 625 * 400 / sqrt(400^2 + 375^2)."""
    config = RmmConfig(blinded=(), transverse_energy="sin-theta")
    found = cells(rmm(table([(0.0, 0.0)], **HEAVY), config)[0], config)
    assert found["et_j1"] == pytest.approx(625 * 400 / np.hypot(400, 375) / 13000, rel=1e-6)
    assert found["et_mu1"] == pytest.approx(100 / 13000)


def test_the_inputs_are_those_of_the_published_search() -> None:
    """Of 51 x 51 cells, numbered from 1 row by row, ADFilter (arXiv:2409.03065) drops objects 6 to
    10 of muons, electrons and photons and these nine."""
    blinded = (54, 63, 73, 83, 93, 574, 583, 593, 603)
    gone = {*range(26, 31), *range(36, 41), *range(46, 51)}
    everything = {
        51 * row + column + 1: (row, column)
        for row in range(51)
        for column in range(51)
        if row not in gone and column not in gone
    }
    assert len(everything) == 1296
    expected = [everything[number] for number in everything if number not in blinded]
    assert len(expected) == 1287
    # Objects 6 to 10 of muons and electrons lie between ours and the later ones.
    ours = [(c.row, c.column) for c in rmm_columns()]
    wide = {r: r + 5 * (r > 25) + 5 * (r > 30) for r in range(36)}
    assert [(wide[row], wide[column]) for row, column in ours] == expected
    assert len({c.name for c in rmm_columns()}) == 1287


def test_fewer_slots_drop_cells_and_change_none() -> None:
    events = random_events()
    wide = RmmConfig(muons=10, electrons=10, photons=10, blinded=())
    names = {column.name: i for i, column in enumerate(rmm_columns(wide))}
    assert len(names) == 2601
    kept = [names[column.name] for column in rmm_columns()]
    np.testing.assert_array_equal(rmm(events), rmm(events, wide)[:, kept])


def test_rotation_about_the_beam_changes_nothing() -> None:
    events = random_events()
    turned = EventTable(
        MappingProxyType(
            {"met_pt": events.columns["met_pt"], "met_phi": events.columns["met_phi"] + 2.0}
        ),
        format="test",
        particles={
            kind: Particles(x.offsets, x.pt, x.eta, x.phi + 2.0, x.mass, x.extra)
            for kind, x in events.particles.items()
        },
    )
    np.testing.assert_allclose(rmm(turned, OPEN), rmm(events, OPEN), rtol=2e-5, atol=1e-6)


def boosted(part: Particles, by: float) -> Particles:
    transverse = np.hypot(part.pt, part.mass)
    y = np.arcsinh(part.pt * np.sinh(part.eta) / transverse) + by
    eta = np.arcsinh(transverse * np.sinh(y) / part.pt)
    return Particles(part.offsets, part.pt, eta, part.phi, part.mass, part.extra)


@pytest.mark.parametrize("energy", ["invariant", "sin-theta"])
def test_a_boost_along_the_beam_changes_the_first_column_alone(energy: str) -> None:
    config = RmmConfig(blinded=(), abs_eta_max=50, transverse_energy=energy)
    events = random_events()
    moved = EventTable(
        events.columns,
        format="test",
        particles={kind: boosted(part, 0.7) for kind, part in events.particles.items()},
    )
    before, after = (rmm_images(rmm(x, config), config) for x in (events, moved))
    changed = np.abs(after - before).max(axis=0) > 1e-5
    assert changed[1:4, 0].all()
    changed[:, 0] = False
    assert changed[0, 1:].any() == changed.diagonal().any() == (energy == "sin-theta")
    changed[0] = False
    np.fill_diagonal(changed, False)
    assert not changed.any()


def test_blinded_masses_cannot_be_found_in_the_inputs() -> None:
    """Turning j1 and j2 about the beam changes their mass; with it blinded, no input changes."""
    pair = [[(300, 0.5, 0, 0), (200, -0.5, 1, 0)], [(300, 0.5, 0, 0), (200, -0.5, 3, 0)]]
    events = table([(0, 0), (0, 0)], jets=pair)
    blind, open_ = rmm(events), rmm(events, OPEN)
    np.testing.assert_array_equal(blind[0], blind[1])
    assert (open_[0] != open_[1]).sum() == 1


def test_any_set_of_masses_can_be_blinded() -> None:
    config = RmmConfig(blinded=(("e1", "mu1"), ("j2", "gamma3")))
    missing = {c.name for c in rmm_columns(OPEN)} - {c.name for c in rmm_columns(config)}
    assert missing == {"m_mu1_e1", "m_j2_gamma3"}


def test_sparse_and_dense_and_written_to_a_given_array_are_equal() -> None:
    events = random_events()
    dense = rmm(events)
    out = np.full(dense.shape, 7.0, dtype=np.float32)
    assert rmm(select_objects(events), out=out) is out
    np.testing.assert_array_equal(out, dense)
    scattered = rmm_sparse(events)
    assert scattered.has_sorted_indices
    assert scattered.nnz < 0.1 * dense.size
    np.testing.assert_array_equal(scattered.toarray(), dense)


def test_images_have_each_column_in_its_cell() -> None:
    numbers = np.arange(1287, dtype=np.float32)[None]
    image = rmm_images(numbers)[0]
    for value, column in zip(numbers[0], rmm_columns(), strict=True):
        assert image[column.row, column.column] == value
    assert np.isnan(image).sum() == 9


def test_what_does_not_fit_is_said() -> None:
    events = random_events(5)
    with pytest.raises(ConfigurationError, match=r"\(5, 1287\) of float32"):
        rmm(events, out=np.zeros((5, 1287)))
    with pytest.raises(ConfigurationError, match="larger matrix"):
        rmm(select_objects(events), RmmConfig(light_jets=1, blinded=()))
    with pytest.raises(ValidationError, match="has 5 of this type"):
        RmmConfig(blinded=(("j1", "e6"),))
    with pytest.raises(ValidationError, match="no object; objects are called j1, b1"):
        RmmConfig(blinded=(("j1", "tau1"),))
    with pytest.raises(ValidationError, match="with itself"):
        RmmConfig(blinded=(("j1", "j1"),))
    with pytest.raises(InputDataError, match="needs jets, muons, electrons or photons"):
        rmm(EventTable({"x": np.zeros(2)}, format="flat"))


def test_positions_are_row_by_type_and_rank() -> None:
    assert [position(RmmConfig(), x) for x in ("met", "j1", "b1", "mu1", "e1", "gamma5")] == [
        *(0, 1, 11, 21),
        *(26, 35),
    ]
