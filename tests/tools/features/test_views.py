"""Views of every kind of table: what is kept, what the features, spectra and categories are."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np
import pytest

from bumpscout_tools.errors import InputDataError, MissingExtraError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS, SUBSTRUCTURE_COLUMNS
from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.features.catalogue import FEATURE_SETS, FEATURES
from bumpscout_tools.features.categories import TRIGGERS
from bumpscout_tools.features.constituents import jet_table
from bumpscout_tools.features.dijet import DIJET_FEATURES, dijet_view
from bumpscout_tools.features.views import rmm_view, spectra_of, view_of

needs_simulation = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="simulated constituents need Pythia and FastJet: bumpscout[sim]",
)


def some(n: int, mean: float, seed: int, **extra: float) -> Particles:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean, n)
    m = int(counts.sum())
    return Particles(
        np.concatenate([[0], np.cumsum(counts)]),
        31 + rng.exponential(150, m),
        rng.normal(0, 0.8, m),
        rng.uniform(-np.pi, np.pi, m),
        rng.exponential(15, m),
        {name: most * rng.random(m) for name, most in extra.items()},
    )


def table(columns: dict[str, np.ndarray], **parts: object) -> EventTable:
    return EventTable(MappingProxyType(columns), format="test", **parts)


def column(view, name: str) -> np.ndarray:
    return view.features[:, view.feature_names.index(name)]


def layout(n: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.uniform(0.1, 0.9, n) + 500 * (name[0] in "pm") for name in FEATURE_COLUMNS}


def test_feature_columns_give_the_dijet_view() -> None:
    events = table(layout())
    (view, report), (expected, _) = view_of(events), dijet_view(events)
    np.testing.assert_array_equal(view.features, expected.features)
    assert view.feature_names == tuple(DIJET_FEATURES)
    assert report.n_kept == 60
    assert view.spectra is None


def test_columns_of_the_extended_sets_become_features_of_the_lighter_and_heavier_jet() -> None:
    rng = np.random.default_rng(2)
    columns = layout() | {name: rng.random(60) for name in SUBSTRUCTURE_COLUMNS}
    view, _ = view_of(table(columns))
    first_is_light = columns["mj1"] < columns["mj2"]
    for name, key, scale in (
        ("tau7_beta05", "tau7{}_5", 1),
        ("tau2_beta1", "tau2{}_1", 1),
        ("tau9_beta2", "tau9{}_2", 1),
        ("msd", "msd{}", 1000),
        ("n", "n{}", 1),
    ):
        one, two = columns[key.format("j1")] / scale, columns[key.format("j2")] / scale
        expected = np.where(first_is_light, one, two)
        np.testing.assert_allclose(column(view, f"{name}_light"), expected)
        np.testing.assert_allclose(column(view, f"{name}_heavy"), one + two - expected)
    ratio = columns["tau5j1_1"] / (columns["tau4j1_1"] + 1e-5)
    np.testing.assert_array_equal(
        column(view, "tau54_light")[first_is_light], ratio[first_is_light]
    )
    sizes = {"baseline": 4, "extended-10": 10, "extended-12": 12, "extended-56": 56}
    for name, size in sizes.items():
        members = FEATURE_SETS[name]
        assert len(members) == size
        assert len(set(members)) == len(members)
        assert set(members) <= set(view.feature_names)
    assert set(view.feature_names) <= set(FEATURES)


def test_the_extended_files_of_the_literature_are_read(tmp_path: Path) -> None:
    """Their columns are pxj1 ... mj2, and tau1j1_1 in the place of tau1j1."""
    from bumpscout_tools.events.open import open_events

    rng = np.random.default_rng(3)
    columns = layout() | {name: rng.random(60) for name in SUBSTRUCTURE_COLUMNS}
    theirs = {n: x for n, x in columns.items() if n not in FEATURE_COLUMNS or "tau" not in n}
    path = tmp_path / "extended.h5"
    with h5py.File(path, "w") as file:
        frame = file.create_group("df")
        frame["block0_items"] = np.array([name.encode() for name in (*theirs, "label")])
        frame["block0_values"] = np.column_stack([*theirs.values(), rng.random(60)])
        frame["axis0"], frame["axis1"] = frame["block0_items"][:], np.arange(60)
    events = open_events(path)
    assert set(events.columns) == {*FEATURE_COLUMNS, *SUBSTRUCTURE_COLUMNS}
    np.testing.assert_array_equal(events.columns["tau2j1"], columns["tau2j1_1"])
    view, _ = view_of(events)
    assert set(FEATURE_SETS["extended-56"]) <= set(view.feature_names)


def test_plans_name_sets_and_keep_their_members() -> None:
    from bumpscout_tools.features.catalogue import inputs_of_features
    from bumpscout_tools.scan.plan import DetectorPlan

    plan = DetectorPlan(features=("extended-10", "tau21_light", "msd_light"))
    assert plan.features == (*FEATURE_SETS["extended-10"], "msd_light")
    assert DetectorPlan(features=plan.features) == plan
    assert inputs_of_features(plan.features) == "dijet"
    assert inputs_of_features(DetectorPlan(features=("rmm",)).features) == "rmm"
    assert len(FEATURE_SETS["rmm"]) == 1287


def test_the_two_hardest_fat_jets_make_the_mass() -> None:
    rng = np.random.default_rng(6)
    fat = some(200, 6, 3, tau1=1.0, tau2=0.5, tau3=0.2, softdrop_mass=100.0)
    events = table({}, particles={"fatjets": fat})
    view, report = view_of(events)
    assert report.dropped == {"fewer than two jets": int((fat.counts < 2).sum())}
    row = int(rng.integers(len(view)))
    event = int(view.event_id[row])
    mine = np.arange(fat.offsets[event], fat.offsets[event + 1])
    first, second = mine[np.argsort(-fat.pt[mine])][:2]
    light, heavy = sorted((first, second), key=lambda i: fat.mass[i])
    p = np.zeros(4)
    for i in (first, second):
        vector = fat.pt[i] * np.array([np.cos(fat.phi[i]), np.sin(fat.phi[i]), np.sinh(fat.eta[i])])
        p += [*vector, np.sqrt(vector @ vector + fat.mass[i] ** 2)]
    assert view.mass[row] == pytest.approx(np.sqrt(p[3] ** 2 - p[:3] @ p[:3]))
    assert column(view, "mj_heavy")[row] == pytest.approx(fat.mass[heavy] / 1000)
    tau = fat.extra
    expected = tau["tau2"][light] / (tau["tau1"][light] + 1e-5)
    assert column(view, "tau21_light")[row] == pytest.approx(expected)
    assert column(view, "msd_heavy")[row] == pytest.approx(tau["softdrop_mass"][heavy] / 1000)
    assert view.spectra is None


def test_jets_make_the_mass_where_few_events_have_two_fat_jets() -> None:
    jets = some(200, 5, 3, btag=1.0)
    few = some(200, 0.3, 4)
    view, _ = view_of(table({}, particles={"jets": jets, "fatjets": few}))
    alone, _ = view_of(table({}, particles={"jets": jets}))
    np.testing.assert_array_equal(view.mass, alone.mass)
    assert "btag_light" in view.feature_names


def test_spectra_belong_to_the_events_of_the_view() -> None:
    n = 150
    parts = {
        "jets": some(n, 3, 1, btag=1.0),
        "electrons": some(n, 1, 2),
        "muons": some(n, 1, 3),
    }
    rng = np.random.default_rng(5)
    fired = rng.random(n) < 0.3
    events = table({}, particles=parts, triggers={"HLT_one": fired, "met": ~fired})
    view, report = view_of(events)
    spectra = spectra_of(events)
    assert report.n_kept < n
    assert view.spectra is not None
    assert view.spectra.mass_names == (*("m_jj", "m_jb", "m_bb", "m_je", "m_be", "m_jmu", "m_bmu"),)
    rows = view.event_id.astype(int)
    np.testing.assert_array_equal(view.spectra.masses, spectra.masses[rows])
    # The trigger of the file stands for ours of the same name.
    names = ("HLT_one", *(name for name in TRIGGERS if name != "met"))
    assert set(spectra.category_names) == {*names, "met"}
    for name, expected in (("HLT_one", fired), ("met", ~fired)):
        inside = np.isfinite(spectra.mass("m_jj", name))
        np.testing.assert_array_equal(inside, expected & np.isfinite(spectra.mass("m_jj")))


def test_of_too_many_triggers_the_busiest_are_kept() -> None:
    n = 40
    triggers = {f"HLT_{k:03d}": np.arange(n) < k % 37 for k in range(100)}
    spectra = spectra_of(table({}, particles={"jets": some(n, 4, 1)}, triggers=triggers))
    kept = {name for name in spectra.category_names if name.startswith("HLT")}
    assert len(spectra.category_names) == 64
    assert len(kept) == 57
    lost = max(int(fired.sum()) for name, fired in triggers.items() if name not in kept)
    assert lost <= min(int(triggers[name].sum()) for name in kept)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e300])
@pytest.mark.parametrize("damaged", ["pt", "eta", "phi", "mass", "met_pt", "met_phi"])
def test_damaged_numbers_never_reach_a_view(bad: float, damaged: str) -> None:
    parts = {kind: some(40, 4, k, btag=1.0) for k, kind in enumerate(("jets", "electrons"))}
    columns = {"met_pt": np.full(40, 50.0), "met_phi": np.zeros(40)}
    if damaged in columns:
        columns[damaged][::2] = bad
    else:
        for part in parts.values():
            getattr(part, damaged)[::3] = bad
    for inputs in ("dijet", "rmm"):
        view, report = view_of(table(columns, particles=parts), inputs)
        assert np.isfinite(view.features).all()
        assert np.isfinite(view.mass).all()
        assert report.n_read - report.n_kept == sum(report.dropped.values())
        masses = view.spectra.masses
        assert np.isnan(masses[~((masses > 0) & (masses < 2e6))]).all()


@pytest.mark.skipif(find_spec("fastjet") is None, reason="clustering needs FastJet")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300, -5.0, 0.0])
@pytest.mark.parametrize("damaged", ["pt", "eta", "mass"])
def test_damaged_constituents_are_left_out(bad: float, damaged: str) -> None:
    parts = some(5, 60, 1)
    getattr(parts, damaged)[::7] = bad
    view, _ = view_of(table({}, particles={"constituents": parts}))
    assert np.isfinite(view.features).all()
    assert 0 < len(view) <= 5


def test_flat_tables_use_all_other_columns() -> None:
    columns = {
        "m_jj": np.array([1.0, 2.0, np.nan, -1.0, 3.0]),
        "x": np.array([1.0, np.nan, 1.0, 1.0, 5.0]),
        "empty": np.full(5, np.nan),
    }
    events = EventTable(columns, format="csv", units={"m_jj": "TeV"})
    view, report = view_of(events)
    assert view.mass.tolist() == [1000, 3000]
    assert view.feature_names == ("x",)
    assert view.event_id.tolist() == [0, 4]
    assert report.dropped == {"m_jj not positive": 2, "a feature not finite": 1}
    assert report.mended == {"column empty left out, no number in it": 5}


def test_data_without_a_dijet_mass_say_what_they_have() -> None:
    with pytest.raises(InputDataError, match=r"neither two jets .* m_jj \(format test; found x\)"):
        view_of(table({"x": np.ones(3)}))


def test_the_matrix_view_keeps_events_with_any_scanned_mass() -> None:
    n = 200
    parts = {"jets": some(n, 1.5, 1, btag=1.0), "electrons": some(n, 0.8, 2)}
    view, report = view_of(table({}, particles=parts), "rmm")
    assert view.features.shape == (report.n_kept, 1287)
    assert view.spectra is not None
    masses = view.spectra.masses
    assert np.isfinite(masses).any(axis=1).all()
    np.testing.assert_array_equal(view.mass, np.nan_to_num(masses[:, 0]))
    assert (view.mass == 0).any()
    assert report.n_read == report.n_kept + report.dropped["no two objects whose mass is scanned"]
    with pytest.raises(InputDataError, match="None of the 3 events has two objects"):
        rmm_view(table({}, particles={"muons": some(3, 2, 1)}))


def raw_events(n: int) -> tuple[EventTable, np.ndarray]:
    from bumpscout_tools.simulation import BACKGROUND, Chunk, SimulationCard
    from bumpscout_tools.simulation.generate import simulate_events
    from bumpscout_tools.simulation.store import detector_coordinates

    card = SimulationCard(n_background=n, seed=5)
    simulated = simulate_events(card, Chunk(BACKGROUND, 0, n), particles=True)
    offsets, particles, _ = detector_coordinates(simulated)
    pt, eta, phi = particles.T.astype(float)
    parts = Particles(offsets, pt, eta, phi, np.zeros_like(pt))
    return table({}, particles={"constituents": parts}), simulated.table


@needs_simulation
def test_raw_events_written_and_read_give_back_the_feature_file(tmp_path: Path) -> None:
    from bumpscout_tools.events.open import open_events
    from bumpscout_tools.simulation.raw_layout import write_raw_h5

    events, features = raw_events(60)
    parts = events.particles["constituents"]
    rows = np.zeros((60, 700, 3), dtype=np.float32)
    place = np.arange(len(parts.pt)) - parts.offsets[parts.event]
    rows[parts.event, place] = np.stack([parts.pt, parts.eta, parts.phi], axis=1)
    path = tmp_path / "raw.h5"
    write_raw_h5(path, 60, [rows.reshape(60, 2100)])
    jets = jet_table(open_events(path))
    for name in FEATURE_COLUMNS:
        scale = np.abs(features[name]).max()
        np.testing.assert_allclose(
            jets.columns[name], features[name], rtol=1e-4, atol=2e-5 * scale, err_msg=name
        )
    view, report = view_of(open_events(path))
    assert report.n_kept == 60
    assert set(FEATURE_SETS["extended-56"]) <= set(view.feature_names)
    masses = [jets.columns[f"msd{jet}"] <= jets.columns[f"m{jet}"] + 1e-3 for jet in ("j1", "j2")]
    assert np.all(masses)


@needs_simulation
def test_jets_of_all_radii_hold_the_two_leading_ones() -> None:
    from bumpscout_tools.features.clustering import cluster_jets, leading_jets
    from bumpscout_tools.features.constituents import four_momenta

    events, _ = raw_events(10)
    counts, momentum = four_momenta(events.particles["constituents"])
    counts = np.concatenate([[0], counts])
    jets = cluster_jets(counts, momentum, radius=1.0, pt_min_gev=50.0)
    leading = leading_jets(counts, momentum)
    assert leading.event.tolist() == [*range(1, 11)]
    assert jets.counts[0] == 0
    for rank in (0, 1):
        rows = jets.offsets[1:-1] + rank
        p = leading.momentum[:, rank]
        np.testing.assert_allclose(jets.pt[rows], np.hypot(p[:, 0], p[:, 1]), rtol=1e-12)
        assert (jets.extra["n_constituents"][rows] == leading.counts[rank::2]).all()
    assert cluster_jets(np.zeros(3, dtype=int), np.empty((0, 4))).counts.tolist() == [0, 0, 0]


@needs_simulation
def test_constituents_that_know_their_fat_jet_are_not_clustered_again() -> None:
    """The jets of a clustering, handed over as the fat jets of a file, in another order."""
    events, _ = raw_events(30)
    parts = events.particles["constituents"]
    from bumpscout_tools.features.clustering import leading_jets
    from bumpscout_tools.features.constituents import four_momenta
    from bumpscout_tools.features.substructure import mass_of

    jets = leading_jets(*four_momenta(parts))
    p = jets.momentum[:, ::-1].reshape(-1, 4)
    pt = np.hypot(p[:, 0], p[:, 1])
    offsets = 2 * np.arange(31)
    fat = Particles(offsets, pt, np.arcsinh(p[:, 2] / pt), np.arctan2(p[:, 1], p[:, 0]), mass_of(p))
    c = jets.constituents
    pt_c = np.hypot(c[:, 0], c[:, 1])
    owner = np.tile([1.0, 0.0], 30).repeat(jets.counts)
    given = Particles(
        np.concatenate([[0], np.cumsum(jets.counts.reshape(-1, 2).sum(axis=1))]),
        pt_c,
        np.arcsinh(c[:, 2] / pt_c),
        np.arctan2(c[:, 1], c[:, 0]),
        np.zeros(len(c)),
        {"fatjet": owner},
    )
    again = jet_table(table({}, particles={"fatjets": fat, "constituents": given}))
    expected = jet_table(events)
    for name in (*FEATURE_COLUMNS, *SUBSTRUCTURE_COLUMNS):
        if name.startswith("tau"):
            # Subjettiness with its axes minimised.
            assert np.median(again.columns[name] / expected.columns[name]) < 1
            continue
        np.testing.assert_allclose(
            again.columns[name], expected.columns[name], rtol=1e-6, atol=1e-3, err_msg=name
        )


needs_data = pytest.mark.skipif(
    "BUMPSCOUT_DATA" not in os.environ,
    reason="BUMPSCOUT_DATA is unset: the files of the test data are not available",
)


@needs_data
def test_the_signal_of_the_olympics_lies_at_its_mass() -> None:
    """W'(3.5 TeV) -> X(500 GeV) Y(100 GeV), arXiv:2101.08320: the peaks of all three masses."""
    from bumpscout_tools.events.lhco import read_labels
    from bumpscout_tools.events.open import open_events

    name = "events_anomalydetection_v1_first70k.features.h5"
    path = Path(os.environ["BUMPSCOUT_DATA"]) / "lhco" / name
    view, report = view_of(open_events(path))
    assert report.n_read == 70_000
    signal = read_labels(path)[view.event_id.astype(int)] == 1

    def peak(values: np.ndarray, low: float, high: float) -> float:
        counts, edges = np.histogram(values[signal], bins=30, range=(low, high))
        return float(edges[np.argmax(counts) : np.argmax(counts) + 2].mean())

    assert peak(view.mass, 2000, 5000) == pytest.approx(3500, abs=100)
    assert peak(column(view, "mj_heavy"), 0.3, 0.7) == pytest.approx(0.5, abs=0.03)
    assert peak(column(view, "mj_light"), 0.0, 0.3) == pytest.approx(0.1, abs=0.015)


