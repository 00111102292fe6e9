"""Reading spectra: what is accepted, and what is refused with the line and the value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bumpscout_tools.background.spectrum import MAX_BINS, Spectrum, read_spectrum
from bumpscout_tools.errors import ConfigurationError, InputDataError

HEADER = "low_GeV,high_GeV,observed\n"
ROWS = [f"{1000 + 100 * i},{1100 + 100 * i},{50 - 5 * i}" for i in range(8)]


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text(header + "\n".join(rows) + "\n")
    return path


def test_comments_blank_lines_and_order_of_columns_do_not_matter(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(
        "# a comment\n\nobserved,expected,high_GeV,low_GeV\n"
        + "# another\n"
        + "\n".join(f"{10 - i},{9.5 - i},{2000 + 100 * i},{1900 + 100 * i}" for i in range(6))
    )
    spectrum = read_spectrum(path)
    np.testing.assert_array_equal(spectrum.edges, 1900 + 100 * np.arange(7))
    np.testing.assert_array_equal(spectrum.observed, 10 - np.arange(6))
    np.testing.assert_array_equal(spectrum.expected, 9.5 - np.arange(6))
    assert not spectrum.weighted


def test_without_a_header_the_columns_are_low_high_observed_expected(tmp_path):
    path = write(tmp_path / "s.csv", [f"{row},7.5" for row in ROWS], header="")
    spectrum = read_spectrum(path)
    assert spectrum.n_bins == 8
    np.testing.assert_array_equal(spectrum.expected, np.full(8, 7.5))


def test_bins_of_2000_are_read_and_more_are_refused(tmp_path):
    rows = [f"{1000 + i},{1001 + i},3" for i in range(MAX_BINS)]
    assert read_spectrum(write(tmp_path / "a.csv", rows)).n_bins == 2000
    with pytest.raises(InputDataError, match="more than 2000 bins"):
        read_spectrum(write(tmp_path / "b.csv", [*rows, "3000,3001,1"]))


@pytest.mark.parametrize(
    ("at", "row", "said"),
    [
        (3, "1350,1400,35", r"line 5: a gap: the bin starts at 1350 GeV.*ends at 1300"),
        (3, "1250,1400,35", r"line 5: the bin starts at 1250 GeV within the one before"),
        (3, "900,1000,35", r"line 5: the bins are not sorted: 900 GeV comes after 1200"),
        (3, "1300,1300,35", r"line 5: the bin ends at 1300, not above its start 1300"),
        (3, "1300,1400,-2", r"line 5: observed is negative \(-2\)"),
        (3, "1300,1400,nan", r"line 5: 'nan' is not finite"),
        (3, "1300,1400,inf", r"line 5: 'inf' is not finite"),
        (3, "1300,1400,2.5", r"line 5: observed is 2.5, not a whole number.*`error`"),
        (3, "1300,1400,many", r"line 5: 'many' is not a number"),
        (3, "1300,1400", r"line 5: 2 values where 3 columns are named"),
        (0, "0,1100,35", r"line 2: the bin starts at 0 GeV"),
    ],
)
def test_a_bad_line_is_named_with_its_value(tmp_path, at, row, said):
    rows = [*ROWS]
    rows[at] = row
    with pytest.raises(InputDataError, match=said):
        read_spectrum(write(tmp_path / "s.csv", rows))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + ROWS[0], "holds 1 bins; at least 5"),
        (HEADER, "holds 0 bins; at least 5"),
        ("", "no line of it is a bin"),
        ("mass,height\n1,2\n", "no column low or high or observed"),
        ("low,high,observed,data\n1,2,3,4\n", "two columns are observed"),
        ("1,2\n", "2 columns without a header"),
        (HEADER + "\n".join(f"{1000 + i},{1001 + i},0" for i in range(6)), "holds no events"),
    ],
)
def test_what_is_no_spectrum_is_refused(tmp_path, content, said):
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(InputDataError, match=said):
        read_spectrum(tmp_path / "s.csv")


def test_what_is_no_text_or_no_file_is_refused(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(InputDataError, match="no text"):
        read_spectrum(tmp_path / "s.csv")
    with pytest.raises(InputDataError, match="Cannot read"):
        read_spectrum(tmp_path / "none.csv")
    with pytest.raises(InputDataError, match="Cannot read"):
        read_spectrum(tmp_path)


def test_weighted_events_need_errors_and_give_mean_weights(tmp_path):
    header = "low_GeV,high_GeV,observed,error\n"
    rows = [
        f"{1000 + i},{1001 + i},{2.5 * n},{2.5 * np.sqrt(n)}" for i, n in enumerate((9, 4, 0, 1, 4))
    ]
    spectrum = read_spectrum(write(tmp_path / "s.csv", rows, header))
    assert spectrum.weighted
    np.testing.assert_allclose(spectrum.scales(), 2.5)
    rows[1] = "1001,1002,10,0"
    with pytest.raises(InputDataError, match="line 3: observed is 10 with an error of 0"):
        read_spectrum(write(tmp_path / "s.csv", rows, header))


def test_poisson_errors_of_counts_are_no_weights(tmp_path):
    rows = [f"{row},{np.sqrt(50 - 5 * i):.4f}" for i, row in enumerate(ROWS)]
    header = "low_GeV,high_GeV,observed,error\n"
    assert not read_spectrum(write(tmp_path / "s.csv", rows, header)).weighted


def test_a_range_keeps_whole_bins():
    spectrum = Spectrum(np.arange(1000.0, 2100, 100), np.arange(10.0), np.ones(10))
    part = spectrum.between(1150, 1800)
    np.testing.assert_array_equal(part.edges, np.arange(1200.0, 1900, 100))
    np.testing.assert_array_equal(part.observed, np.arange(2.0, 8))
    assert spectrum.between(None, None).n_bins == 10
    with pytest.raises(ConfigurationError, match="Only 2 bins lie between 1150"):
        spectrum.between(1150, 1400)
