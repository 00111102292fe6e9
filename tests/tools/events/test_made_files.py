"""Formats of which no published file is at hand, written as their makers write them."""

from __future__ import annotations

import gzip
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.names import is_identity, is_truth, is_weight
from bumpscout_tools.events.open import iter_events, open_events, open_reader

LHE = """<LesHouchesEvents version="1.0">
<header></header>
<init>
2212 2212 6.5e3 6.5e3 0 0 247000 247000 -4 1
1.0 0.1 1.0 1
</init>
{events}</LesHouchesEvents>
"""
EVENT = """<event>
 6 1 {weight} 91.0 0.0078 0.118
 2 -1 0 0 501 0 0.0 0.0 500.0 500.0 0.0 0 9
 9000001 2 1 2 0 0 0.0 0.0 0.0 1000.0 1000.0 0 9
 5 1 2 2 501 0 30.0 40.0 0.0 50.2 4.7 0 9
 21 1 2 2 501 0 -300.0 0.0 400.0 500.0 0.0 0 9
 13 1 2 2 0 0 0.0 20.0 0.0 20.0 0.10566 0 9
 -14 1 2 2 0 0 6.0 8.0 1.0 10.05 0.0 0 9
</event>
"""


def raw_file(path: Path, rows: np.ndarray) -> Path:
    """Write raw LHC Olympics events as pandas does: columns are numbers, unused places zero."""
    with h5py.File(path, "w") as file:
        frame = file.create_group("df")
        frame.create_dataset("axis0", data=np.arange(rows.shape[1]))
        frame.create_dataset("axis1", data=np.arange(len(rows)))
        frame.create_dataset("block0_items", data=np.arange(rows.shape[1]))
        frame.create_dataset("block0_values", data=rows, compression="gzip", chunks=True)
    return path


@pytest.mark.parametrize("columns", [2100, 2101])
def test_raw_events_give_their_particles_and_not_their_label(tmp_path, columns):
    rng = np.random.default_rng(3)
    rows = np.zeros((300, columns))
    counts = rng.integers(0, 300, 300)
    counts[7] = 700
    for row, count in zip(rows, counts, strict=True):
        values = np.column_stack(
            [rng.exponential(20, count), rng.normal(0, 1, count), rng.uniform(-3, 3, count)]
        )
        row[: 3 * count] = values.ravel()
    if columns == 2101:
        rows[:, -1] = 1.0
    path = raw_file(tmp_path / "raw.h5", rows)
    table = open_events(path)
    part = table.particles["constituents"]
    assert table.format == "lhco-raw-h5"
    assert part.counts.tolist() == counts.tolist()
    third = rows[2, : 3 * counts[2]].reshape(-1, 3)
    mine = slice(part.offsets[2], part.offsets[3])
    assert np.array_equal(np.column_stack([part.pt, part.eta, part.phi])[mine], third)
    assert not table.columns
    chunks = list(iter_events(path, 70))
    assert [chunk.n_events for chunk in chunks] == [70, 70, 70, 70, 20]
    joined = np.concatenate([chunk.particles["constituents"].pt for chunk in chunks])
    assert np.array_equal(joined, part.pt)


