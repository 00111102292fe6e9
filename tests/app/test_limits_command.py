"""The command `limits`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bumpscout.limits_command import limits
from bumpscout_tools.inference import NUISANCE_NAMES


def run(*words: str) -> Result:
    return CliRunner().invoke(limits, list(words))


@pytest.fixture
def spectrum(tmp_path: Path) -> Path:
    """Write 30 bins of 20 000 events with a bump at 3 TeV."""
    edges = np.geomspace(2000.0, 5000.0, 31)
    x = np.sqrt(edges[1:] * edges[:-1]) / 13000.0
    shape = (1 - x) ** 8 * x**-4.5 * np.diff(edges)
    mu = 2e4 * shape / shape.sum()
    mu += 160 * np.exp(-0.5 * ((np.sqrt(edges[1:] * edges[:-1]) - 3000) / 90) ** 2)
    counts = np.random.default_rng(3).poisson(mu)
    rows = zip(edges[:-1], edges[1:], counts, strict=True)
    lines = [f"{low:.6f},{high:.6f},{n}" for low, high, n in rows]
    path = tmp_path / "spectrum.csv"
    path.write_text("low_GeV,high_GeV,observed\n" + "\n".join(lines) + "\n")
    return path


def test_json_holds_every_limit(spectrum: Path) -> None:
    done = run(
        str(spectrum),
        *("--model", "p3", "--widths", "0", "10", "--masses", "2400", "4000", "400"),
        *("--luminosity-fb", "100", "--efficiency", "0.5", "--lumi-uncertainty", "0.02"),
        *("--efficiency-uncertainty", "0.1", "--mass-scale-uncertainty", "0.01"),
        *("--resolution-uncertainty", "0.1", "--json"),
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["model"] == "p3"
    rows = report["limits"]
    assert {(row["mass_gev"], row["width_percent"]) for row in rows} == {
        (mass, width) for mass in (2400, 2800, 3200, 3600, 4000) for width in (0, 10)
    }
    for row in rows:
        assert row["expected_events"] == sorted(row["expected_events"])
        assert row["observed_pb"] == pytest.approx(row["observed_events"] / 50_000)
        assert row["discovery_3_events"] < row["discovery_5_events"]
        assert row["method"] == "asymptotic"
    assert set(report["impacts"]) == set(NUISANCE_NAMES)
    assert report["excess"]["method"].startswith("gaussian field")
    assert report["excess"]["local_p"] <= report["excess"]["global_p"]


def test_a_bump_is_found_and_weakens_the_limit(spectrum: Path) -> None:
    words = ("--model", "p3", "--widths", "0", "--spurious", "0", "--json")
    report = json.loads(run(str(spectrum), *words).stdout)
    best = report["excess"]
    assert best["mass_gev"] == pytest.approx(3000, abs=90)
    assert best["local_z"] > 5
    assert best["global_p"] < 1e-4
    assert best["method"] == "gaussian field, tail bound"
    row = next(row for row in report["limits"] if row["mass_gev"] == best["mass_gev"])
    assert row["observed_events"] > row["expected_events"][4]


def test_figures_are_written_and_text_is_short(spectrum: Path, tmp_path: Path) -> None:
    limit, local = tmp_path / "limits.png", tmp_path / "p.svg"
    done = run(
        str(spectrum),
        *("--model", "p3", "--widths", "0", "5", "15", "--masses", "2500", "4000", "500"),
        *("--plot", str(limit), "--plot-p", str(local)),
    )
    assert done.exit_code == 0, done.output
    assert limit.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in local.read_bytes()[:600]
    assert "upper limits at 95% CL in events" in done.stdout
    assert "largest excess: 3000 GeV" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--masses", "9000", "9500", "100"), 2, "lies inside"),
        (("--masses", "3000", "2000", "100"), 2, "rising range"),
        (("--spurious", "many"), 2, "spurious signal"),
        (("--model", "expected"), 3, "column `expected`"),
        (("--background-uncertainty", "0.1"), 2, "belongs to `expected`"),
        (("--model", "sliding", "--window-bins", "5"), 2, "cannot hold a fit"),
        (("--exclude", "100", "200"), 2, "nothing to exclude"),
        (("--plot", "limits.txt"), 2, ".png"),
        (("--widths", "0", "--resolution", "0"), 2, "resolution above 0"),
        (("--widths", "x"), 2, "widths"),
    ],
)
def test_what_cannot_be_done_is_refused(
    spectrum: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = run(str(spectrum), *words)
    assert done.exit_code == code
    assert message in " ".join(done.output.split())


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none.csv")).exit_code == 3


@pytest.fixture
def with_background(spectrum: Path) -> Path:
    """Add the background that `spectrum` was drawn from as a column."""
    table = np.loadtxt(spectrum, delimiter=",", skiprows=1)
    x = np.sqrt(table[:, 1] * table[:, 0]) / 13000.0
    shape = (1 - x) ** 8 * x**-4.5 * (table[:, 1] - table[:, 0])
    lines = [
        f"{low:.6f},{high:.6f},{n:.0f},{b:.6f}"
        for (low, high, n), b in zip(table, 2e4 * shape / shape.sum(), strict=True)
    ]
    path = spectrum.with_name("known.csv")
    path.write_text("low_GeV,high_GeV,observed,expected\n" + "\n".join(lines) + "\n")
    return path


def test_a_given_background_with_its_uncertainty(with_background: Path) -> None:
    words = ("--model", "expected", "--widths", "0", "--masses", "2400", "3600", "600", "--json")
    certain = json.loads(run(str(with_background), *words).stdout)
    unsure = json.loads(run(str(with_background), *words, "--background-uncertainty", "0.1").stdout)
    assert certain["excess"]["mass_gev"] == unsure["excess"]["mass_gev"] == 3000
    assert certain["excess"]["local_z"] > 5
    assert set(unsure["impacts"]) == {"background"}
    assert unsure["impacts"]["background"] > 0
    for row, other in zip(certain["limits"], unsure["limits"], strict=True):
        assert row["expected_events"][2] < other["expected_events"][2]
        assert row["spurious_events"] == 0


def test_sliding_windows_and_exclusions(spectrum: Path) -> None:
    words = ("--widths", "0", "--masses", "2400", "4200", "150", "--spurious", "0", "--json")
    sliding = json.loads(run(str(spectrum), *words, "--model", "sliding-p3").stdout)
    assert sliding["model"] == "sliding-p3"
    assert sliding["excess"]["mass_gev"] == 3000
    assert sliding["excess"]["local_z"] > 4
    hidden = json.loads(
        run(str(spectrum), *words, "--model", "p3", "--exclude", "2750", "3250").stdout
    )
    (low, high) = hidden["excluded_gev"][0]
    assert low <= 2750 < 3250 <= high
    masses = [row["mass_gev"] for row in hidden["limits"]]
    assert 3000 not in masses
    assert hidden["excess"]["local_z"] < 3
    assert hidden["believable"]
    assert any("excluded" in note for note in hidden["notes"])
