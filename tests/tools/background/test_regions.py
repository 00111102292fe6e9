"""Reading ABCD counts: what is accepted, and what is refused with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bumpscout_tools.background.abcd import Abcd
from bumpscout_tools.background.regions import read_regions
from bumpscout_tools.errors import InputDataError

FOUR = "region,observed\nA,3\nB,10\nC,5\nD,50\n"


def test_signal_validation_comments_and_order(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(
        "# counts\nsignal,Region,observed\n0.5,d,50\n10,A,3\n1,b,10\n1,C,5\n,VA,4\n,VB,9\n"
        ",VC,12\n,VD,33\n"
    )
    found = read_regions(path)
    assert found.observed == Abcd(3, 10, 5, 50)
    assert found.signal == Abcd(10, 1, 1, 0.5)
    assert found.validation == Abcd(4, 9, 12, 33)
    path.write_text(FOUR)
    assert read_regions(path).signal is None
    assert read_regions(path).validation is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("A,3\nB,10\n", "line 1: the header"),
        (FOUR.replace("D,50\n", ""), "no line of the region D"),
        (FOUR + "A,4\n", "line 6: a second line of the region A"),
        (FOUR + "E,4\n", "no region 'E'"),
        (FOUR + "VA,4\n", "only VA of a validation region"),
        (FOUR.replace("B,10", "B,ten"), "line 3: 'ten' is not a number"),
        (FOUR.replace("B,10", "B,10,3"), "line 3: 3 values"),
        (FOUR.replace("B,10", "B,nan"), "not finite"),
        ("", "no line of the region A, B, C, D"),
    ],
)
def test_what_is_no_file_of_counts_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(content)
    with pytest.raises(InputDataError, match=said):
        read_regions(path)
