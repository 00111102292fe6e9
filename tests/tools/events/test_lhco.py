"""The reader of the LHC Olympics layout: good files give numbers, bad ones one clear error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS, LABEL, read_features, read_labels


def values(n: int = 20) -> np.ndarray:
    return np.random.default_rng(1).uniform(1, 100, (n, len(FEATURE_COLUMNS)))


def write(
    path: Path,
    blocks: Sequence[tuple[Sequence[str], np.ndarray]],
    group: str = "df",
) -> Path:
    """Write blocks of (names, values) as pandas does."""
    with h5py.File(path, "w") as file:
        frame = file.create_group(group)
        for index, (names, data) in enumerate(blocks):
            frame.create_dataset(f"block{index}_items", data=np.array(names, dtype="S40"))
            frame.create_dataset(f"block{index}_values", data=data)
    return path


def test_columns_of_all_blocks_are_found_by_name(tmp_path: Path) -> None:
    data = values()
    label = np.arange(20)[:, None] % 2
    path = write(
        tmp_path / "a.h5",
        [
            (FEATURE_COLUMNS[5:], data[:, 5:].astype(np.float32)),
            ([LABEL], label.astype(np.int64)),
            (FEATURE_COLUMNS[4::-1], data[:, 4::-1]),
        ],
    )
    table = read_features(path)
    assert table.n_events == 20
    assert set(table.columns) == set(FEATURE_COLUMNS)
    for index, name in enumerate(FEATURE_COLUMNS):
        assert table.columns[name].dtype == np.float64
        np.testing.assert_allclose(table.columns[name], data[:, index], rtol=1e-6)
    np.testing.assert_array_equal(read_labels(path), label[:, 0])


def test_the_label_is_not_among_the_columns(tmp_path: Path) -> None:
    data = np.hstack([values(), np.ones((20, 1))])
    path = write(tmp_path / "a.h5", [((*FEATURE_COLUMNS, LABEL), data)])
    assert LABEL not in read_features(path).columns


def test_a_file_without_label_can_be_searched_but_not_scored(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", [(FEATURE_COLUMNS, values())])
    assert read_features(path).n_events == 20
    with pytest.raises(InputDataError, match="lacks the columns label"):
        read_labels(path)


def missing_column(path: Path) -> None:
    write(path, [(FEATURE_COLUMNS[:-1], values()[:, :-1])])


def hostile_names(path: Path) -> None:
    write(path, [([f"{'x' * 30}{i}" for i in range(14)], values())])


def text_block(path: Path) -> None:
    write(path, [(FEATURE_COLUMNS, values().astype("S10"))])


def complex_block(path: Path) -> None:
    write(path, [(FEATURE_COLUMNS, values() + 1j)])


def no_rows(path: Path) -> None:
    write(path, [(FEATURE_COLUMNS, values(0))])


def flat_block(path: Path) -> None:
    write(path, [(FEATURE_COLUMNS, values()[:, 0])])


def more_names_than_columns(path: Path) -> None:
    write(path, [((*FEATURE_COLUMNS, "more"), values())])


def blocks_of_other_lengths(path: Path) -> None:
    write(
        path, [(FEATURE_COLUMNS[:7], values(20)[:, :7]), (FEATURE_COLUMNS[7:], values(19)[:, 7:])]
    )


def values_without_names(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("df").create_dataset("block0_values", data=values())


def a_group_as_block(path: Path) -> None:
    with h5py.File(path, "w") as file:
        frame = file.create_group("df")
        frame.create_group("block0_values")
        frame.create_dataset("block0_items", data=np.array(FEATURE_COLUMNS, dtype="S10"))


def two_frames(path: Path) -> None:
    write(path, [(FEATURE_COLUMNS, values())])
    with h5py.File(path, "a") as file:
        file.copy("df", "other")


def no_frame(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("df", data=values())


def dangling_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["df"] = h5py.SoftLink("/nowhere")


def no_hdf5(path: Path) -> None:
    path.write_bytes(b"m_jj,label\n3500,1\n" * 100)


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    write(path, [(FEATURE_COLUMNS, values(2000))])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def a_folder(path: Path) -> None:
    path.mkdir()


def nothing(_path: Path) -> None:
    """Leave no file at all."""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing_column, "lacks the columns tau3j2"),
        (hostile_names, "lacks the columns"),
        (text_block, "no table of numbers"),
        (complex_block, "no table of numbers"),
        (no_rows, "holds no events"),
        (flat_block, "has shape"),
        (more_names_than_columns, "has shape"),
        (blocks_of_other_lengths, "different numbers of rows"),
        (values_without_names, "cannot be read as HDF5"),
        (a_group_as_block, "cannot be read as HDF5"),
        (two_frames, "holds 2 pandas frames"),
        (no_frame, "holds 0 pandas frames"),
        (dangling_link, "holds 0 pandas frames"),
        (no_hdf5, "cannot be read as HDF5"),
        (empty_file, "cannot be read as HDF5"),
        (truncated, "may be truncated"),
        (a_folder, "There is no file"),
        (nothing, "There is no file"),
    ],
)
def test_a_bad_file_is_one_short_paragraph(tmp_path: Path, spoil, said: str) -> None:
    path = tmp_path / "spoiled.h5"
    spoil(path)
    with pytest.raises(InputDataError, match=said) as caught:
        read_features(path)
    message = str(caught.value)
    assert "spoiled.h5" in message
    assert "\n" not in message
    assert len(message) < 1500
    assert caught.value.exit_code == 3


def test_random_damage_ends_in_numbers_or_in_the_one_error(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5", [(FEATURE_COLUMNS, values(30))]).read_bytes()
    rng = np.random.default_rng(7)
    refused = 0
    for trial in range(150):
        content = bytearray(whole)
        if trial % 3 == 0:
            del content[int(rng.integers(len(whole))) :]
        for position in rng.integers(0, 3000, 8):
            if position < len(content):
                content[position] = int(rng.integers(256))
        path = tmp_path / f"{trial}.h5"
        path.write_bytes(bytes(content))
        try:
            table = read_features(path)
        except InputDataError:
            refused += 1
        else:
            assert set(table.columns) == set(FEATURE_COLUMNS)
    assert refused > 20


@pytest.fixture(scope="module")
def olympics() -> Path:
    folder = os.environ.get("BUMPSCOUT_DATA")
    if not folder:
        pytest.skip("BUMPSCOUT_DATA is unset: the LHC Olympics file is not available")
    return Path(folder) / "lhco" / "events_anomalydetection_v1_first70k.features.h5"


def test_the_olympics_file_is_read_whole(olympics: Path) -> None:
    table, label = read_features(olympics), read_labels(olympics)
    assert table.n_events == len(label) == 70_000
    assert set(np.unique(label)) == {0.0, 1.0}
