"""Figures of a grid: all spectra at all cuts, the leading one in mass, the course of the tests."""

from __future__ import annotations

import math
from itertools import pairwise

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from bumpscout_tools.plots.spectrum import garwood
from bumpscout_tools.plots.style import Palette, Theme, new_figure, plain, styled
from bumpscout_tools.scan.outcome import Cell, CellSpectrum, GridMap, ScanOutcome

__all__ = [
    "HINT_Z",
    "grid_course_figure",
    "grid_map_figure",
    "grid_overview_figure",
    "grid_spectra_figure",
]

FloatArray = npt.NDArray[np.float64]
Row = tuple[int, str]

HINT_Z = 3.0
"""Local z from which on a cell is marked as a hint."""
MAX_PANELS = 6
_FULL_SCALE_Z = 5.0
_ROW_INCH = 0.165
_SMALLEST_SHOWN_P = 1e-60


def grid_overview_figure(outcome: ScanOutcome, *, theme: Theme = "light") -> Figure:
    """Draw the largest local z of every spectrum (rows) at every working point (columns).

    Cells that no model describes are grey, cells without enough events are left blank; dots mark
    hints, and a ring the largest of all.

    Args:
        outcome: of a grid.
        theme: palette.
    """
    rows = list(dict.fromkeys((one.detector_index, one.spectrum) for one in outcome.grid))
    points = sorted({cell.efficiency for cell in outcome.cells}, reverse=True)
    row_of, column_of = ({x: i for i, x in enumerate(axis)} for axis in (rows, points))
    z, doubted = np.full((len(rows), len(points)), np.nan), np.zeros((len(rows), len(points)))
    for cell in outcome.cells:
        at = row_of[_row(cell)], column_of[cell.efficiency]
        z[at] = max(0.0, cell.local_z) if cell.believable else np.nan
        doubted[at] = not cell.believable
    several = len({detector for detector, _ in rows}) > 1
    with styled(theme) as colours:
        figure = new_figure(7.6, 1.5 + _ROW_INCH * max(len(rows), 6))
        panel = figure.add_subplot()
        edges = _edges(points, outcome)
        scale, heat = _scale(z), matplotlib.colormaps[colours.heat]
        _mesh(panel, edges, np.arange(len(rows) + 1.0), z, scale, heat)
        _doubted(panel, edges, np.arange(len(rows) + 1.0), doubted, colours)
        hints = [c for c in outcome.cells if c.believable and c.local_z >= HINT_Z]
        panel.plot(
            [_position(cell.efficiency, outcome) for cell in hints],
            [row_of[_row(cell)] + 0.5 for cell in hints],
            ".",
            color=colours.bump,
            markersize=2.5,
        )
        panel.set_ylim(len(rows), 0)
        _cut_axis(panel, edges, outcome)
        best = outcome.best()
        if best is not None:
            x, y = _position(best.efficiency, outcome), row_of[_row(best)] + 0.5
            _ring(panel, x, y, f"z = {best.local_z:.1f}", colours)
        panel.set_yticks(
            np.arange(len(rows)) + 0.5,
            [plain(f"{d}: {name}" if several else name, 32) for d, name in rows],
            fontsize=6.5 if len(rows) > 20 else 9,
            parse_math=False,
        )
        panel.yaxis.set_minor_locator(NullLocator())
        panel.tick_params(axis="y", which="both", length=0, right=False)
        _bar(figure, panel, scale, heat, "largest local z (raw Poisson)")
    return figure


def grid_map_figure(outcome: ScanOutcome, found: GridMap, *, theme: Theme = "light") -> Figure:
    """Draw local z over mass and working point for one spectrum.

    Each bin shows the most significant interval that holds it; lines enclose hints, and a ring
    marks the largest excess of the grid if it lies in this spectrum.

    Args:
        outcome: of a grid.
        found: the map of the spectrum.
        theme: palette.
    """
    mass = np.array(found.edges_gev) / 1000
    z = np.maximum(np.array(found.z), 0.0)
    points = list(found.efficiencies)
    with styled(theme) as colours:
        figure = new_figure(7.6, 4.6)
        panel = figure.add_subplot()
        scale, heat = _scale(z), matplotlib.colormaps[colours.heat]
        edges = _edges(points, outcome)
        _mesh(panel, mass, edges, z, scale, heat)
        if z.max(initial=0.0) >= HINT_Z and min(z.shape) > 1:
            panel.contour(
                np.sqrt(mass[1:] * mass[:-1]),
                [_position(point, outcome) for point in points],
                z,
                levels=[HINT_Z],
                colors=colours.bump,
                linewidths=1.0,
            )
        panel.set_title(plain(found.spectrum), loc="left", fontsize="small", parse_math=False)
        panel.set_xlim(mass[0], mass[-1])
        panel.set_yscale("log")
        panel.set_ylim(edges[-1], edges[0])
        best = outcome.best()
        if best is not None and _row(best) == (found.detector_index, found.spectrum):
            x = math.sqrt(best.interval_gev[0] * best.interval_gev[1]) / 1000
            y = _position(best.efficiency, outcome)
            _ring(panel, x, y, f"z = {best.local_z:.1f}", colours)
        panel.set_xlabel("Mass [TeV]")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.set_ylabel(_cut_label(outcome))
        panel.yaxis.set_major_formatter(FuncFormatter(_cut_text(outcome)))
        _bar(figure, panel, scale, heat, "local z (raw Poisson)")
    return figure


