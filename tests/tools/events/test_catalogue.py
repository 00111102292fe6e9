"""The catalogue of public data sets."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.events.catalogue import DataFile, catalogue, data_set


def test_every_file_lies_in_the_record_of_its_data_set_and_names_are_unique() -> None:
    names = [entry.name for entry in catalogue()]
    assert len(set(names)) == len(names)
    for entry in catalogue():
        assert len({file.name for file in entry.files}) == len(entry.files)
        for file in entry.files:
            assert file.url.removesuffix("?download=1") == f"{entry.record}/files/{file.name}"
        assert any(file.default for file in entry.files)


def test_a_record_number_of_zenodo_is_in_its_doi() -> None:
    for entry in catalogue():
        if entry.record.startswith("https://zenodo.org/records/"):
            assert entry.doi == f"10.5281/zenodo.{entry.record.rpartition('/')[2]}"


def test_the_truth_of_a_black_box_is_fetched_only_on_request() -> None:
    box = data_set("lhco-bb1")
    assert [file.name for file in box.chosen(())] == ["events_LHCO2020_BlackBox1.h5"]
    (key,) = box.chosen(("events_LHCO2020_BlackBox1.masterkey",))
    assert key in box.chosen((), everything=True)


def test_aspen_open_jets_has_the_80_files_of_its_record_with_sizes_and_checksums() -> None:
    files = data_set("aspen-open-jets").files
    assert len(files) == 80
    assert sum(file.bytes or 0 for file in files) == 207_292_621_489
    assert all(file.checksum for file in files)


def test_what_does_not_exist_is_named_with_what_does() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'lhco-bb4' in the catalogue: lhco-rd, "
    ) as caught:
        data_set("lhco-bb4")
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigurationError, match="`bumpscout data list lhco-rd` lists all"):
        data_set("lhco-rd").chosen(("events.h5",))


@pytest.mark.parametrize(
    "change",
    [{"name": "../x.h5"}, {"url": "ftp://x"}, {"checksum": "md5:12"}, {"licence": "MIT"}],
)
def test_broken_entries_are_refused(change: dict[str, str]) -> None:
    sound = {"name": "x.h5", "url": "https://x/x.h5", "about": "x", "default": True}
    with pytest.raises(ValidationError):
        DataFile.model_validate({**sound, **change})
