"""Plans of grids: ranges of working points, spectra multiplied out, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bumpscout_tools.scan.plan import SearchPlan

GRID: dict[str, Any] = {
    "detectors": [{"name": "column", "features": ["score"]}],
    "spectra": [{"mass": "jj"}],
}


def plan(**changes: Any) -> SearchPlan:
    return SearchPlan.model_validate({**GRID, **changes})


def test_masses_and_categories_are_multiplied_out() -> None:
    both = plan(
        spectra=[
            {"masses": ["jj", "jb"], "categories": ["all", "met"], "min_gev": 500},
            {"mass": "je", "edges_gev": np.geomspace(300, 900, 21).tolist()},
        ]
    )
    assert [one.name for one in both.spectra] == ["jj", "jb", "jj / met", "jb / met", "je"]
    assert [one.min_gev for one in both.spectra] == [500, 500, 500, 500, None]


def test_the_grid_of_the_published_search_fits_into_one_entry() -> None:
    masses = ["jj", "jb", "bb", "je", "be", "jmu", "bmu", "jgamma", "bgamma"]
    categories = [f"trigger{number}" for number in range(7)]
    assert len(plan(spectra=[{"masses": masses, "categories": categories}]).spectra) == 63


def test_a_range_of_working_points_falls_in_equal_steps_of_the_logarithm() -> None:
    points = plan(
        luminosity_fb=140,
        working_points={"cross_sections_pb": {"from": 100, "to": 0.001, "n": 100}},
    ).working_points
    values = np.array(points.cross_sections_pb)
    np.testing.assert_allclose(values, np.geomspace(100, 0.001, 100), rtol=1e-5)
    assert (values[0], values[-1]) == (100.0, 0.001)


def test_a_plan_that_was_written_out_is_the_same_plan() -> None:
    first = plan(working_points={"efficiencies": {"from": 1, "to": 0.01, "n": 5}})
    again = SearchPlan.model_validate_json(first.model_dump_json())
    assert again == first
    assert again.sha256() == first.sha256()
    assert again.working_points.refine_rounds == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detectors": [{"name": "cwola"}]}, "does not depend on the scanned events"),
        ({"detectors": [{"name": "column"}]}, "exactly one feature"),
        ({"detectors": [{"name": "nothing"}]}, "column"),
        ({"detectors": [{"name": ["column"]}]}, "column"),
        (
            {"detectors": [{"name": "column", "features": ["s"], "settings": {"trees": 3}}]},
            "settings.trees",
        ),
        ({"spectra": [{"mass": "jj"}, {"mass": "jj"}]}, "jj is named 2 times"),
        ({"spectra": [{"masses": ["jj", "jj"]}]}, "jj is named 2 times"),
        ({"spectra": [{"masses": []}]}, "masses"),
        ({"spectra": [{"mass": ""}]}, "mass"),
        ({"spectra": [{"mass": "jj", "min_gev": 900, "max_gev": 800}]}, "is not below"),
        ({"spectra": [{"mass": "jj", "edges_gev": [1, 2, 3]}]}, "at least 15 bins"),
        ({"spectra": [{"mass": "jj", "edges_gev": [*range(20, 40), 40, 40]}]}, "rise strictly"),
        (
            {"spectra": [{"mass": "jj", "edges_gev": list(range(20, 40)), "min_gev": 20}]},
            "already say",
        ),
        ({"spectra": [{"mass": "jj", "start": "first"}]}, "needs min_gev"),
        ({"spectra": [{"mass": "jj", "min_gev": float("nan")}]}, "finite"),
        ({"spectra": "jj"}, "tuple"),
        ({"windows": {"width_bins": 5}}, "windows belongs to a scan of windows"),
        ({"spectrum": {"min_gev": 500}}, "spectrum belongs to a scan of windows"),
        ({"spectra": [], "limits": {"max_points": 3}}, "max_points belongs to a grid"),
        ({"cell_toys": 100}, "cell_toys belongs to a scan of windows"),
        ({"working_points": {"refine_rounds": 1}}, "refine_rounds must be 0"),
        ({"working_points": {"efficiencies": {"from": 0.1, "to": 1, "n": 5}}}, "must be above"),
        ({"working_points": {"efficiencies": {"from": 1, "to": 0.1, "n": 1}}}, "n"),
        ({"working_points": {"efficiencies": {"from": 2, "to": 0.1, "n": 4}}}, "at most 1"),
        ({"working_points": {"efficiencies": {"from": 1, "too": 0.1, "n": 4}}}, "to"),
        ({"bump_bins": [2, 9]}, "at most 7"),
    ],
)
def test_what_cannot_be_a_grid_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        plan(**changes)
