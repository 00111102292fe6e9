"""From the records of a scan to bumps and evidence."""

from __future__ import annotations

import pytest

from bumpscout.assemble import bumps_of
from bumpscout.folder import Options, RunRecord
from bumpscout.rerun import compare, search_command
from bumpscout.search import SearchOptions
from bumpscout_tools.scan.plan import SearchPlan


def test_bumps_do_not_overlap_and_only_the_first_has_global_p(make_outcome):
    bumps = bumps_of(SearchPlan(), make_outcome(), None)
    assert [bump.result_id for bump in bumps] == ["t1", "t4"]
    assert bumps[0].n_signal.value == pytest.approx(49.5)
    assert bumps[0].mass_gev == 3500
    assert bumps[0].guards
    assert not bumps[1].guards


def test_visible_cross_section_needs_a_luminosity(make_outcome):
    plan = SearchPlan(luminosity_fb=100)
    assert bumps_of(SearchPlan(), make_outcome(), None)[0].working_point.cross_section_pb is None
    visible = bumps_of(plan, make_outcome(), None)[0].working_point.cross_section_pb
    assert visible == pytest.approx(600 / 100_000)


def test_options_win_over_the_plan():
    options = SearchOptions.of(Options(replays=3, toys=500, sqrt_s_gev=14000))
    plan = options.apply(SearchPlan())
    assert (plan.replays.n, plan.toys, plan.background.sqrt_s_gev) == (3, 500, 14000)
    assert SearchOptions.of(Options()).apply(SearchPlan()) == SearchPlan()


def test_rerun_repeats_request_and_options(tmp_path):
    record = RunRecord(
        run_id="r-1",
        started="now",
        request="--help; rm -rf /",
        data="x.h5",
        options=Options(replays=20, seed=5, sqrt_s_gev=14000),
    )
    command = search_command(tmp_path, record, tmp_path / "a.h5", tmp_path / "out")
    assert command[-2:] == ["--", "--help; rm -rf /"]
    assert {"--replays=20", "--seed=5", "--sqrt-s=14000.0"} <= set(command)
    assert not any(part.startswith("--toys") for part in command)


def test_compare_names_what_differs(make_result, make_bump):
    first = make_result()
    assert compare(first, make_result()) == []
    other = make_result(bumps=(make_bump(n_observed=81),), verdict="undecided")
    assert compare(first, other) == [
        "the verdict (candidate and undecided)",
        "the numbers of the bumps",
    ]
