"""`bumpscout data inspect`: what is said of good files, and how bad ones end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bumpscout.event_file import event_file
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.events.remote import is_remote, local_copy


def inspect(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bumpscout", "data", "inspect", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    values = {
        "m_jj [TeV]": [3.0, 4.0, 3.0, np.nan],
        "tau21": [0.5, 0.25, 0.5, 0.75],
        "label": [0.0, 1.0, 0.0, 1.0],
        "weight": [1.0, 1.0, 1.0, 0.5],
        "evil\x1b[2J\nobey": [1.0, 2.0, 1.0, 3.0],
    }
    pq.write_table(pa.table(values), tmp_path / "events.txt")
    return tmp_path / "events.txt"


def test_json_tells_format_events_and_columns(table):
    done = inspect(str(table), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["n_events"]) == ("parquet-flat", 4)
    first = found["columns"][0]
    assert first == {
        "name": "m_jj", "unit": "TeV", "min": 3.0, "median": 3.0, "max": 4.0, "n_unusable": 1,
    }  # fmt: skip
    assert found["columns"][2]["name"] == "evil\\x1b[2J\\nobey"
    assert found["truth"] == ["label"]
    assert found["n_duplicates"] == 1
    assert found["weights"]["equal"] is False


def test_text_is_safe_and_complete(table):
    done = inspect(str(table))
    assert done.returncode == 0
    assert "events.txt: 4 events, format parquet-flat" in done.stdout
    assert "\x1b" not in done.stdout
    assert "cannot be searched" in done.stdout
    assert "1 events repeat another one" in done.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1 and no more", "cannot be read as Parquet"),
        (b"root and no more", "cannot be read as ROOT"),
        (b"m_jj,x\n1,2\n3,evil\n", "evil"),
        (None, "There is no file"),
    ],
)
def test_bad_files_end_with_exit_code_3_and_name_themselves(tmp_path, content, said):
    path = tmp_path / "bad.dat"
    if content is not None:
        path.write_bytes(content)
    done = inspect(str(path))
    assert done.returncode == 3
    message = " ".join(done.stderr.split())
    assert said in message
    assert "bad.dat" in message
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "said"), [("n" * 300, "cannot be opened"), ("", ". is no regular file")]
)
def test_names_of_no_file_end_with_exit_code_3(name, said):
    done = inspect(name)
    assert done.returncode == 3
    assert said in " ".join(done.stderr.split())


def test_a_link_beside_an_array_is_not_read_as_names_of_its_columns(tmp_path):
    np.save(tmp_path / "f.npy", np.ones((600, 2)))
    (tmp_path / "secret").write_text("first secret\nsecond secret\n")
    (tmp_path / "f.npy.columns").symlink_to(tmp_path / "secret")
    done = inspect(str(tmp_path / "f.npy"))
    assert done.returncode == 3
    assert "without names of its columns" in " ".join(done.stderr.split())
    assert "secret" not in done.stdout + done.stderr


def test_a_usage_error_ends_with_exit_code_2():
    assert inspect().returncode == 2


def test_raw_events_are_inspected_in_chunks(tmp_path):
    rows = np.zeros((7000, 2101))
    rows[:, :3] = [500.0, 1.0, 2.0]
    rows[:, 2100] = 1.0
    with h5py.File(tmp_path / "raw", "w") as file:
        file["df/block0_items"] = np.arange(2101)
        file.create_dataset("df/block0_values", data=rows, compression="gzip", chunks=(500, 2101))
    found = json.loads(inspect(str(tmp_path / "raw"), "--json").stdout)
    assert (found["format"], found["n_events"]) == ("lhco-raw-h5", 7000)
    assert found["particles"] == {"constituents": 7000}
    assert found["n_duplicates"] == 6999


def test_addresses_need_their_extra_and_say_so():
    assert is_remote("https://example.org/f.root")
    assert not is_remote("C:/events.root")
    with pytest.raises(ConfigurationError, match=r"pip install 'bumpscout\[xrootd\]'"):
        with local_copy("root://example.org//f.root"):
            pass


def test_fetched_files_are_whole_and_limited(tmp_path, monkeypatch):
    import fsspec

    content = b"m_jj,x\n1,2\n" * 1000
    (tmp_path / "there.csv").write_bytes(content)
    real = fsspec.open
    monkeypatch.setattr(fsspec, "open", lambda _, mode: real(f"file://{tmp_path}/there.csv", mode))
    with local_copy("https://example.org/there.csv") as path:
        assert path.read_bytes() == content
    assert not path.exists()
    with pytest.raises(InputDataError, match="larger than 100 bytes"):
        with local_copy("https://example.org/there.csv", max_bytes=100):
            pass


def test_a_file_at_an_address_is_fetched_once_and_kept(tmp_path, monkeypatch):
    import fsspec

    (tmp_path / "there.csv").write_text("m_jj,x\n1,2\n")
    real = fsspec.open
    monkeypatch.setattr(fsspec, "open", lambda _, mode: real(f"file://{tmp_path}/there.csv", mode))
    monkeypatch.setenv("BUMPSCOUT_CACHE", str(tmp_path / "cache"))
    address = "https://example.org/there.csv?download=1"
    path = event_file(address)
    assert path.read_text() == "m_jj,x\n1,2\n"
    assert path.name.endswith("-there.csv")
    (tmp_path / "there.csv").unlink()
    assert event_file(address) == path
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    with pytest.raises(click.ClickException, match="cannot be fetched") as refused:
        event_file("https://example.org/other.csv")
    assert refused.value.exit_code == 3
    assert event_file("events.h5") == Path("events.h5")