@needs_data
@pytest.mark.parametrize("name", ["pfnano.root", "nano_tt_v15.root"])
def test_subjettiness_of_cms_jets_is_what_cms_stores(name: str) -> None:
    """CMS computes it with the FastJet contribution: one-pass minimisation from exclusive kt axes,
    R = 0.8, PUPPI weights, from candidates at full precision; NanoAOD keeps 10 bits of each."""
    from bumpscout_tools.events.open import open_events

    events = open_events(Path(os.environ["BUMPSCOUT_DATA"]) / "root" / name)
    fat = events.particles["fatjets"]
    jets = jet_table(events, radius=0.8)
    order = np.lexsort((-fat.pt, fat.event))
    two = np.flatnonzero(fat.counts >= 2)
    for rank, jet in enumerate(("j1", "j2")):
        rows = order[fat.offsets[two] + rank]
        for n in (1, 2, 3, 4):
            ratio = jets.columns[f"tau{n}{jet}_1"][two] / fat.extra[f"tau{n}"][rows]
            assert np.median(ratio) == pytest.approx(1, abs=0.005)
            assert (np.abs(ratio - 1) < 0.03).mean() > 0.75


def test_clustering_without_fastjet_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastjet", None)
    events = table({}, particles={"constituents": some(3, 20, 1)})
    with pytest.raises(MissingExtraError, match=r"FastJet .* pip install 'bumpscout\[sim\]'") as e:
        view_of(events)
    assert e.value.exit_code == 2
