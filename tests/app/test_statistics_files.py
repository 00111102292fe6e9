"""Spectra that nobody should trust: parsed in a child, refused with a sentence, in bounded time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bumpscout.statistics_files import Reading
from bumpscout_tools.background.abcd import Abcd
from bumpscout_tools.errors import InputDataError

ROWS = "".join(f"{1000 + i},{1001 + i},{9 - i}\n" for i in range(6))
HEADER = "low_GeV,high_GeV,observed\n"


def refused(path: Path, parser: str = "parse_spectrum") -> str:
    with pytest.raises(InputDataError) as caught:
        Reading(path, parser).spectrum()
    return str(caught.value)


def test_what_the_child_read_is_what_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(HEADER.replace("\n", ",expected\n") + ROWS.replace("\n", ",2.5\n"))
    spectrum = Reading(path, "parse_spectrum").spectrum()
    assert spectrum.edges.tolist() == [1000 + i for i in range(7)]
    assert spectrum.observed.tolist() == [9 - i for i in range(6)]
    assert spectrum.expected is not None
    assert spectrum.expected.tolist() == [2.5] * 6
    assert spectrum.variances is None
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    assert Reading(link, "parse_spectrum").spectrum().n_bins == 6


def test_regions_come_through_the_child_too(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("region,observed,signal\nA,3,2\nB,10,1\nC,5,0\nD,50,0\n")
    found = Reading(path, "parse_regions").regions()
    assert (found.observed, found.signal) == (Abcd(3, 10, 5, 50), Abcd(2, 1, 0, 0))
    path.write_text("region,observed\nA,3\n")
    assert "no line of the region B, C, D" in refused(path, "parse_regions")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle", "nothing"])
def test_what_is_no_file_is_refused_without_opening_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    before = threading.active_count()
    said = refused(path)
    assert said.startswith(f"Cannot read {path}: ")
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(range(256)), "is no text (byte 0)"),
        (b"low,high,observed\n1,2,\x00\n", "holds bytes of 0"),
        (b"low,high,observed\n1,2," + b"9" * 1_000_000, "1000000 characters are no number"),
        (b"1" + b",1" * 1_000_000, "more than 32 columns"),
        (b"1,2,3\n" * 500_000, "more than 2000 bins"),
        (b"1,2,3e999\n", "is not finite"),
        (b"", "no line of it is a bin"),
    ],
    ids=["binary", "zeros", "digits", "columns", "rows", "infinite", "empty"],
)
def test_hostile_content_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    message = refused(path)
    assert said in message
    assert message.startswith(str(path))
    assert len(message) < 500


def test_a_file_that_is_larger_than_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "larger than 4 MiB" in refused(path)


def test_every_command_ends_with_the_code_of_bad_input(bumpscout, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(HEADER.encode() + b"\x1b[31m,2,3\n")
    for command in ("fit", "bumphunt", "limits", "abcd"):
        done = bumpscout(command, "s.csv")
        assert done.returncode == 3, done.stderr
        assert "s.csv, line " in done.stderr
        assert "\x1b" not in done.stderr
        assert done.stdout == ""
