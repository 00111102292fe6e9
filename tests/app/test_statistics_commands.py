"""`bumpscout fit` and `bumpscout bumphunt`: answers, figures, and exit codes for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

HEADER = "low_GeV,high_GeV,observed,expected\n"


def write(path: Path, factor: float = 1.0, total: float = 2e4, columns: int = 4) -> Path:
    edges = np.geomspace(1500, 6000, 41)
    x = np.sqrt(edges[1:] * edges[:-1]) / 13000
    mean = (1 - x) ** 9 * x**-5 * np.diff(edges)
    mean *= total / mean.sum()
    signal = np.ones(40)
    signal[18:20] = factor
    counts = np.random.default_rng(1).poisson(mean * signal)
    rows = zip(edges[:-1], edges[1:], counts, mean, strict=True)
    header = ",".join(HEADER.strip().split(",")[:columns]) + "\n"
    lines = [",".join(f"{value:.10g}" for value in row[:columns]) for row in rows]
    path.write_text("# made up\n" + header + "\n".join(lines) + "\n")
    return path


def test_fit_answers_with_everything_in_json(bumpscout, tmp_path):
    write(tmp_path / "s.csv")
    done = bumpscout("fit", "s.csv", "--json", "--plot", "s.svg")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"] == f"p{len(answer['parameters'])}"
    assert answer["believable"] is True
    assert answer["reasons"] == []
    assert len(answer["expected"]) == 40
    assert answer["ndf"] == 40 - len(answer["parameters"])
    assert 0.01 <= answer["p_value"] <= 1
    assert answer["deviance"] > 0
    assert next(iter(answer["parameters"])) == "p1"
    assert (tmp_path / "s.svg").read_bytes().startswith(b"<?xml")


def test_fit_exits_0_with_reasons_where_nothing_is_believable(bumpscout, tmp_path):
    write(tmp_path / "s.csv", factor=2.0)
    done = bumpscout("fit", "s.csv", "--model", "p3")
    assert done.returncode == 0
    assert "Not believable:" in done.stdout
    assert "degrees of freedom" in done.stdout


def test_a_peak_that_the_chosen_order_absorbed_is_told_of(bumpscout, tmp_path):
    edges = np.geomspace(2000, 6640, 51)
    x = np.sqrt(edges[1:] * edges[:-1]) / 13000
    mean = (1 - x) ** 10 * x**-5 * np.diff(edges)
    mean *= 1e3 / mean.sum()
    for size in (0.0, 30.0):
        peak = np.exp(-0.5 * (np.arange(50) - 35) ** 2)
        counts = np.random.default_rng(3).poisson(mean + size * peak / peak.sum())
        rows = zip(edges[:-1], edges[1:], counts, strict=True)
        lines = [",".join(f"{value:.10g}" for value in row) for row in rows]
        path = tmp_path / "s.csv"
        path.write_text("low_GeV,high_GeV,observed\n" + "\n".join(lines) + "\n")
        done = bumpscout("bumphunt", "s.csv", "--toys", "200")
        assert done.returncode == 0, done.stderr
        assert ("may have absorbed a peak" in done.stdout) == (size > 0)


def test_an_order_without_an_optimum_is_told_of(bumpscout, tmp_path):
    rows = [f"{1000 + 50 * k},{1050 + 50 * k},{40 if k == 12 else 0}" for k in range(40)]
    (tmp_path / "s.csv").write_text("low_GeV,high_GeV,observed\n" + "\n".join(rows) + "\n")
    done = bumpscout("fit", "s.csv")
    assert done.returncode == 0, done.stderr
    assert "p3: deviance 0.00/37" in done.stdout
    assert "no finite optimum" in done.stdout
    assert "Not believable" in done.stdout


def test_fit_of_a_range_and_a_form(bumpscout, tmp_path):
    write(tmp_path / "s.csv")
    done = bumpscout("fit", "s.csv", "--model", "ua2", "--min-gev", "2000", "--json")
    answer = json.loads(done.stdout)
    assert answer["model"] == "ua2"
    assert answer["fit_range_gev"][0] >= 2000
    assert set(answer["parameters"]) == {"p1", "p2", "p3", "p4"}


def test_bumphunt_against_the_expected_column(bumpscout, tmp_path):
    write(tmp_path / "s.csv", factor=1.6)
    done = bumpscout(
        "bumphunt", "s.csv", "--background", "expected", "--toys", "400", "--json",
        "--plot", "s.png", "--tomography", "t.pdf",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    edges = np.geomspace(1500, 6000, 41)
    assert answer["interval_gev"] == pytest.approx([edges[18], edges[20]], rel=1e-6)
    assert answer["local_z"] > 5
    assert answer["global_p"]["n_toys"] == 400
    assert answer["global_p"]["value"] == pytest.approx(1 / 401)
    assert answer["global_p"]["low"] == 0
    assert answer["global_p"]["method"] == "400 Poisson toys of the given background"
    assert "toys" in done.stderr
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")


def test_bumphunt_refits_unless_told_otherwise_and_repeats_itself(bumpscout, tmp_path):
    write(tmp_path / "s.csv", columns=3)
    ours = ("bumphunt", "s.csv", "--toys", "200", "--json", "--seed", "7")
    first, again = bumpscout(*ours), bumpscout(*ours)
    assert first.stdout == again.stdout
    answer = json.loads(first.stdout)
    assert "each refitted, the order chosen anew in each" in answer["global_p"]["method"]
    assert answer["fit"]["believable"] is True
    kept = json.loads(bumpscout(*ours, "--no-refit").stdout)
    assert "not refitted" in kept["global_p"]["method"]
    assert any("not refitted" in note for note in kept["notes"])


def test_bumphunt_for_deficits_with_side_bands_in_units_of_the_resolution(bumpscout, tmp_path):
    write(tmp_path / "s.csv", factor=0.5)
    done = bumpscout(
        "bumphunt", "s.csv", "--model", "p3", "--deficits", "--sidebands", "--resolution", "0.03",
        "--widths", "1", "3", "--toys", "100",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Most significant deficit: 2")
    assert "100 Poisson toys of the fit (p3), each refitted" in done.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1,2\n", "2 columns without a header"),
        (HEADER + "1000,1100,5,5\n", "holds 1 bins"),
        (HEADER + "".join(f"{1000 + i},{1001 + i},2.5,3\n" for i in range(6)), "line 2"),
        (HEADER + "".join(f"{1000 + 2 * i},{1001 + 2 * i},2,3\n" for i in range(6)), "a gap"),
        (HEADER + "".join(f"{1000 + i},{1001 + i},0,3\n" for i in range(6)), "no events"),
        (HEADER + "".join(f"{13000 + i},{13001 + i},2,3\n" for i in range(9)), "sqrt(s)"),
    ],
)
def test_bad_spectra_exit_3(bumpscout, tmp_path, content, said):
    (tmp_path / "s.csv").write_text(content)
    done = bumpscout("fit", "s.csv")
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fit", "none.csv"], 3, "none.csv"),
        (["fit"], 2, "SPECTRUM"),
        (["fit", "s.csv", "--model", "p9"], 2, "p9"),
        (["fit", "s.csv", "--min-gev", "5900"], 2, "Only 0 bins"),
        (["fit", "s.csv", "--plot", "s.gif"], 2, ".gif"),
        (["fit", "s.csv", "--plot", "nowhere/s.png"], 2, "nowhere"),
        (["fit", "s.csv", "--sqrt-s", "-1"], 2, "--sqrt-s"),
        (["fit", "s.csv", "--sqrt-s", "5000"], 3, "sqrt(s)"),
        (["fit", "s.csv", "--model", "expected"], 3, "column `expected`"),
        (["bumphunt", "none.csv"], 3, "none.csv"),
        (["bumphunt", "s.csv", "--background", "expected"], 3, "column `expected`"),
        (["bumphunt", "s.csv", "--background", "expected", "--model", "p3"], 2, "not both"),
        (["bumphunt", "s.csv", "--toys", "0"], 2, "--toys"),
        (["bumphunt", "s.csv", "--widths", "5", "3"], 2, "5 to 3 bins"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_requests_say_what_to_do(bumpscout, tmp_path, arguments, code, said):
    write(tmp_path / "s.csv", columns=3)
    done = bumpscout(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_weighted_events_are_fitted_but_not_hunted(bumpscout, tmp_path):
    rows = [
        f"{1000 + 50 * i},{1050 + 50 * i},{900.0 / (1 + i)},{40 / np.sqrt(1 + i)}"
        for i in range(30)
    ]
    text = "low_GeV,high_GeV,observed,error\n" + "\n".join(rows) + "\n"
    (tmp_path / "w.csv").write_text(text)
    assert bumpscout("fit", "w.csv").returncode == 0
    done = bumpscout("bumphunt", "w.csv")
    assert done.returncode == 3
    assert "weighted events" in done.stderr


def test_excluded_bins_take_no_part_in_fit_and_hunt(bumpscout, tmp_path):
    write(tmp_path / "s.csv", factor=3.0)
    edges = np.geomspace(1500, 6000, 41)
    here = ("--exclude", f"{edges[18] + 1:g}", f"{edges[20] - 1:g}")
    assert json.loads(bumpscout("fit", "s.csv", "--json").stdout)["believable"] is False
    blind = json.loads(bumpscout("fit", "s.csv", "--json", "--plot", "s.png", *here).stdout)
    assert blind["believable"] is True
    assert blind["excluded_gev"] == [pytest.approx([edges[18], edges[20]], rel=1e-6)]
    assert len(blind["expected"]) == len(blind["observed"]) == 40
    ratio = np.array(blind["observed"]) / np.array(blind["expected"])
    assert np.all(ratio[18:20] > 2)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    done = bumpscout(
        "bumphunt", "s.csv", "--toys", "50", "--json", "--plot", "h.png", "--tomography", "t.png",
        "--sidebands", *here,
    )  # fmt: skip
    hunted = json.loads(done.stdout)
    low, high = hunted["interval_gev"]
    assert high <= edges[18] * (1 + 1e-6) or low >= edges[20] * (1 - 1e-6)
    assert hunted["excluded_gev"] == blind["excluded_gev"]
    assert hunted["local_z"] < 4


def test_hunting_needs_a_window_outside_of_what_is_excluded(bumpscout, tmp_path):
    write(tmp_path / "s.csv")
    done = bumpscout("bumphunt", "s.csv", "--widths", "30", "35", "--exclude", "2800", "3000")
    assert done.returncode == 2
    assert "No window lies outside" in done.stderr
