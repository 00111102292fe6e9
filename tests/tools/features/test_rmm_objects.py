"""Objects of the matrix, the scanned masses, triggers and event classes."""

from __future__ import annotations

from itertools import product
from types import MappingProxyType

import numpy as np
import pytest

from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.features.categories import TRIGGERS, object_triggers
from bumpscout_tools.features.event_classes import (
    ClassLimits,
    class_name,
    class_of,
    event_classes,
)
from bumpscout_tools.features.rmm_config import RMM_MASSES, RmmConfig
from bumpscout_tools.features.rmm_objects import available_masses, rmm_masses, select_objects


def kind(*events: list[tuple[float, float, float, float]], **extra: list[float]) -> Particles:
    rows = np.array([row for event in events for row in event]).reshape(-1, 4).T
    offsets = np.concatenate([[0], np.cumsum([len(event) for event in events])])
    values = {name: np.array(x, dtype=float) for name, x in extra.items()}
    return Particles(offsets.astype(np.int64), *rows, extra=values)


def table(met: list[float] | None = None, **kinds: Particles) -> EventTable:
    n = next(iter(kinds.values())).n_events
    size = np.zeros(n) if met is None else np.array(met)
    columns = MappingProxyType({"met_pt": size, "met_phi": np.full(n, 0.3)})
    return EventTable(columns, format="test", particles=kinds)


def test_objects_are_selected_split_and_sorted() -> None:
    jets = kind(
        [(40, 0, 0, 5), (90, 0, 1, 5), (29, 0, 2, 5), (70, 2.5, 0, 5), (60, 0, 3, 5)],
        btag=[0.1, 0.2, 0.1, 0.1, 0.5],
    )
    objects = select_objects(table(jets=jets))
    assert objects.multiplicity.tolist() == [[2, 1, 0, 0, 0]]
    assert objects.momentum[:, 0].tolist() == [90, 40, 60]
    only = select_objects(table(jets=jets), RmmConfig(light_jets=1, b_jets=1, blinded=()))
    assert only.multiplicity.tolist() == [[2, 1, 0, 0, 0]]
    assert only.momentum[:, 0].tolist() == [90, 60]


def test_of_many_objects_the_hardest_are_kept_in_order() -> None:
    pts = np.random.default_rng(4).permutation(np.arange(31, 71))
    jets = kind([(float(pt), 0.0, 0.1, 0.0) for pt in pts])
    assert select_objects(table(jets=jets)).momentum[:, 0].tolist() == [*range(70, 60, -1)]


def test_objects_that_are_no_numbers_are_none_and_small_missing_energy_is_none() -> None:
    jets = kind([(np.nan, 0, 0, 1), (50, np.nan, 0, 1), (50, 0, np.inf, 1), (50, 0, 0, np.nan)])
    objects = select_objects(table(met=[29.9], jets=jets))
    assert objects.multiplicity.sum() == 0
    assert objects.met.tolist() == [[0, 0, 0]]
    assert select_objects(table(met=[30.0], jets=jets)).met[0, 0] == 30


def test_masses_are_those_of_summed_four_vectors() -> None:
    rng = np.random.default_rng(2)
    n = 50

    def some(per_event: int) -> list[list[tuple[float, ...]]]:
        return [
            [
                (*x,)
                for x in np.column_stack(
                    [
                        np.sort(rng.uniform(31, 400, per_event))[::-1],
                        rng.uniform(-2.3, 2.3, per_event),
                        rng.uniform(-3, 3, per_event),
                        rng.uniform(0, 20, per_event),
                    ]
                )
            ]
            for _ in range(n)
        ]

    parts = {name: some(k) for name, k in (("jets", 4), ("muons", 1), ("electrons", 1))}
    btag = np.tile([0.0, 0.0, 1.0, 1.0], n)
    events = table(
        jets=kind(*parts["jets"], btag=btag.tolist()),
        muons=kind(*parts["muons"]),
        electrons=kind(*parts["electrons"]),
    )

    def four(row: tuple[float, ...]) -> np.ndarray:
        pt, eta, phi, mass = row
        p = pt * np.array([np.cos(phi), np.sin(phi), np.sinh(eta)])
        return np.array([*p, np.sqrt(p @ p + mass**2)])

    names = ("m_jj", "m_jb", "m_bb", "m_je", "m_be", "m_jmu", "m_bmu")
    assert available_masses(events) == names
    masses = rmm_masses(select_objects(events), names)
    for i in range(n):
        j1, j2, b1, b2 = (four(row) for row in parts["jets"][i])
        e, mu = four(parts["electrons"][i][0]), four(parts["muons"][i][0])
        sums = (j1 + j2, j1 + b1, b1 + b2, j1 + e, b1 + e, j1 + mu, b1 + mu)
        expected = [np.sqrt(p[3] ** 2 - p[:3] @ p[:3]) for p in sums]
        np.testing.assert_allclose(masses[i], expected, rtol=1e-9)
    photons = rmm_masses(select_objects(events), tuple(RMM_MASSES))[:, -2:]
    assert np.isnan(photons).all()


