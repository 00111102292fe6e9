"""Published files of every experiment open by their bare path, as uproot alone reads them."""

from __future__ import annotations

import os
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from bumpscout_tools.events.open import iter_events, open_events, open_reader
from bumpscout_tools.features.rmm_config import RmmConfig
from bumpscout_tools.features.rmm_objects import select_objects

NANO = ("Events", "Jet_pt", "Electron_pt", "Muon_pt", 1.0)
# file: tree, branches of jets, electrons and muons, factor to GeV.
ROOT_FILES = {
    "root/EGamma_2022E_v13.root": NANO,
    "root/EGamma_F_Skim.root": NANO,
    "root/nano_dimuon.root": NANO,
    "root/nano_dy.root": NANO,
    "root/nano_tt_v12.root": NANO,
    "root/nano_tt_v15.root": NANO,
    "root/pfnano.root": NANO,
    "root/scouting_nano.root": (
        "Events", "ScoutingJet_pt", "ScoutingElectron_pt", "ScoutingMuon_pt", 1.0,
    ),
    "root/treemaker.root": (
        "PreSelection", "Jets/Jets.fCoordinates.fPt", "Electrons/Electrons.fCoordinates.fPt",
        "Muons/Muons.fCoordinates.fPt", 1.0,
    ),
    "root/PHYSLITE_example.root": (
        "CollectionTree", "AnalysisJetsAuxDyn.pt", "AnalysisElectronsAuxDyn.pt",
        "AnalysisMuonsAuxDyn.pt", 1e-3,
    ),
}  # fmt: skip
FORMATS = {
    "root/EGamma_2022E_v13.root": "cms-nanoaod",
    "root/pfnano.root": "cms-nanoaod-pf",
    "root/nano_tt_v15.root": "cms-nanoaod-pf",
    "root/scouting_nano.root": "cms-nanoaod-scouting",
    "root/treemaker.root": "cms-treemaker",
    "root/PHYSLITE_example.root": "atlas-physlite",
    "root/nano_dimuon.parquet": "cms-nanoaod-parquet",
    "adfilter/adfilter_dummy_ntuple.root": "adfilter",
    "lhco/sr_v2_train.npy": "lhco-sr-npy",
    "lhco/events_anomalydetection_v1_first70k.features.h5": "lhco-features-h5",
}


@pytest.fixture(scope="module")
def data() -> Path:
    folder = os.environ.get("BUMPSCOUT_DATA")
    if not folder:
        pytest.skip("BUMPSCOUT_DATA is unset: the published files are not available")
    return Path(folder)


@pytest.mark.parametrize("name", FORMATS)
def test_the_content_tells_the_format(data, tmp_path, name):
    path = tmp_path / "no_extension"
    path.symlink_to(data / name)
    with open_reader(path) as reader:
        assert reader.contents.format == FORMATS[name]


@pytest.mark.parametrize("name", ROOT_FILES)
def test_root_files_give_the_particles_that_uproot_reads(data, name):
    tree_name, jets, electrons, muons, gev = ROOT_FILES[name]
    table = open_events(data / name)
    with uproot.open(data / name) as file:
        tree = file[tree_name]
        assert table.n_events == tree.num_entries > 0
        for kind, branch in (("jets", jets), ("electrons", electrons), ("muons", muons)):
            pt = tree[branch].array()
            part = table.particles[kind]
            assert part.counts.tolist() == ak.num(pt).tolist()
            wanted = gev * ak.to_numpy(ak.flatten(ak.sort(pt, ascending=False)))
            np.testing.assert_allclose(part.pt, wanted, rtol=1e-6)
    _sane(table)


def _sane(table) -> None:
    """Ranges that a detector at the LHC has, in GeV."""
    highest_eta = {"jets": 5.2, "fatjets": 5.2, "electrons": 3.0, "muons": 2.8, "photons": 3.2}
    for kind, part in table.particles.items():
        step = np.diff(part.pt)
        inside = np.diff(part.event) == 0
        assert (step[inside] <= 0).all(), kind
        assert (np.abs(part.phi) <= np.pi + 1e-3).all(), kind
        assert (part.pt >= 0).all(), kind
        assert (part.mass >= -1e-3).all(), kind
        if kind in highest_eta and len(part.pt):
            assert np.abs(part.eta).max() < highest_eta[kind]
            assert part.pt.max() < 6500
    jets = table.particles["jets"]
    assert 0.5 < jets.pt.min()
    assert 30 < jets.pt.max()
    assert np.median(jets.mass / jets.pt) < 1.0
    for kind, mass in (("electrons", 0.000511), ("muons", 0.105658)):
        assert np.allclose(table.particles[kind].mass, mass, rtol=1e-3)


