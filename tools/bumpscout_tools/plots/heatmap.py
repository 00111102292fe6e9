"""The heat map of a scan: local significance over signal window and working point."""

from __future__ import annotations

import itertools
import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bumpscout_tools.plots.style import Palette, Theme, new_figure, plain, styled
from bumpscout_tools.scan.outcome import Cell, ScanOutcome

__all__ = ["heatmap_figure"]

_FULL_SCALE_Z = 5.0


def heatmap_figure(outcome: ScanOutcome, *, theme: Theme = "light") -> Figure:
    """Draw the local z of every test, coarse and refined, one panel a detector.

    Cells that no order of the background family describes are hatched instead of coloured; a ring
    marks the best cell.

    Args:
        outcome: a scan; windows in GeV.
        theme: palette.

    Returns:
        A figure with one panel a detector.
    """
    detectors = sorted({(cell.detector_index, cell.detector) for cell in outcome.cells})
    best = outcome.best()
    highest = max((cell.local_z for cell in outcome.cells if cell.believable), default=0.0)
    scale = Normalize(0.0, max(_FULL_SCALE_Z, highest))
    with styled(theme) as colours:
        figure = new_figure(7.2, 1.2 + 3.0 * max(1, len(detectors)))
        panels = figure.subplots(max(1, len(detectors)), 1, squeeze=False)[:, 0]
        for panel, (number, detector) in zip(panels, detectors, strict=False):
            cells = [cell for cell in outcome.cells if cell.detector_index == number]
            _panel(panel, cells, scale, colours)
            if len(detectors) > 1:
                panel.set_title(plain(detector), loc="left", fontsize="small", parse_math=False)
            if best is not None and best.detector_index == number:
                _mark(panel, best, cells, colours)
        panels[-1].set_xlabel("Centre of the signal window, $m_{jj}$ [TeV]")
        if detectors:
            mappable = ScalarMappable(norm=scale, cmap=matplotlib.colormaps[colours.heat])
            bar = figure.colorbar(mappable, ax=list(panels), pad=0.015, aspect=26)
            bar.set_label("local z (raw Poisson)")
            bar.ax.minorticks_off()
    return figure


def _panel(panel: Axes, cells: list[Cell], scale: Normalize, colours: Palette) -> None:
    colour_map = matplotlib.colormaps[colours.heat]
    columns: dict[tuple[float, float], list[Cell]] = {}
    for cell in cells:
        columns.setdefault(cell.window_gev, []).append(cell)
    bounds = _column_bounds(sorted(columns))
    for window, column in columns.items():
        left, right = bounds[window]
        for cell, (bottom, top) in _row_bounds(column):
            shape = Rectangle(
                (left, bottom),
                right - left,
                top - bottom,
                facecolor=colour_map(scale(max(0.0, cell.local_z))) if cell.believable else "none",
                edgecolor=colours.muted if not cell.believable else colours.paper,
                hatch=None if cell.believable else "////",
                linewidth=0.5 if cell.believable else 0.0,
            )
            panel.add_patch(shape)
    efficiencies = [cell.efficiency for cell in cells]
    panel.set_xlim(min(left for left, _ in bounds.values()), max(r for _, r in bounds.values()))
    panel.set_yscale("log")
    panel.set_ylim(min(efficiencies) / 1.9, max(efficiencies) * 1.9)
    coarse = sorted({cell.efficiency for cell in cells if cell.stage == "coarse"})
    panel.yaxis.set_major_locator(FixedLocator(coarse))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_ylabel("Events kept by the cut")


def _column_bounds(
    windows: list[tuple[float, float]],
) -> dict[tuple[float, float], tuple[float, float]]:
    centres = [math.sqrt(low * high) / 1000 for low, high in windows]
    if len(centres) == 1:
        (low, high) = windows[0]
        return {windows[0]: (low / 1000, high / 1000)}
    middles = [math.sqrt(a * b) for a, b in itertools.pairwise(centres)]
    edges = [centres[0] ** 2 / middles[0], *middles, centres[-1] ** 2 / middles[-1]]
    return {window: (edges[i], edges[i + 1]) for i, window in enumerate(windows)}


def _row_bounds(column: list[Cell]) -> list[tuple[Cell, tuple[float, float]]]:
    ordered = sorted({cell.efficiency: cell for cell in column}.values(), key=_efficiency)
    values = [cell.efficiency for cell in ordered]
    middles = [math.sqrt(a * b) for a, b in itertools.pairwise(values)]
    low = values[0] / 1.8 if not middles else max(values[0] / 1.8, values[0] ** 2 / middles[0])
    high = values[-1] * 1.8 if not middles else min(values[-1] * 1.8, values[-1] ** 2 / middles[-1])
    edges = [low, *middles, high]
    return [(cell, (edges[i], edges[i + 1])) for i, cell in enumerate(ordered)]


def _efficiency(cell: Cell) -> float:
    return cell.efficiency


def _mark(panel: Axes, best: Cell, cells: list[Cell], colours: Palette) -> None:
    windows = sorted({cell.window_gev for cell in cells})
    left, right = _column_bounds(windows)[best.window_gev]
    x = math.sqrt(left * right)
    panel.plot(
        [x],
        [best.efficiency],
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=colours.bump,
        markeredgewidth=2.2,
        clip_on=False,
    )
    to_the_left = x > sum(panel.get_xlim()) / 2
    panel.annotate(
        f"z = {best.local_z:.1f}",
        (x, best.efficiency),
        xytext=(-12 if to_the_left else 12, 10),
        textcoords="offset points",
        ha="right" if to_the_left else "left",
        color=colours.bump,
        fontweight="bold",
        bbox={"facecolor": colours.paper, "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )
