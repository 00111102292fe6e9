"""``limits.json``: its schema is current, it is drawn and told, and hostile content is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bumpscout.report.figures import draw_figures
from bumpscout.report.page import make_page
from bumpscout.report.render import render_html, render_markdown
from bumpscout.scan_limits import limit_lines, limits_json_schema, read_limits, write_limits
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.limits_scan import PointLimits, ScanLimits, WindowLimits
from bumpscout_tools.scan.limits_spectrum import CutLimits, LimitRow

SCHEMA = Path(__file__).parents[2] / "docs" / "limits.schema.json"


def row(mass: float, observed: float | None) -> LimitRow:
    if observed is None:
        return LimitRow(mass_gev=mass, width=0.0, sigma_gev=90.0, reason="a bad fit")
    bands = (5.0, 7.0, 10.0, 14.0, 19.0)
    return LimitRow(
        mass_gev=mass,
        width=0.0,
        sigma_gev=90.0,
        observed=observed,
        expected=bands,
        method="asymptotic",
    )


@pytest.fixture
def limits() -> ScanLimits:
    found = CutLimits(
        n_selected=500,
        order=3,
        fit_p=0.5,
        believable=True,
        reason=None,
        n_by_toys=0,
        n_toys_wanted=0,
        rows=(row(3000.0, 12.0), row(3100.0, None), row(3200.0, 8.0)),
    )
    window = WindowLimits(window_gev=(2900.0, 3300.0), inside=True, limits=found)
    point = PointLimits(
        detector="cwola",
        detector_index=0,
        efficiency=0.01,
        cross_section_pb=0.05,
        null_width=1.2,
        windows=(window,),
    )
    return ScanLimits(
        level=0.95,
        resolution=0.03,
        widths=(0.0,),
        luminosity_fb=10.0,
        pb_per_event=1e-4,
        points=(point,),
    )


def test_schema_file_is_current():
    assert SCHEMA.read_text(encoding="utf-8") == limits_json_schema()


def test_the_report_says_in_pb_what_is_excluded_and_what_is_not_known(limits, make_run):
    line = limit_lines(limits)[-1]
    assert "1% kept: 0.0012 pb at 3.00 TeV (0.001 expected)" in line
    assert "at 1 of 3 masses no fit can be believed" in line
    result, evidence = make_run("text")
    page = make_page(result, evidence, None, draw_figures(evidence, limits), limits)
    for text in (render_html(page), render_markdown(page)):
        assert "What is excluded" in text
        assert "0.0012 pb" in text
    assert "visible cross sections" in render_html(page)


def test_what_was_written_is_read_and_a_folder_without_limits_has_none(tmp_path, limits):
    assert read_limits(tmp_path) is None
    write_limits(tmp_path, limits)
    assert read_limits(tmp_path) == limits


@pytest.mark.parametrize(
    ("place", "value"), [("mass_gev", -1.0), ("observed", -5.0), ("observed", "x")]
)
def test_impossible_limits_of_a_stranger_are_refused(tmp_path, limits, place, value):
    content = json.loads(limits.model_dump_json())
    content["points"][0]["windows"][0]["limits"]["rows"][0][place] = value
    (tmp_path / "limits.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="limits"):
        read_limits(tmp_path)
