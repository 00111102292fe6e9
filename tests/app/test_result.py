"""``result.json``: its schema file is current, and what is written can be read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bumpscout.files import read_bytes
from bumpscout.result import Result, json_schema, read_result, write_result
from bumpscout.words import format_p, headline, headline_p, printable, z_value
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"


def test_schema_file_is_current():
    assert SCHEMA.read_text(encoding="utf-8") == json_schema()


def test_round_trip(tmp_path, make_result):
    result = make_result("with \x1b[31m control \u2028 characters")
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_unknown_keys_are_errors(tmp_path, make_result):
    content = make_result().model_dump(mode="json") | {"surprise": 1}
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="surprise"):
        read_result(tmp_path)


@pytest.mark.parametrize("value", ["NaN", "1e999", "-0.1", "1.1"])
def test_impossible_p_values_are_refused(make_result, value):
    text = make_result().model_dump_json().replace('"local_p":1e-9', f'"local_p":{value}')
    assert value in text
    with pytest.raises(ValidationError):
        Result.model_validate_json(text)


def test_a_failed_write_leaves_no_part_behind(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(ConfigurationError, match=r"result\.json"):
        write_atomic(tmp_path / "result.json", "new")
    assert [item.name for item in tmp_path.iterdir()] == ["result.json"]


def test_reading_is_bounded_and_follows_no_links(tmp_path):
    path = tmp_path / "big.json"
    path.write_bytes(b"x" * 101)
    with pytest.raises(ConfigurationError, match="larger than 100"):
        read_bytes(path, 100)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigurationError):
        read_bytes(tmp_path / "link")
    with pytest.raises(ConfigurationError, match="regular"):
        read_bytes(Path("/dev/null"))


@pytest.mark.parametrize(("p", "z"), [(0.5, 0.0), (1.3499e-3, 3.0), (2.8665e-7, 5.0)])
def test_z_value_is_one_sided(p, z):
    assert z_value(p) == pytest.approx(z, abs=1e-4)


def test_headline_quotes_the_larger_p_and_the_replays(make_bump):
    bump = make_bump()
    assert headline_p(bump) == (0.048, "procedure p")
    said = headline("candidate", "exploratory", (bump,), None)
    assert said.startswith("Exploratory.")
    assert "procedure p = 0.048" in said
    assert "0 of 20 null replays reached it" in said
    without = bump.model_copy(update={"procedure_p": None})
    said = headline("undecided", "confirmatory", (without,), "The guard fired.")
    assert f"scan p = {format_p(1e-4)}" in said
    assert "no null replays were run" in said
    assert said.endswith("The guard fired.")


def test_a_search_without_verdict_has_no_number_in_its_headline():
    said = headline(None, None, (), "Interrupted.")
    assert said == "The search ended before a verdict: Interrupted."


def test_printable_escapes_control_and_direction_marks():
    assert printable("a\x1b[31mb\x00\u202ec\x9b") == "a\\x1b[31mb\\x00\\u202ec\\x9b"
    assert printable("m_jj = 3.5 TeV, \u03c4\u2082\u2081") == "m_jj = 3.5 TeV, \u03c4\u2082\u2081"
    assert len(printable("x" * 10_000)) < 2100