def grid_course_figure(outcome: ScanOutcome, *, theme: Theme = "light") -> Figure:
    """Draw the smallest local p so far over the tests in their order, and what became of them.

    Args:
        outcome: of a grid with at least one test.
        theme: palette.
    """
    cells = outcome.cells
    p = np.array([cell.local_p for cell in cells])
    good = np.array([cell.believable for cell in cells])
    number = np.arange(1, len(cells) + 1)
    best = np.minimum.accumulate(np.where(good, p, 1.0))
    with styled(theme) as colours:
        figure = new_figure(8.4, 3.9)
        left, right = figure.subplots(1, 2, width_ratios=[3, 1.1])
        left.plot(
            number[good],
            p[good],
            ".",
            color=colours.fit,
            markersize=1.5 if len(cells) > 500 else 4,
            alpha=0.6,
            rasterized=True,
            label="tests",
        )
        left.step(number, best, where="post", color=colours.bump, label="smallest so far")
        left.set_yscale("log")
        left.set_ylim(max(_SMALLEST_SHOWN_P, float(best.min()) / 30), 3)
        left.set_xlim(0, len(cells) + 1)
        left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        left.set_xlabel("Test, in the order made")
        left.set_ylabel("local p")
        left.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=2,
            labelcolor=colours.ink,
            fontsize="x-small",
            markerscale=4 if len(cells) > 500 else 1,
        )
        kinds = {
            "believed": int(good.sum()),
            "not\nbelieved": len(cells) - int(good.sum()),
            "hints": sum(c.believable and c.local_z >= HINT_Z for c in cells),
        }
        bars = right.barh(
            list(kinds), list(kinds.values()), color=colours.fill, edgecolor=colours.fit
        )
        right.bar_label(bars, padding=3, color=colours.ink, fontsize="small")
        right.set_xlim(0, 1.45 * max(kinds.values()))
        right.invert_yaxis()
        right.tick_params(axis="y", which="both", length=0, labelsize="x-small")
        right.yaxis.set_minor_locator(NullLocator())
        right.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=2))
        right.set_xlabel("Tests")
    return figure