def test_aspen_open_jets_are_joined_to_events(tmp_path):
    rng = np.random.default_rng(4)
    jets_of = [1, 2, 2, 1, 3]
    n = sum(jets_of)
    info = np.repeat(np.arange(len(jets_of)), jets_of)[:, None] * [0, 0, 1] + [278820, 5, 0]
    candidates = np.zeros((n, 150, 11), dtype=np.float32)
    momentum = rng.normal((60.0, 10.0, 0.0), 5.0, (n, 20, 3))
    candidates[:, :20, :3] = momentum
    candidates[:, :20, 3] = np.sqrt((momentum**2).sum(axis=2) + 0.0195)
    candidates[:, :20, 10] = rng.choice([0.0, 0.5, 1.0], (n, 20))
    weighted = candidates[:, :20, :4] * candidates[:, :20, 10:]
    total = weighted.sum(axis=1).astype(float)
    pt = np.hypot(total[:, 0], total[:, 1])
    kinematics = np.column_stack(
        [pt, np.arcsinh(total[:, 2] / pt), np.arctan2(total[:, 1], total[:, 0]), pt / 20]
    )
    path = tmp_path / "aspen.h5"
    with h5py.File(path, "w") as file:
        file["event_info"] = info.astype(np.int64)
        file["jet_kinematics"] = kinematics.astype(np.float32)
        file["jet_tagging"] = np.tile(np.arange(13, dtype=np.float32), (n, 1))
        file["PFCands"] = candidates
    table = open_events(path)
    fat, parts = table.particles["fatjets"], table.particles["constituents"]
    assert table.format == "aspen-open-jets"
    assert fat.counts.tolist() == jets_of
    mass = np.sqrt(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=1))
    assert np.sort(fat.mass) == pytest.approx(np.sort(mass), rel=1e-4)
    assert fat.extra["tau1"].tolist() == [1.0] * n
    leading = sum(min(jets, 2) for jets in jets_of)
    assert len(np.unique(parts.event * 10 + parts.extra["fatjet"])) == leading
    first = (parts.event == 1) & (parts.extra["fatjet"] == 0)
    vector = [
        (parts.pt * np.cos(parts.phi))[first].sum(),
        (parts.pt * np.sin(parts.phi))[first].sum(),
    ]
    assert np.hypot(*vector) == pytest.approx(fat.pt[fat.offsets[1]], rel=1e-4)
    assert [chunk.n_events for chunk in iter_events(path, 2)] == [2, 2, 1]


def test_delphes_objects_and_bits(tmp_path):
    path = tmp_path / "delphes.root"
    with uproot.recreate(path) as file:
        jagged = {"PT": [[90.0, 40.0], [55.0]], "Eta": [[0.1, 2.0], [-1.0]], "Phi": [[1, 2], [3]]}
        branches = {f"Jet.{name}": x for name, x in jagged.items()}
        branches["Jet.Mass"] = [[9.0, 5.0], [4.0]]
        branches["Jet.BTag"] = [[3, 2], [0]]
        for name, x in {"PT": [[], [33.0]], "Eta": [[], [0.5]], "Phi": [[], [0.2]]}.items():
            branches[f"Muon.{name}"] = x
        branches["Muon.Charge"] = [[], [-1]]
        arrays = {
            name: ak.values_astype(ak.Array(x), np.int32 if "BTag" in name else np.float32)
            for name, x in branches.items()
        }
        kinds = {name: f"var * {'int32' if 'BTag' in name else 'float32'}" for name in arrays}
        file.mktree("Delphes", kinds, counter_name=lambda name: name.replace(".", "_") + "_n")
        file["Delphes"].extend(arrays)
    table = open_events(path)
    assert table.format == "delphes"
    assert table.particles["jets"].extra["btag"].tolist() == [1.0, 0.0, 0.0]
    assert table.particles["muons"].counts.tolist() == [0, 1]
    assert table.particles["muons"].extra["charge"].tolist() == [-1.0]


@pytest.mark.parametrize("packed", [False, True])
def test_les_houches_events_give_the_final_state_alone(tmp_path, packed):
    text = LHE.format(events=EVENT.format(weight="1.0") + EVENT.format(weight="-2.0")).encode()
    path = tmp_path / "model"
    path.write_bytes(gzip.compress(text) if packed else text)
    table = open_events(path)
    assert (table.format, table.n_events) == ("lhe", 2)
    jets = table.particles["jets"]
    assert jets.pt[:2].tolist() == [300.0, 50.0]
    assert jets.extra["btag"][:2].tolist() == [0.0, 1.0]
    assert jets.eta[0] == pytest.approx(np.arcsinh(4 / 3))
    assert table.particles["muons"].pt.tolist() == [20.0, 20.0]
    assert table.columns["met_pt"].tolist() == [10.0, 10.0]
    assert table.weight.tolist() == [1.0, -2.0]
    assert [chunk.n_events for chunk in iter_events(path, 1)] == [1, 1]


