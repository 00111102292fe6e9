"""Figures of grids: every spectrum has its row, doubts and hints are seen, files stay small."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.plots import figure_bytes
from bumpscout_tools.plots.grid import (
    HINT_Z,
    grid_course_figure,
    grid_map_figure,
    grid_overview_figure,
    grid_spectra_figure,
)
from bumpscout_tools.scan.outcome import Cell, CellSpectrum, GridMap, GridSummary, ScanOutcome

EDGES = tuple(float(edge) for edge in np.geomspace(1000, 5000, 41))


def cell(spectrum: str, efficiency: float, z: float, believable: bool = True) -> Cell:
    return Cell(
        test_id=f"{spectrum}/{efficiency}",
        detector="column",
        detector_index=0,
        spectrum=spectrum,
        window_gev=(EDGES[0], EDGES[-1]),
        efficiency=efficiency,
        stage="grid",
        n_selected=500,
        order=3,
        deviance=40.0,
        ndf=37,
        fit_p=0.4,
        believable=believable,
        interval_gev=(EDGES[10], EDGES[14]),
        n_observed=30,
        n_expected=12.0,
        local_p=float(10.0**-z),
        local_z=z,
        null_mean=2.0,
        null_width=0.4,
        excess=(z - 2.0) / 0.4,
    )


def outcome(n_spectra: int, n_points: int, pb: float | None = None) -> ScanOutcome:
    rng = np.random.default_rng(1)
    names = [f"m_{number} / all" for number in range(n_spectra)]
    points = [float(x) for x in np.geomspace(1, 1e-4, n_points)]
    cells = tuple(
        cell(name, point, float(rng.normal(2.0, 0.4)), believable=bool(rng.random() > 0.03))
        for name in names
        for point in points
    )
    ranking = sorted(
        (i for i, one in enumerate(cells) if one.believable), key=lambda i: -cells[i].local_z
    )
    observed = tuple(int(n) for n in rng.poisson(np.geomspace(100, 0.5, 40)))
    expected = tuple(float(n) for n in np.geomspace(100, 0.5, 40))

    def spectrum(test_id: str) -> CellSpectrum:
        return CellSpectrum(test_id=test_id, edges_gev=EDGES, observed=observed, expected=expected)

    best = cells[ranking[0]]
    return ScanOutcome(
        fit_range_gev=(EDGES[0], EDGES[-1]),
        described=True,
        edges_gev=EDGES,
        windows_gev=(),
        n_events=100_000,
        cells=cells,
        ranking=tuple(ranking),
        inclusive=spectrum("inclusive"),
        spectra=tuple(spectrum(cells[i].test_id) for i in ranking[:8]),
        grid=(
            *(GridSummary(spectrum=name, detector_index=0, n_events=500) for name in names),
            GridSummary(spectrum="$x$ / empty", detector_index=0, n_events=0, reason="no event"),
        ),
        grid_map=GridMap(
            spectrum=best.spectrum,
            detector_index=0,
            edges_gev=EDGES,
            efficiencies=tuple(points),
            z=tuple(tuple(float(z) for z in rng.normal(1, 1, 40)) for _ in points),
        ),
        all_events_pb=pb,
    )


def test_every_spectrum_has_a_row_also_those_left_out() -> None:
    made = outcome(5, 4)
    panel = grid_overview_figure(made).axes[0]
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels == [*(f"m_{number} / all" for number in range(5)), "$x$ / empty"]
    values = panel.collections[0].get_array()
    assert values.shape == (6, 4)
    # What cannot be believed, and what was not tested, has no colour of a significance.
    n_believed = sum(one.believable for one in made.cells)
    assert np.ma.count(values) == n_believed
    assert np.ma.count(panel.collections[1].get_array()) == len(made.cells) - n_believed


def test_hints_are_marked_in_the_overview() -> None:
    made = outcome(6, 30)
    dots = grid_overview_figure(made).axes[0].lines[0]
    hints = [one for one in made.cells if one.believable and one.local_z >= HINT_Z]
    assert len(dots.get_xdata()) == len(hints) > 0


@pytest.mark.parametrize(("pb", "said"), [(None, "Events kept"), (7.0, "[pb]")])
def test_cuts_are_in_pb_where_the_luminosity_is_known(pb: float | None, said: str) -> None:
    made = outcome(3, 5, pb)
    panel = grid_overview_figure(made).axes[0]
    assert said in panel.get_xlabel()
    assert max(panel.get_xlim()) == pytest.approx((pb or 1.0) * 10**0.5, rel=1e-6)
    assert made.grid_map is not None
    assert said in grid_map_figure(made, made.grid_map).axes[0].get_ylabel()


def test_the_course_is_the_smallest_p_of_what_can_be_believed() -> None:
    made = outcome(4, 10)
    best = grid_course_figure(made).axes[0].lines[1].get_ydata()
    p = [one.local_p if one.believable else 1.0 for one in made.cells]
    np.testing.assert_allclose(best, np.minimum.accumulate(p))


def test_one_point_and_one_spectrum_can_be_drawn() -> None:
    made = outcome(1, 1)
    assert made.grid_map is not None
    for figure in (
        grid_overview_figure(made),
        grid_map_figure(made, made.grid_map, theme="dark"),
        grid_course_figure(made),
        grid_spectra_figure(made),
    ):
        assert figure_bytes(figure).startswith(b"<?xml")


def test_a_grid_of_6300_cells_stays_a_small_file() -> None:
    made = outcome(63, 100, 100.0)
    figures = (grid_overview_figure(made), grid_course_figure(made), grid_spectra_figure(made))
    assert sum(len(figure_bytes(figure)) for figure in figures) < 2_000_000
