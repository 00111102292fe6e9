"""Limits of a scan against mass: one panel a working point, narrow signals with their bands.

Of a grid the first spectra are drawn, each behind its loosest and its tightest cut.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bumpscout_tools.plots.limits import draw_expected
from bumpscout_tools.plots.style import Palette, Theme, new_figure, styled
from bumpscout_tools.scan.limits_scan import PointLimits, ScanLimits
from bumpscout_tools.scan.limits_spectrum import LimitRow

__all__ = ["scan_limits_figure"]

FloatArray = npt.NDArray[np.float64]

_MAX_PANELS = 12
_TOP = "Visible limits: signal events that pass the cut"


def scan_limits_figure(limits: ScanLimits, *, theme: Theme = "light") -> Figure:
    """Draw observed and expected limits against mass, one panel a working point.

    The first width carries the bands, the others are lines of their observed limits. Masses at
    which the fit cannot be believed are gaps, marked below.
    """
    points = _shown(limits)
    columns = min(3, len(points))
    rows = -(-len(points) // columns)
    scale = 1.0 if limits.pb_per_event is None else limits.pb_per_event
    with styled(theme) as colours:
        figure = new_figure(3.2 * columns + 0.8, 2.7 * rows + 1.1)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        flat = list(panels.ravel())
        for panel, point in zip(flat, points, strict=False):
            _panel(panel, point, limits.widths, scale, theme, colours)
        for panel in flat[len(points) :]:
            panel.set_axis_off()
        _share_axes(flat[0], points, limits)
        for index in range(len(points)):
            if index + columns >= len(points):
                flat[index].tick_params(labelbottom=True)
                flat[index].set_xlabel("Signal mass [TeV]")
        handles, labels = _legend(flat[: len(points)])
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=min(4, len(labels)),
            labelcolor=colours.ink,
            fontsize="x-small",
            title=f"{_TOP}, {100 * limits.level:g}% CL",
            title_fontsize="small",
        )
        unit = "events" if limits.pb_per_event is None else "visible cross section [pb]"
        figure.supylabel(f"Limit [{unit}]" if unit == "events" else f"Limit on {unit}", fontsize=9)
    return figure


def _shown(limits: ScanLimits) -> tuple[PointLimits, ...]:
    """Return the points that are drawn: all, or the ends of each spectrum of a grid."""
    of: dict[tuple[int | None, str | None], list[PointLimits]] = {}
    for point in limits.points:
        if point.spectrum is not None:
            of.setdefault((point.detector_index, point.spectrum), []).append(point)
    ends = tuple(
        point
        for points in of.values()
        for point in (points if len(points) < 2 else points[:: len(points) - 1])
    )
    return (ends or limits.points)[:_MAX_PANELS]


def _legend(panels: list[Axes]) -> tuple[list[Artist], list[str]]:
    found: dict[str, Artist] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _share_axes(panel: Axes, points: tuple[PointLimits, ...], limits: ScanLimits) -> None:
    masses = [row.mass_gev for point in points for row in point.rows(limits.widths[0])]
    if masses:
        panel.set_xlim(min(masses) / 1000 * 0.99, max(masses) / 1000 * 1.01)
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(numticks=8))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _panel(
    panel: Axes,
    point: PointLimits,
    widths: tuple[float, ...],
    scale: float,
    theme: Theme,
    colours: Palette,
) -> None:
    tones = (colours.ink, colours.fit, colours.bump, colours.muted)
    for number, width in enumerate(widths):
        rows = point.rows(width)
        mass = np.array([row.mass_gev for row in rows]) / 1000
        observed = np.array([np.nan if row.observed is None else row.observed for row in rows])
        narrow = number == 0
        panel.plot(
            mass,
            observed * scale,
            color=tones[number % len(tones)],
            marker="o" if narrow else None,
            markersize=2.0,
            linewidth=1.0 if narrow else 0.8,
            linestyle="solid" if narrow else (0, (1.5 + 2 * number, 1.5)),
            label=f"observed, {_name(width)}",
            zorder=4,
        )
        if narrow:
            bands = _bands(rows) * scale
            draw_expected(panel, mass, bands, partial(_narrow_label, width), theme, colours)
            doubtful = np.isnan(observed)
            if doubtful.any():
                panel.plot(
                    mass[doubtful],
                    np.full(int(doubtful.sum()), 0.02),
                    linestyle="none",
                    marker="x",
                    markersize=3.5,
                    color=colours.bump,
                    transform=panel.get_xaxis_transform(),
                    label="no limit: fit not believable",
                )
    kept = "all events" if point.detector is None else f"{100 * point.efficiency:.3g}% kept"
    if point.spectrum is not None:
        kept = f"{point.spectrum}: {kept}"
    if point.cross_section_pb is not None:
        kept += f" ({point.cross_section_pb:.2g} pb)"
    panel.set_title(kept, loc="left", fontsize="small")


def _narrow_label(width: float, text: str) -> str:
    return f"expected, {_name(width)}" if text == "expected" else text


def _bands(rows: list[LimitRow]) -> FloatArray:
    none = (np.nan,) * 5
    return np.array([row.expected or none for row in rows]).reshape(-1, 5)


def _name(width: float) -> str:
    return "width: resolution" if width == 0 else f"{100 * width:g}%"
