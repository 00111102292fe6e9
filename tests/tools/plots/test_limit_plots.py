"""Figures of limits and of the scan behind them."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.inference import PeakLimits, peak_grid
from bumpscout_tools.plots.limits import limits_figure, scan_figure
from bumpscout_tools.plots.style import figure_bytes

MASSES = np.linspace(2000.0, 4000.0, 5)


def made(widths: list[float]) -> PeakLimits:
    peaks = peak_grid(MASSES, widths)
    median = 1e5 * np.exp(-peaks.mass_gev / 700)
    bands = median[:, None] * np.array([0.5, 0.7, 1.0, 1.4, 2.0])
    return PeakLimits(
        peaks=peaks,
        level=0.95,
        observed=1.2 * median,
        expected=bands,
        discovery_3=1.5 * median,
        discovery_5=2.5 * median,
        background=median,
        method=("asymptotic",) * peaks.size,
        converged=np.ones(peaks.size, dtype=bool),
    )


@pytest.mark.parametrize("widths", [[0.0], [0.0, 0.05, 0.1], [0.0, 0.05, 0.1, 0.15]])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_panel_for_each_width(widths, theme):
    figure = limits_figure(made(widths), pb_per_event=1e-5, theme=theme)
    shown = [panel for panel in figure.axes if panel.axison]
    assert len(shown) == len(widths)
    observed, expected = shown[0].get_lines()[:2]
    median = 1e5 * np.exp(-MASSES / 700) * 1e-5
    np.testing.assert_allclose(observed.get_ydata(), 1.2 * median)
    np.testing.assert_allclose(expected.get_ydata(), median)
    assert "[pb]" in shown[0].get_ylabel()
    assert figure_bytes(figure, "png").startswith(b"\x89PNG")


def test_curves_stop_where_masses_are_excluded():
    peaks = peak_grid(np.append(np.arange(2000.0, 2600, 100), np.arange(3100.0, 3600, 100)), [0.0])
    figure = scan_figure(peaks, np.zeros(peaks.size), excluded_gev=[(2520.0, 3080.0)])
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() != ":"]
    assert [line.get_xdata()[-1] for line in lines] == [2.5, 3.5]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["width: resolution", "excluded"]


def test_units_are_events_without_a_luminosity():
    panel = limits_figure(made([0.0])).axes[0]
    assert panel.get_ylabel() == "95% CL limit on signal [events]"


def test_local_p_has_a_line_for_each_width():
    peaks = peak_grid(MASSES, [0.0, 0.1])
    z = np.array([0.0, 1.0, 5.0, -1.0, 0.5, 0.0, 0.5, 3.0, 0.0, 0.0])
    panel = scan_figure(peaks, z, note="global p").axes[0]
    lines = [line for line in panel.get_lines() if len(line.get_xdata()) == len(MASSES)]
    assert len(lines) == 2
    assert float(np.min(lines[0].get_ydata())) == pytest.approx(2.866515e-7, rel=1e-5)
