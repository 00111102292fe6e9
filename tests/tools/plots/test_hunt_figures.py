"""Figures of a hunt: they show what they are given, and come out in each format."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.plots import figure_bytes
from bumpscout_tools.plots.hunt import fitted_figure, local_p_figure, tomography_figure

EDGES = np.geomspace(1000, 5000, 21)
MEAN = np.geomspace(2000, 2, 20)
COUNTS = np.random.default_rng(1).poisson(MEAN).astype(float)


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_spectrum_with_its_interval_in_each_format(kind, start):
    def draw():
        return fitted_figure(
            EDGES, COUNTS, MEAN, interval_gev=(2000.0, 2500.0), interval_label="largest deficit"
        )

    content = figure_bytes(draw(), kind)
    assert content.startswith(start)
    assert content == figure_bytes(draw(), kind)
    labels = [text.get_text() for text in draw().axes[0].get_legend().get_texts()]
    assert "largest deficit" in labels


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