def flat() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "m_jj [TeV]": rng.uniform(1, 5, 50),
        "tau21": rng.uniform(0, 1, 50),
        "is_signal": rng.integers(0, 2, 50).astype(float),
        "event": np.arange(50.0),
        "weight": np.full(50, 2.0),
    }


def as_csv(path: Path, columns: dict[str, np.ndarray]) -> None:
    lines = ["# simulated", ",".join(columns)]
    lines += [",".join(map(repr, row)) for row in np.column_stack(list(columns.values())).tolist()]
    path.write_text("\n".join(lines) + "\n")


def as_parquet(path: Path, columns: dict[str, np.ndarray]) -> None:
    pq.write_table(pa.table(columns), path, row_group_size=20)


def as_structured(path: Path, columns: dict[str, np.ndarray]) -> None:
    kind = [(name, "<f8") for name in columns]
    rows = np.array(list(zip(*columns.values(), strict=True)), dtype=kind)
    with path.open("wb") as file:
        np.save(file, rows)


def as_npy(path: Path, columns: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.save(file, np.column_stack(list(columns.values())))
    path.with_name(path.name + ".columns").write_text("\n".join(columns))


def as_frame(path: Path, columns: dict[str, np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        file["df/block0_values"] = np.column_stack(list(columns.values()))
        file["df/block0_items"] = np.array([name.encode() for name in columns])


def as_root(path: Path, columns: dict[str, np.ndarray]) -> None:
    with uproot.recreate(path) as file:
        file.mktree("events", {name: "float64" for name in columns})
        file["events"].extend(dict(columns))


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_structured, as_npy, as_frame, as_root])
def test_flat_tables_give_features_units_and_weight_but_no_truth(tmp_path, write):
    columns = flat()
    path = tmp_path / "table.any"
    write(path, columns)
    table = open_events(path)
    assert list(table.columns) == ["m_jj", "tau21"]
    assert table.units["m_jj"] == "TeV"
    assert table.columns["m_jj"] == pytest.approx(columns["m_jj [TeV]"], abs=0)
    assert table.weight.tolist() == [2.0] * 50
    with open_reader(path) as reader:
        assert reader.contents.truth == ("is_signal",)
    chunks = list(iter_events(path, 15, columns=["tau21"]))
    assert sum(chunk.n_events for chunk in chunks) == 50
    assert all(list(chunk.columns) == ["tau21"] and chunk.n_events <= 15 for chunk in chunks)


def test_feature_columns_are_found_in_any_table(tmp_path):
    rng = np.random.default_rng(6)
    columns = {name: rng.uniform(1, 9, 20) for name in FEATURE_COLUMNS}
    as_parquet(tmp_path / "f", columns)
    assert list(open_events(tmp_path / "f").columns) == list(FEATURE_COLUMNS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("label", "truth"), ("is_signal", "truth"), ("isSignal", "truth"), ("truth_label", "truth"),
        ("label [GeV]", "truth"), ("label_1", "truth"), ("weight (GeV)", "weight"),
        ("Jet_hadronFlavour", "truth"), ("Electron_genPartIdx", "truth"), ("GenMET_pt", "truth"),
        ("LHEPart_pt", "truth"), ("Pileup_nTrueInt", "truth"), ("event_type", "truth"),
        ("PSWeight", "truth"), ("dataset_origin", "feature"), ("genWeight", "weight"),
        ("event_weight", "weight"), ("luminosityBlock", "identity"), ("eventNumber", "identity"),
        ("m_jj", "feature"), ("tau21", "feature"), ("mj1", "feature"), ("significance", "feature"),
        ("met_pt", "feature"), ("general_sphericity", "feature"), ("sigma_eta", "feature"),
        ("PuppiMET_pt", "feature"), ("n_jets", "feature"), ("btag_class_score", "feature"),
    ],
)  # fmt: skip
def test_names_tell_truth_weights_and_identity(name, said):
    found = (
        "truth" if is_truth(name) else "weight" if is_weight(name)
        else "identity" if is_identity(name) else "feature"
    )  # fmt: skip
    assert found == said
