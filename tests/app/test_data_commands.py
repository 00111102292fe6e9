"""`data list` and `data fetch`: what they say, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_the_list_names_the_benchmarks_their_sizes_and_licences(bumpscout):
    done = bumpscout("data", "list")
    assert done.returncode == 0
    for name in ("lhco-rd", "lhco-bb1", "lhco-bb2", "lhco-bb3", "aspen-open-jets"):
        assert any(line.startswith(f"{name} ") for line in done.stdout.splitlines())
    assert "CC-BY-4.0" in done.stdout


def test_one_data_set_is_shown_with_its_files_checksums_and_citation(bumpscout):
    done = bumpscout("data", "list", "lhco-rd-3prong")
    assert "md5:1e729f7dff225451182c28afaa4bb411" in done.stdout
    assert "checksum unknown" in done.stdout
    assert "arXiv:2101.08320" in done.stdout
    encoded = json.loads(bumpscout("data", "list", "lhco-rd-3prong", "--json").stdout)
    assert [file["checksum"] is None for file in encoded[0]["files"]] == [False, True]


def test_an_unknown_data_set_is_a_usage_error_that_names_the_known_ones(bumpscout):
    done = bumpscout("data", "fetch", "lhco-bb9")
    assert done.returncode == 2
    assert "lhco-bb1" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a cache in a folder of its own, and make the network unreachable."""
    monkeypatch.setenv("BUMPSCOUT_CACHE", str(tmp_path / "cache"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
def test_without_a_network_fetch_says_so_with_exit_code_3(bumpscout):
    done = bumpscout("data", "fetch", "lhco-rd")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert "could not be downloaded" in said
    assert "Check the network" in said


def test_what_is_in_the_cache_needs_no_network(bumpscout, cache):
    name = "Run2012BC_DoubleMuParked_Muons.root"
    path = cache / "cms-dimuon-2012" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"put here by hand")
    done = bumpscout("data", "fetch", "cms-dimuon-2012", "--json")
    assert done.returncode == 0
    (file,) = json.loads(done.stdout)["files"]
    assert (file["was_cached"], file["pinned_now"]) == (True, True)
    assert file["path"] == str(path)
    listed = bumpscout("data", "list", "cms-dimuon-2012")
    assert str(path) in listed.stdout
    path.write_bytes(b"changed since")
    assert bumpscout("data", "fetch", "cms-dimuon-2012").returncode == 3


def test_files_and_all_do_not_go_together(bumpscout):
    done = bumpscout("data", "fetch", "lhco-rd", "events.h5", "--all")
    assert done.returncode == 2
    assert "not both" in done.stderr
