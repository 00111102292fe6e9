"""Figures: deterministic, quiet, and true to their numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from scipy.stats import poisson

from bumpscout_tools.plots import (
    features_figure,
    figure_bytes,
    heatmap_figure,
    inclusive_figure,
    replay_figure,
    spectrum_figure,
    trials_figure,
)
from bumpscout_tools.plots.spectrum import garwood, signed_pulls
from bumpscout_tools.scan.outcome import Cell, CellSpectrum, ScanOutcome

EDGES = tuple(float(edge) for edge in np.geomspace(2500, 6000, 21))


def make_cell(window: tuple[float, float], efficiency: float, **changes: object) -> Cell:
    content: dict[str, object] = {
        "test_id": f"{window}/{efficiency}",
        "detector": "cwola",
        "detector_index": 0,
        "window_gev": window,
        "efficiency": efficiency,
        "stage": "coarse",
        "n_selected": 600,
        "order": 3,
        "deviance": 25.0,
        "ndf": 17,
        "fit_p": 0.6,
        "believable": True,
        "interval_gev": (3400.0, 3600.0),
        "n_observed": 80,
        "n_expected": 30.5,
        "local_p": 1e-9,
        "local_z": 5.9,
        "null_mean": 1.0,
        "null_width": 0.8,
        "excess": 6.1,
    }
    return Cell.model_validate({**content, **changes})


@pytest.fixture
def spectrum() -> CellSpectrum:
    expected = np.geomspace(300, 0.2, 20)
    observed = np.random.default_rng(1).poisson(expected)
    return CellSpectrum(
        test_id="s",
        edges_gev=EDGES,
        observed=tuple(map(int, observed)),
        expected=tuple(map(float, expected)),
    )


@pytest.fixture
def outcome(spectrum: CellSpectrum) -> ScanOutcome:
    windows = ((3000.0, 3400.0), (3200.0, 3600.0), (3400.0, 3800.0))
    cells = [make_cell(window, eff) for window in windows for eff in (0.1, 0.01, 0.001)]
    cells[2] = make_cell(windows[0], 0.001, believable=False)
    cells.append(make_cell(windows[1], 0.03, stage="refined"))
    return ScanOutcome(
        fit_range_gev=(EDGES[0], EDGES[-1]),
        described=True,
        edges_gev=EDGES,
        windows_gev=windows,
        n_events=1000,
        cells=tuple(cells),
        ranking=(4, 0, 1, 3, 5, 6, 7, 8, 9),
        inclusive=spectrum,
    )


def test_garwood_interval_has_its_tails():
    counts = np.array([0, 1, 5, 40])
    low, high = garwood(counts)
    assert low[0] == 0
    assert poisson.sf(counts[1:] - 1, low[1:]) == pytest.approx(0.158655, abs=1e-5)
    assert poisson.cdf(counts, high) == pytest.approx(0.158655, abs=1e-5)


def test_pulls_are_signed_and_gaussian_at_high_counts():
    pulls = signed_pulls(np.array([10_300, 9_700, 10_000, 0]), np.array([1e4, 1e4, 1e4, 2.0]))
    assert pulls == pytest.approx([2.985, -3.015, 0.0, -2.0], abs=2e-3)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_valid_and_the_same_twice(outcome, spectrum, theme):
    rng = np.random.default_rng(2)
    typical, anomalous = rng.normal(size=(200, 3)), rng.normal(1, 1, size=(30, 3))
    cell = outcome.cells[4]
    draws = {
        "spectrum": lambda: spectrum_figure(cell, spectrum, theme=theme),
        "inclusive": lambda: inclusive_figure(spectrum, window_gev=(3e3, 4e3), theme=theme),
        "heatmap": lambda: heatmap_figure(outcome, theme=theme),
        "trials": lambda: trials_figure(outcome, theme=theme),
        "replays": lambda: replay_figure([1.0, 2.0, np.inf], 2.5, theme=theme),
        "features": lambda: features_figure(["a", "b", "c"], typical, anomalous, theme=theme),
    }
    for name, draw in draws.items():
        svg = figure_bytes(draw())
        assert svg == figure_bytes(draw()), name
        assert ET.fromstring(svg).tag.endswith("svg")
    assert figure_bytes(draws["replays"](), "png", dpi=50).startswith(b"\x89PNG")


def test_drawing_leaves_the_settings_of_matplotlib_alone(spectrum):
    before = dict(matplotlib.rcParams)
    figure_bytes(inclusive_figure(spectrum))
    assert dict(matplotlib.rcParams) == before


def test_replays_that_reached_are_counted_failed_ones_too():
    figure = replay_figure([1.0, 3.0, 2.0, np.inf], 3.0)
    assert figure.axes[0].get_title(loc="left") == "2 of 4 null replays reached it"


def test_trials_show_each_test_and_the_largest_believable_so_far(outcome):
    left, right = trials_figure(outcome).axes
    believable = [cell for cell in outcome.cells if cell.believable]
    drawn = {line.get_label(): line for line in left.lines}
    assert len(drawn["tests"].get_xdata()) == len(believable)
    assert drawn["largest so far"].get_ydata()[-1] == max(cell.excess for cell in believable)
    assert sum(patch.get_width() for patch in right.patches) == len(outcome.cells)


def test_heatmap_shows_every_cell_once_and_hatches_the_unbelievable(outcome):
    patches = heatmap_figure(outcome).axes[0].patches
    assert len(patches) == len(outcome.cells)
    assert sum(patch.get_hatch() is not None for patch in patches) == 1


def test_foreign_names_are_drawn_as_text():
    rows = np.random.default_rng(3).normal(size=(40, 4))
    names = ["$\\frac{1}{", "<script>", "\x1b[31m\n", "\u4e2d\u6587" * 60]
    figure_bytes(features_figure(names, rows, rows[:5]))


@pytest.mark.parametrize(
    "features",
    [np.zeros((5, 1)), np.zeros((0, 1)), np.full((3, 1), 7.0)],
    ids=["constant", "none", "sevens"],
)
def test_degenerate_features_are_drawn(features):
    figure_bytes(features_figure(["x"], features, features[:1]))


def test_empty_bins_and_single_windows_are_drawn(spectrum):
    empty = spectrum.model_copy(update={"observed": (0,) * 20})
    cell = make_cell((3000.0, 3500.0), 0.01)
    figure_bytes(spectrum_figure(cell, empty))
    outcome = ScanOutcome(
        fit_range_gev=(EDGES[0], EDGES[-1]),
        described=False,
        edges_gev=EDGES,
        windows_gev=((3000.0, 3500.0),),
        n_events=0,
        cells=(cell,),
        ranking=(),
        inclusive=empty,
    )
    figure_bytes(heatmap_figure(outcome))