def test_physlite_is_told_in_gev_and_its_weight_is_the_nominal_one(data):
    path = data / "root/PHYSLITE_example.root"
    table = open_events(path)
    with uproot.open(path) as file:
        tree = file["CollectionTree"]
        mass = ak.flatten(tree["AnalysisLargeRJetsAuxDyn.m"].array())
        weights = tree["EventInfoAuxDyn.mcEventWeights"].array()
    assert ak.max(mass) > 50_000
    assert np.sort(table.particles["fatjets"].mass)[-1] == pytest.approx(ak.max(mass) / 1000)
    np.testing.assert_allclose(table.weight, ak.to_numpy(weights[:, 0]))
    btag = table.particles["jets"].extra["btag"]
    assert ((btag >= 0) & (btag <= 1)).all()
    assert btag.max() > 0.5


def test_physlite_muons_are_judged_by_their_quality_and_not_by_the_bits_above_it(data):
    table = open_events(data / "root/PHYSLITE_example.root")
    # The file has 9, 10, 10, 8, 9: bit 3 says that the inner track is good.
    assert sorted(table.particles["muons"].extra["quality"]) == [0, 1, 1, 2, 2]
    soft = RmmConfig(pt_min_gev=1.0, abs_eta_max=3.0, identified=True)
    assert select_objects(table, soft).multiplicity[:, 2].sum() == 5


def test_quality_missing_energy_triggers_and_weights_of_nanoaod(data):
    path = data / "root/nano_tt_v12.root"
    table = open_events(path)
    with uproot.open(path) as file:
        tree = file["Events"]
        np.testing.assert_allclose(table.columns["met_pt"], tree["PuppiMET_pt"].array())
        np.testing.assert_allclose(table.columns["met_phi"], tree["PuppiMET_phi"].array())
        np.testing.assert_allclose(table.weight, tree["genWeight"].array())
        named = [name for name in tree.keys(recursive=False) if name.startswith(("HLT_", "DST_"))]
        assert set(table.triggers) == set(named)
        for name in named:
            assert np.array_equal(table.triggers[name], tree[name].array())
        jets = table.particles["jets"]
        assert len(jets.extra["btag"]) == ak.sum(ak.num(tree["Jet_btagPNetB"].array()))
        tau = ak.flatten(tree["FatJet_tau2"].array())
        assert np.sort(table.particles["fatjets"].extra["tau2"]) == pytest.approx(np.sort(tau))
    assert {0.0, 2.0, 4.0, 6.0} >= set(jets.extra["jet_id"])


def test_candidates_of_pfnano_sum_up_to_their_jets(data):
    table = open_events(data / "root/pfnano.root")
    jets, parts = table.particles["fatjets"], table.particles["constituents"]
    weight = parts.extra["puppi_weight"]
    for place in (0, 1):
        mine = parts.extra["fatjet"] == place
        x, y = (
            np.bincount(
                parts.event[mine],
                weights=(weight * parts.pt * np.array(turn(parts.phi)))[mine],
                minlength=table.n_events,
            )
            for turn in (np.cos, np.sin)
        )
        jet_pt = jets.pt[jets.offsets[:-1] + place]
        # Jet energy corrections are a few per cent.
        assert np.median(np.hypot(x, y) / jet_pt) == pytest.approx(1.0, abs=0.1)
        turned = np.angle(np.exp(1j * (np.arctan2(y, x) - jets.phi[jets.offsets[:-1] + place])))
        assert np.abs(turned).max() < 0.1


def test_treemaker_masses_come_from_energies_and_triggers_from_the_title(data):
    table = open_events(data / "root/treemaker.root")
    with uproot.open(data / "root/treemaker.root") as file:
        tree = file["PreSelection"]
        titles = tree["TriggerPass"].title.split(",")
        passed = tree["TriggerPass"].array()
        energy = ak.flatten(tree["JetsAK8/JetsAK8.fCoordinates.fE"].array())
    fat = table.particles["fatjets"]
    again = np.sqrt(fat.mass**2 + (fat.pt * np.cosh(fat.eta)) ** 2)
    assert np.sort(again) == pytest.approx(np.sort(energy))
    assert list(table.triggers) == titles
    for index in (4, 12, 157):
        assert table.triggers[titles[index]].tolist() == (passed[:, index] > 0).tolist()


