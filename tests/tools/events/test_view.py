"""The view: what may be in it, its Parquet file, its hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.view import View


def make(n: int = 50, names: tuple[str, ...] = ("a", "b")) -> View:
    rng = np.random.default_rng(3)
    return View(
        event_id=rng.integers(0, 2**64, n, dtype=np.uint64, endpoint=False),
        mass=rng.uniform(1000, 5000, n),
        features=rng.normal(size=(n, len(names))),
        feature_names=names,
    )


def test_parquet_returns_the_same_bits(tmp_path: Path) -> None:
    view = make()
    view.write(tmp_path / "view.parquet")
    read = View.read(tmp_path / "view.parquet")
    assert read.feature_names == view.feature_names
    np.testing.assert_array_equal(read.event_id, view.event_id)
    np.testing.assert_array_equal(read.mass, view.mass)
    np.testing.assert_array_equal(read.features, view.features)
    assert read.sha256() == view.sha256()


def test_parquet_holds_what_a_script_expects(tmp_path: Path) -> None:
    make().write(tmp_path / "view.parquet")
    schema = pq.read_schema(tmp_path / "view.parquet")
    assert schema.names == ["event_id", "m_jj", "a", "b"]
    assert schema.field("event_id").type == pa.uint64()


def test_a_view_without_features_keeps_its_masses(tmp_path: Path) -> None:
    view = make(names=())
    view.write(tmp_path / "view.parquet")
    assert View.read(tmp_path / "view.parquet").sha256() == view.sha256()


def test_hash_sees_every_part() -> None:
    view = make()
    mass = view.mass.copy()
    mass[7] = np.nextafter(mass[7], 0)
    features = view.features.copy()
    features[3, 1] += 1e-12
    ids = view.event_id.copy()
    ids[0] += np.uint64(1)
    others = [
        View(view.event_id, mass, view.features, view.feature_names),
        View(view.event_id, view.mass, features, view.feature_names),
        View(ids, view.mass, view.features, view.feature_names),
        View(view.event_id, view.mass, view.features, ("a", "c")),
        view.select(np.arange(len(view))[::-1]),
    ]
    assert len({view.sha256(), *(other.sha256() for other in others)}) == 6


@pytest.mark.parametrize("names", [("a", "m_jj"), ("event_id", "b"), ("a", "a")])
def test_features_cannot_take_the_name_of_another_column(names: tuple[str, ...]) -> None:
    with pytest.raises(InputDataError, match="names of the features"):
        make(names=names)


@pytest.mark.parametrize("where", ["mass", "features"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(where: str, value: float) -> None:
    view = make()
    parts = {"mass": view.mass.copy(), "features": view.features.copy()}
    parts[where][5] = value
    with pytest.raises(InputDataError, match="NaN or infinite"):
        View(view.event_id, parts["mass"], parts["features"], view.feature_names)


def test_columns_of_other_lengths_are_refused() -> None:
    view = make()
    with pytest.raises(InputDataError, match="do not fit together"):
        View(view.event_id[1:], view.mass, view.features, view.feature_names)
    with pytest.raises(InputDataError, match="do not fit together"):
        View(view.event_id, view.mass, view.features[:, :1], view.feature_names)


def test_select_keeps_rows_together() -> None:
    view = make()
    chosen = view.select(view.mass > 3000)
    assert len(chosen) == int((view.mass > 3000).sum()) > 0
    row = int(np.flatnonzero(view.mass > 3000)[2])
    assert chosen.event_id[2] == view.event_id[row]
    np.testing.assert_array_equal(chosen.features[2], view.features[row])


def test_files_that_are_no_view_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.parquet").write_bytes(b"PAR1 no, not really")
    (tmp_path / "empty.parquet").write_bytes(b"")
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "columns.parquet")
    pq.write_table(
        pa.table({"event_id": [1], "m_jj": [2.0], "a": ["text"]}), tmp_path / "text.parquet"
    )
    for name in ("junk", "empty", "columns", "text", "missing"):
        with pytest.raises(InputDataError, match=name):
            View.read(tmp_path / f"{name}.parquet")


def test_a_torn_parquet_file_is_refused(tmp_path: Path) -> None:
    make().write(tmp_path / "view.parquet")
    content = (tmp_path / "view.parquet").read_bytes()
    (tmp_path / "torn.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputDataError, match="torn"):
        View.read(tmp_path / "torn.parquet")


def test_rekeyed_identifiers_mean_nothing_elsewhere_but_copies_still_share_one() -> None:
    ids = np.array([5, 7, 5, 9], dtype=np.uint64)
    view = View(ids, np.full(4, 3000.0), np.zeros((4, 1)), ("a",))
    first, again, other = (view.rekeyed(text).event_id for text in ("one", "one", "other"))
    np.testing.assert_array_equal(first, again)
    assert first[0] == first[2]
    assert len(set(first.tolist())) == 3
    assert not set(first.tolist()) & (set(ids.tolist()) | set(other.tolist()))