def test_the_same_energy_is_not_counted_twice() -> None:
    events = table(
        jets=kind([(100, 0, 0, 5), (80, 0, 3.1, 5)]),
        electrons=kind([(90, 0.1, 0.1, 0)]),
        photons=kind([(90, 0.1, 0.1, 0), (60, 1, 1, 0)]),
        muons=kind([(25, 0, -3.1, 0)]),
    )
    assert select_objects(events).multiplicity.tolist() == [[2, 0, 0, 1, 2]]
    clean = select_objects(events, RmmConfig(overlap_dr=0.4))
    # The soft muon is not selected, so the second jet stays, though it lies across the cut of phi.
    assert clean.multiplicity.tolist() == [[1, 0, 0, 1, 1]]


def test_badly_identified_objects_can_be_left_out() -> None:
    muons = kind(
        [(50, 0, 0, 0), (60, 0, 1, 0), (70, 0, 2, 0)], tight=[1, 0, 1], isolation=[0, 0, 1]
    )
    assert select_objects(table(muons=muons)).multiplicity[0, 2] == 3
    good = select_objects(table(muons=muons), RmmConfig(identified=True))
    assert good.multiplicity[0, 2] == 1
    assert good.momentum[0, 0] == 50


@pytest.mark.parametrize(
    ("name", "fires", "fires_not"),
    [
        ("met", {"met": [201.0]}, {"met": [199.0]}),
        ("lepton", {"muons": [61]}, {"muons": [59]}),
        ("two-leptons", {"muons": [31], "electrons": [31]}, {"muons": [59]}),
        ("photon", {"photons": [151]}, {"photons": [149]}),
        ("two-photons", {"photons": [31, 31]}, {"photons": [149]}),
        ("jet", {"jets": [501]}, {"jets": [499]}),
        ("four-jets", {"jets": [201, 101, 101, 101]}, {"jets": [201, 101, 101, 99]}),
    ],
)
def test_triggers_fire_at_their_thresholds(name: str, fires: dict, fires_not: dict) -> None:
    def fired(wanted: dict) -> bool:
        parts = {
            which: kind([(pt, 0.1 * i, i, 0) for i, pt in enumerate(wanted.get(which, []))])
            for which in ("jets", "muons", "electrons", "photons")
        }
        return bool(object_triggers(select_objects(table(wanted.get("met"), **parts)))[name][0])

    assert fired(fires)
    assert not fired(fires_not)


def test_b_jets_fire_the_jet_triggers_too() -> None:
    jets = kind([(210, 0, 0, 0), (110, 0, 1, 0), (110, 0, 2, 0), (110, 0, 3, 0)], btag=[1, 0, 1, 0])
    found = object_triggers(select_objects(table(jets=jets)))
    assert list(found) == list(TRIGGERS)
    assert {name for name, value in found.items() if value[0]} == {"four-jets"}


def test_there_are_as_many_event_classes_as_published() -> None:
    """6,676 exclusive classes from the limits of the 36/fb publications."""
    classes = event_classes()
    assert len(classes) == len(np.unique(classes, axis=0)) == 6676
    # The same by a plain loop over all counts.
    n = 0
    for met, j, b, e, mu, tau, g in product(range(2), range(7), range(5), *[range(4)] * 4):
        leptons, objects = e + mu + tau, j + b + e + mu + tau + g
        n += j + b < 10 and leptons <= 5 and leptons + g <= 5 and 2 - met <= objects < 13
    assert n == 6676


def test_events_fall_into_the_class_of_their_objects() -> None:
    events = table(
        met=[50.0, 0.0, 0.0],
        jets=kind([(90, 0, 0, 1), (80, 0, 1, 1), (70, 0, 2, 1)], [], [(50, 0, 0, 1)],
                  btag=[0, 1, 0, 0]),
        muons=kind([(40, 0, 0, 0)], [(40, 0, 0, 0)] * 4, []),
    )  # fmt: skip
    classes, row = class_of(select_objects(events))
    assert class_name(classes[row[0]]) == "met 2j 1b 1mu"
    assert row[1:].tolist() == [-1, -1]
    wider = ClassLimits(each_lepton_max=4, objects_min=1)
    classes, row = class_of(select_objects(events), wider, taus=np.array([1, 0, 0]))
    assert [class_name(classes[i]) for i in row] == ["met 2j 1b 1mu 1tau", "4mu", "1j"]