def test_adfilter_ntuple_joins_light_and_b_jets(data):
    table = open_events(data / "adfilter/adfilter_dummy_ntuple.root")
    assert table.n_events == 1000
    jets = table.particles["jets"]
    assert (jets.counts == 2).all()
    assert (np.sort(jets.extra["btag"].reshape(-1, 2), axis=1) == [0.0, 1.0]).all()
    assert set(jets.pt) == {100.0}
    assert set(table.particles) == {"jets", "electrons", "muons", "photons"}
    assert set(table.weight) == {1.0}


def test_parquet_and_root_of_the_same_events_agree(data):
    one = open_events(data / "root/nano_dimuon.root")
    other = open_events(data / "root/nano_dimuon.parquet")
    assert set(one.particles) == set(other.particles)
    for kind, part in one.particles.items():
        for name in ("offsets", "pt", "eta", "phi", "mass"):
            same = getattr(other.particles[kind], name)
            np.testing.assert_allclose(getattr(part, name), same, rtol=1e-6, atol=1e-7)
    assert set(one.triggers) == set(other.triggers)
    assert pq.read_metadata(data / "root/nano_dimuon.parquet").num_rows == other.n_events


@pytest.mark.parametrize("name", ["train", "val", "test", "extra_signal"])
def test_signal_region_files_keep_their_label(data, name):
    raw = np.load(data / f"lhco/sr_v2_{name}.npy")
    table = open_events(data / f"lhco/sr_v2_{name}.npy")
    assert table.n_events == len(raw)
    assert list(table.columns) == ["m_jj", "mj_light", "mj_delta", "tau21_light", "tau21_heavy"]
    assert table.units["m_jj"] == "TeV"
    assert np.array_equal(np.column_stack(list(table.columns.values())), raw[:, :5])


def test_feature_file_peaks_where_the_signal_is(data):
    path = data / "lhco/events_anomalydetection_v1_first70k.features.h5"
    columns = open_events(path).columns
    with h5py.File(path) as file:
        label = file["df/block0_values"][:, -1]
    assert len(label) == len(columns["mj1"]) == 70_000
    total = np.zeros((4, len(label)))
    for jet in ("j1", "j2"):
        momentum = [columns[f"p{axis}{jet}"] for axis in "xyz"]
        energy = np.sqrt(sum(p**2 for p in momentum) + columns[f"m{jet}"] ** 2)
        total += np.array([energy, *momentum])
    m_jj = np.sqrt(total[0] ** 2 - (total[1:] ** 2).sum(axis=0))
    counts, edges = np.histogram(m_jj[label == 1], np.arange(2000, 5000, 100))
    assert 3400 <= edges[counts.argmax()] <= 3500


@pytest.mark.parametrize("name", [*list(ROOT_FILES)[:1], "root/nano_dimuon.parquet"])
def test_chunks_are_the_whole_and_hold_only_what_was_asked_for(data, name):
    whole = open_events(data / name)
    chunks = list(iter_events(data / name, 30, kinds=["muons"], columns=["met_pt"]))
    assert [chunk.n_events for chunk in chunks][:-1] == [30] * (len(chunks) - 1)
    assert all(set(chunk.particles) == {"muons"} for chunk in chunks)
    assert all(set(chunk.columns) == {"met_pt"} for chunk in chunks)
    pt = np.concatenate([chunk.particles["muons"].pt for chunk in chunks])
    assert np.array_equal(pt, whole.particles["muons"].pt)


@pytest.mark.parametrize("name", ["root/nano_dy.root", "root/PHYSLITE_example.root"])
def test_no_generator_quantity_leaves_the_reader(data, name):
    table = open_events(data / name)
    said = [*table.columns, *table.triggers, *table.particles]
    said += [extra for part in table.particles.values() for extra in part.extra]
    assert not [word for word in said if "gen" in word.lower() or "truth" in word.lower()]
    with open_reader(data / name) as reader:
        truth = reader.contents.truth
    wanted = {"GenPart_pt", "Jet_partonFlavour"} if "nano" in name else {"TruthBSMAux."}
    assert wanted <= set(truth)
    asked = open_events(data / name, columns=list(truth)[:20])
    assert not asked.columns