def grid_spectra_figure(outcome: ScanOutcome, *, theme: Theme = "light") -> Figure:
    """Draw the most significant spectra at their best cuts with their fits, six at most.

    Args:
        outcome: of a grid with at least one spectrum kept.
        theme: palette.
    """
    cells = {cell.test_id: cell for cell in outcome.cells}
    shown = [(cells[s.test_id], s) for s in outcome.spectra if s.test_id in cells][:MAX_PANELS]
    columns = 2 if len(shown) > 1 else 1
    lines = -(-len(shown) // columns)
    with styled(theme) as colours:
        figure = new_figure(8.4, 0.3 + 2.75 * max(1, lines))
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, (cell, spectrum) in zip(panels, shown, strict=False):
            _spectrum(panel, cell, spectrum, outcome, colours)
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        for panel in panels[max(0, len(shown) - columns) : len(shown)]:
            panel.set_xlabel("Mass [TeV]", fontsize="small")
    return figure


def _spectrum(
    panel: Axes, cell: Cell, spectrum: CellSpectrum, outcome: ScanOutcome, colours: Palette
) -> None:
    edges = np.array(spectrum.edges_gev) / 1000
    observed = np.array(spectrum.observed, dtype=np.int64)
    expected = np.array(spectrum.expected)
    low, high = garwood(observed)
    shown = observed > 0
    centres = (edges[1:] + edges[:-1]) / 2
    panel.axvspan(
        cell.interval_gev[0] / 1000, cell.interval_gev[1] / 1000, color=colours.bump, alpha=0.22
    )
    panel.stairs(expected, edges, color=colours.fit, linewidth=1.4)
    panel.errorbar(
        centres[shown],
        observed[shown],
        yerr=np.stack([(observed - low)[shown], (high - observed)[shown]]),
        fmt="o",
        markersize=2,
        elinewidth=0.7,
        color=colours.ink,
    )
    panel.set_yscale("log")
    panel.set_ylim(0.3, 6.0 * max(1.0, float(observed.max(initial=1))))
    last = edges[1:][shown].max(initial=edges[1])
    panel.set_xlim(edges[0], max(last, cell.interval_gev[1] / 1000) * 1.03)
    panel.tick_params(labelsize="x-small")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    cut = _cut_text(outcome)(_position(cell.efficiency, outcome), 0)
    cut += "" if outcome.all_events_pb is None else " pb"
    panel.set_title(
        f"{plain(cell.spectrum, 28)}, {cut}: z = {cell.local_z:.1f}, p{cell.order}",
        loc="left",
        fontsize="x-small",
        parse_math=False,
    )


def _row(cell: Cell) -> Row:
    return cell.detector_index, cell.spectrum


def _position(efficiency: float, outcome: ScanOutcome) -> float:
    """Return where a working point lies on its axis: in pb where the luminosity is known."""
    return efficiency * (outcome.all_events_pb or 1.0)


def _edges(points: list[float], outcome: ScanOutcome) -> FloatArray:
    """Return the edges (n + 1,) between falling working points on their axis."""
    x = [_position(point, outcome) for point in points]
    if len(x) == 1:
        return np.array([x[0] * 1.3, x[0] / 1.3])
    middles = [math.sqrt(a * b) for a, b in pairwise(x)]
    return np.array([x[0] ** 2 / middles[0], *middles, x[-1] ** 2 / middles[-1]])


def _scale(z: FloatArray) -> Normalize:
    highest = float(np.nanmax(z)) if np.isfinite(z).any() else 0.0
    return Normalize(0.0, max(_FULL_SCALE_Z, highest))


def _mesh(
    panel: Axes, x: FloatArray, y: FloatArray, z: FloatArray, scale: Normalize, heat: Colormap
) -> None:
    values = np.ma.masked_invalid(z)
    panel.pcolormesh(x, y, values, cmap=heat, norm=scale, rasterized=True, shading="flat")


def _doubted(
    panel: Axes, x: FloatArray, y: FloatArray, doubted: FloatArray, colours: Palette
) -> None:
    values = np.ma.masked_equal(doubted, 0.0)
    grey = matplotlib.colors.ListedColormap([colours.muted])
    panel.pcolormesh(x, y, values, cmap=grey, rasterized=True, shading="flat")


def _cut_label(outcome: ScanOutcome) -> str:
    if outcome.all_events_pb is None:
        return "Events kept by the cut"
    return "Visible cross section kept by the cut [pb]"


def _cut_text(outcome: ScanOutcome) -> FuncFormatter:
    if outcome.all_events_pb is None:
        return FuncFormatter(lambda value, _: f"{100 * value:.3g}%")
    return FuncFormatter(lambda value, _: f"{value:.3g}")


def _cut_axis(panel: Axes, edges: FloatArray, outcome: ScanOutcome) -> None:
    panel.set_xscale("log")
    panel.set_xlim(edges[0], edges[-1])
    panel.set_xlabel(_cut_label(outcome))
    panel.xaxis.set_major_formatter(_cut_text(outcome))


def _ring(panel: Axes, x: float, y: float, words: str, colours: Palette) -> None:
    panel.plot(
        [x],
        [y],
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=colours.bump,
        markeredgewidth=2.0,
        clip_on=False,
    )
    to_the_left = panel.transAxes.inverted().transform(panel.transData.transform((x, y)))[0] > 0.6
    panel.annotate(
        words,
        (x, y),
        xytext=(-12 if to_the_left else 12, 9),
        textcoords="offset points",
        ha="right" if to_the_left else "left",
        color=colours.bump,
        fontweight="bold",
        fontsize="small",
        bbox={"facecolor": colours.paper, "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )


def _bar(figure: Figure, panel: Axes, scale: Normalize, heat: Colormap, label: str) -> None:
    bar = figure.colorbar(ScalarMappable(norm=scale, cmap=heat), ax=panel, pad=0.015, aspect=30)
    bar.set_label(label)
    bar.ax.minorticks_off()
