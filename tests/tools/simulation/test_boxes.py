"""Boxes, thinning and feature files; no generator needed."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.lhco import read_features, read_labels
from bumpscout_tools.simulation import (
    LAYOUT_COLUMNS,
    BoxError,
    dijet_mass,
    make_box,
    read_features_h5,
    round_mantissa,
    thin_features_file,
    thin_signal,
    write_features_h5,
)
from bumpscout_tools.simulation.layout import empty_table

MOMENTA = tuple(f"{name}{jet}" for jet in ("j1", "j2") for name in ("px", "py", "pz", "m"))


def back_to_back(mass_gev: NDArray[np.float64], label: float) -> NDArray[np.void]:
    """Massless back-to-back jets with the given invariant masses."""
    table = empty_table(len(mass_gev), np.float64)
    table["pxj1"] = mass_gev / 2
    table["pxj2"] = -mass_gev / 2
    table["tau1j1"] = np.arange(len(mass_gev))
    table["label"] = label
    return table


@pytest.fixture
def labelled() -> NDArray[np.void]:
    rng = np.random.default_rng(5)
    background = back_to_back(rng.uniform(2000, 5000, 3000), 0)
    signal = back_to_back(rng.normal(3500, 150, 1000), 1)
    table = np.concatenate([background, signal])
    return table[rng.permutation(len(table))]


def n_signal(table: NDArray[np.void], low: float, high: float) -> int:
    mass = dijet_mass(table)
    return int(((table["label"] == 1) & (mass >= low) & (mass < high)).sum())


def test_dijet_mass_of_massive_jets() -> None:
    table = empty_table(1, np.float64)
    table["pxj1"], table["pzj1"], table["mj1"] = 300.0, 50.0, 400.0
    table["pxj2"], table["pzj2"], table["mj2"] = -300.0, -50.0, 400.0
    assert dijet_mass(table)[0] == pytest.approx(2 * np.sqrt(300**2 + 50**2 + 400**2))


def test_a_box_draws_without_replacement_and_tells_labels_by_the_label_only() -> None:
    background = back_to_back(np.linspace(2000, 5000, 500), 0).astype(empty_table(0).dtype)
    signal = back_to_back(np.linspace(3400, 3600, 50), 1)
    box = make_box(background, signal, 400, 50, np.random.default_rng(2))
    assert len(box) == 450
    assert box["label"].sum() == 50
    assert {box.dtype[name] for name in LAYOUT_COLUMNS} == {np.dtype(np.float32)}
    of_background = box["tau1j1"][box["label"] == 0]
    assert len(np.unique(of_background)) == 400
    assert 10 < box["label"][:225].sum() < 40
    again = make_box(background, signal, 400, 50, np.random.default_rng(2))
    assert (box == again).all()


@pytest.mark.parametrize(("n_background", "n_signal"), [(501, 0), (0, 51), (-1, 0)])
def test_a_box_larger_than_its_pools_is_refused(n_background: int, n_signal: int) -> None:
    background = back_to_back(np.full(500, 3000.0), 0)
    signal = back_to_back(np.full(50, 3500.0), 1)
    with pytest.raises(BoxError, match="ask for fewer or simulate more"):
        make_box(background, signal, n_background, n_signal, np.random.default_rng(2))


def test_thinning_keeps_exactly_n_in_the_window_and_the_same_fraction_outside(
    labelled: NDArray[np.void],
) -> None:
    inside = n_signal(labelled, 3400, 3600)
    thin = thin_signal(labelled, 100, (3400, 3600), np.random.default_rng(1))
    assert n_signal(thin, 3400, 3600) == 100
    outside = int(thin["label"].sum()) - 100
    assert outside == round(100 / inside * (1000 - inside))
    assert (thin["label"] == 0).sum() == 3000
    few = thin_signal(labelled, 100, (3400, 3600), np.random.default_rng(1), n_background=7)
    assert (few["label"] == 0).sum() == 7


def test_thinning_to_zero_leaves_background_alone(labelled: NDArray[np.void]) -> None:
    thin = thin_signal(labelled, 0, (3400, 3600), np.random.default_rng(1))
    assert not thin["label"].any()


def test_thinning_to_more_than_there_is_names_the_window(labelled: NDArray[np.void]) -> None:
    with pytest.raises(BoxError, match=r"1001 events of signal in 3400 <= m_jj < 3600 GeV"):
        thin_signal(labelled, 1001, (3400, 3600), np.random.default_rng(1))


def test_a_file_is_thinned_in_the_window_after_scaling(
    labelled: NDArray[np.void], tmp_path: Path
) -> None:
    write_features_h5(tmp_path / "in.h5", labelled)
    thin = thin_features_file(
        tmp_path / "in.h5", 50, (3740, 3960), np.random.default_rng(1), mass_scale=1.1
    )
    assert n_signal(thin, 3740, 3960) == 50
    background = thin[thin["label"] == 0]
    expected = labelled[labelled["label"] == 0]
    np.testing.assert_allclose(dijet_mass(background), 1.1 * dijet_mass(expected))
    assert (background["tau1j1"] == expected["tau1j1"]).all()
    with pytest.raises(BoxError, match="mass_scale is 0"):
        thin_features_file(tmp_path / "in.h5", 1, (1, 2), np.random.default_rng(1), mass_scale=0)


def test_a_written_file_is_read_back_by_the_reader_of_searches(
    labelled: NDArray[np.void], tmp_path: Path
) -> None:
    path = tmp_path / "box.h5"
    write_features_h5(path, labelled.astype(empty_table(0).dtype))
    table = read_features(path)
    assert table.n_events == len(labelled)
    for name, values in table.columns.items():
        np.testing.assert_array_equal(values, labelled[name].astype(np.float32))
    np.testing.assert_array_equal(read_labels(path), labelled["label"])


def test_the_layout_is_that_of_the_official_files(
    labelled: NDArray[np.void], tmp_path: Path
) -> None:
    path = tmp_path / "box.h5"
    write_features_h5(path, {name: labelled[name] for name in LAYOUT_COLUMNS})
    with h5py.File(path) as file:
        assert sorted(file["df"]) == ["axis0", "axis1", "block0_items", "block0_values"]
        assert [name.decode() for name in file["df/axis0"][:]] == list(LAYOUT_COLUMNS)
        assert file["df/axis1"][-1] == len(labelled) - 1
        assert file["df/block0_values"].shape == (len(labelled), 15)
        assert file["df/block0_values"].compression == "gzip"
        assert file["df/block0_values"].shuffle
        assert file["df"].attrs["pandas_type"] == b"frame"
        # PyTables hands an attribute to pandas as str only when it is marked UTF-8.
        kind = file["df"].attrs.get_id("pandas_type").get_type()
        assert kind.get_cset() == h5py.h5t.CSET_UTF8
        assert not kind.is_variable_str()


def test_the_same_table_gives_the_same_bytes(labelled: NDArray[np.void], tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_features_h5(tmp_path / name, labelled)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_missing_column_is_named(labelled: NDArray[np.void], tmp_path: Path) -> None:
    columns = {name: labelled[name] for name in LAYOUT_COLUMNS if name != "tau3j2"}
    with pytest.raises(InputDataError, match="lacks tau3j2"):
        write_features_h5(tmp_path / "box.h5", columns)


def test_rounding_keeps_the_relative_precision() -> None:
    values = np.random.default_rng(1).normal(0, 1000, 1000)
    rounded = round_mantissa(values, 12)
    assert np.abs(rounded / values - 1).max() <= 2.0**-12
    assert (round_mantissa(rounded, 12) == rounded).all()
    assert round_mantissa(np.array([0.0]), 12)[0] == 0.0


def test_the_olympics_file_can_be_thinned_and_moved() -> None:
    folder = os.environ.get("BUMPSCOUT_DATA")
    if folder is None:
        pytest.skip("the LHC Olympics file is needed: set BUMPSCOUT_DATA to the data folder")
    path = Path(folder) / "lhco" / "events_anomalydetection_v1_first70k.features.h5"
    full = read_features_h5(path)
    assert np.bincount(full["label"].astype(int)).tolist() == [63_740, 6_260]
    thin = thin_features_file(
        path, 200, (3800, 4400), np.random.default_rng(4), n_background=20_000, mass_scale=1.2
    )
    assert (thin["label"] == 0).sum() == 20_000
    assert n_signal(thin, 3800, 4400) == 200
    signal = thin[thin["label"] == 1]
    assert np.median(dijet_mass(signal)) == pytest.approx(1.2 * 3500, rel=0.02)
    for name in MOMENTA:
        assert set(signal[name]) <= set(full[name] * 1.2)
