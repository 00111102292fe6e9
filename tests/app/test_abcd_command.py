"""`bumpscout abcd`: counts from options and files, the answer, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bumpscout.abcd_command import abcd
from bumpscout_tools.background.abcd import Abcd, abcd_fit

COUNTS = ("--counts", "30", "100", "50", "500")


def run(*words: str) -> Result:
    return CliRunner().invoke(abcd, list(words))


def test_everything_stands_in_the_json() -> None:
    done = run(
        *COUNTS,
        *("--signal", "20", "2", "2", "0.2", "--closure", "0.1"),
        *("--validation", "21", "90", "45", "200", "--luminosity-fb", "100"),
        *("--efficiency", "0.5", "--efficiency-uncertainty", "0.1", "--json"),
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    other = abcd_fit(Abcd(30, 100, 50, 500), 0.1, Abcd(1.0, 0.1, 0.1, 0.01))
    assert report["signal_fractions"] == {"a": 1.0, "b": 0.1, "c": 0.1, "d": 0.01}
    assert report["signal"] == pytest.approx(other.signal)
    assert report["signal_low"] == pytest.approx(other.signal + other.error_low)
    assert report["naive"] == 10
    assert report["local_p"] == pytest.approx(other.local_p, rel=1e-4)
    assert report["method"] == "asymptotic"
    limit, pb = report["limit_events"], report["limit_pb"]
    assert limit["expected"] == sorted(limit["expected"])
    assert limit["observed"] > report["signal_high"]
    assert limit["discovery_3"] < limit["discovery_5"]
    assert pb["observed"] == pytest.approx(limit["observed"] / 50_000)
    assert report["validation"]["closes"] is True
    assert report["notes"] == []


def test_a_file_gives_the_same_and_options_come_first(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("region,observed,signal\nA,30,10\nB,100,1\nC,50,1\nD,500,0.1\n")
    words = ("--closure", "0.1", "--json")
    found = json.loads(run(str(path), *words).stdout)
    given = json.loads(run(*COUNTS, "--signal", "10", "1", "1", "0.1", *words).stdout)
    assert found == given
    alone = json.loads(run(str(path), "--signal", "1", "0", "0", "0", *words).stdout)
    assert alone["signal_fractions"]["b"] == 0


def test_few_events_take_toys_that_repeat_themselves() -> None:
    words = ("--counts", "3", "10", "5", "50", "--toys", "500", "--seed", "4", "--json")
    first, again = run(*words), run(*words)
    assert first.stdout == again.stdout
    report = json.loads(first.stdout)
    assert (report["method"], report["n_toys"]) == ("toys", 500)
    assert report["local_p_low"] <= report["local_p"] <= report["local_p_high"]
    plain = json.loads(run(*words[:-5], "--toys", "0", "--json").stdout)
    assert plain["method"] == "asymptotic"


def test_text_says_what_is_missing_and_what_does_not_close() -> None:
    bare = run(*COUNTS).stdout
    assert "the signal is taken to lie in A alone" in bare
    assert "closure is taken as exact" in bare
    assert "no validation region" in bare
    assert "upper limit at 95% CL: " in bare
    assert "expected 3 sigma from " in bare
    broken = run(*COUNTS, "--validation", "90", "90", "45", "200").stdout
    assert "DOES NOT CLOSE" in broken
    assert "no signal or limit is to be quoted" in broken
    covered = run(*COUNTS, "--validation", "90", "90", "45", "200", "--closure", "3").stdout
    assert "DOES NOT CLOSE" not in covered


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "either a file COUNTS or --counts"),
        (("c.csv", *COUNTS), 2, "either a file COUNTS or --counts"),
        (("none.csv",), 3, "none.csv"),
        (("--counts", "1", "2", "3", "0.5"), 3, "whole numbers"),
        (("--counts", "1", "0", "0", "0"), 3, "nothing predicts region A"),
        ((*COUNTS, "--signal", "0", "1", "0", "0"), 2, "above 0 in A"),
        ((*COUNTS, "--closure", "-1"), 2, "--closure"),
        ((*COUNTS, "--validation", "0", "0", "4", "5"), 3, "empty row or column"),
    ],
)
def test_what_cannot_be_done_is_refused(words: tuple[str, ...], code: int, said: str) -> None:
    done = run(*words)
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize("command", ["abcd", "limits", "fit", "bumphunt"])
def test_help_shows_an_example(bumpscout, command: str) -> None:
    done = bumpscout(command, "--help")
    assert done.returncode == 0
    assert f"Example: bumpscout {command} " in done.stdout
