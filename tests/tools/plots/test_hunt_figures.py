"""Figures of a hunt: they show what they are given, and come out in each format."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.plots import figure_bytes
from bumpscout_tools.plots.fitted import fitted_figure
from bumpscout_tools.plots.hunt import local_p_figure, tomography_figure

EDGES = np.geomspace(1000, 5000, 21)
MEAN = np.geomspace(2000, 2, 20)
COUNTS = np.random.default_rng(1).poisson(MEAN).astype(float)


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_spectrum_with_its_interval_in_each_format(kind, start):
    def draw():
        return fitted_figure(
            Spectrum(EDGES, COUNTS),
            MEAN,
            interval_gev=(2000.0, 2500.0),
            interval_label="largest deficit",
        )

    content = figure_bytes(draw(), kind)
    assert content.startswith(start)
    assert content == figure_bytes(draw(), kind)
    labels = [text.get_text() for text in draw().axes[0].get_legend().get_texts()]
    assert "largest deficit" in labels


def test_excluded_bins_are_hollow_and_have_neither_pull_nor_solid_line():
    spectrum = Spectrum(EDGES, np.round(3 * MEAN)).without([(EDGES[8], EDGES[10])])
    figure = fitted_figure(spectrum, MEAN)
    top, low = figure.axes
    faces = {
        container.get_label(): container.lines[0].get_markerfacecolor()
        for container in top.containers
    }
    assert set(faces) == {"data", "data, excluded"}
    assert faces["data, excluded"] == "#ffffff" != faces["data"]
    pulls = [bar.get_height() for bar in low.patches if bar.get_y() == 0][-20:]
    assert pulls[8:10] == [0, 0]
    assert all(pull > 1 for pull in pulls[:8])
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert labels == ["data", "data, excluded", "fit", "excluded"]


def test_weighted_events_carry_the_errors_of_their_weights():
    weights = np.full(20, 0.25)
    spectrum = Spectrum(EDGES, MEAN * 0.25, variances=MEAN * weights**2)
    top = fitted_figure(spectrum, MEAN * 0.25).axes[0]
    assert top.get_ylabel() == "Weighted events / bin"
    bars = top.containers[0].lines[2][1].get_segments()
    np.testing.assert_allclose(
        [0.5 * (end[1] - start[1]) for start, end in bars], 0.25 * np.sqrt(MEAN)
    )


def test_tomography_draws_every_window_with_an_excess():
    starts, stops = np.array([2, 5, 7, 9]), np.array([4, 9, 8, 12])
    figure = tomography_figure(EDGES, starts, stops, np.array([1.0, 3.2, -0.5, 2.0]))
    panel = figure.axes[0]
    segments = panel.collections[0].get_segments()
    assert len(segments) == 3
    best = panel.lines[0].get_xdata()
    np.testing.assert_allclose(best, EDGES[[5, 9]] / 1000)
    assert panel.get_ylim()[0] < 7e-4


def test_tomography_without_an_excess_is_empty_but_drawn():
    figure = tomography_figure(EDGES, np.array([2]), np.array([4]), np.array([-1.0]))
    assert figure_bytes(figure, "png")


def test_local_p_against_mass():
    z = np.array([0.0, 2.0, 5.0, -1.0])
    figure = local_p_figure(np.array([1000.0, 2000, 3000, 4000]), z)
    p = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(p, [0.5, 0.02275, 2.8665e-7, 0.84134], rtol=1e-3)
    assert figure.axes[0].get_ylim()[0] < 2.9e-7
