"""Upper limits with expected bands, and local p against mass, for signals of several widths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.special import ndtr

from bumpscout_tools.inference.limits import PeakLimits
from bumpscout_tools.inference.peaks import PeakGrid
from bumpscout_tools.plots.style import Palette, Theme, new_figure, styled

__all__ = ["draw_expected", "limits_figure", "scan_figure"]

FloatArray = npt.NDArray[np.float64]

_BANDS_OF_THEME: dict[Theme, tuple[str, str]] = {
    "light": ("#57b26a", "#f4d35e"),
    "dark": ("#2f8f4e", "#a98f1d"),
}
_DASHES = ("solid", (0, (6, 2)), (0, (4, 1.5, 1, 1.5)), (0, (1.2, 1.2)))
_LEAST_P = 1e-300


def limits_figure(
    limits: PeakLimits,
    *,
    pb_per_event: float | None = None,
    excluded_gev: Sequence[tuple[float, float]] = (),
    theme: Theme = "light",
) -> Figure:
    """Draw observed and expected limits against mass, one panel a width.

    Args:
        limits: of one spectrum.
        pb_per_event: turns events into pb; None draws events.
        excluded_gev: ranges that were left out, GeV, shaded.
        theme: palette.

    Returns:
        A figure with one or two columns of panels that share their axes.
    """
    widths = np.unique(limits.peaks.width)
    columns = 1 if widths.size == 1 else 2
    rows = -(-widths.size // columns)
    scale = 1.0 if pb_per_event is None else pb_per_event
    with styled(theme) as colours:
        figure = new_figure(7.2 if columns == 1 else 8.6, 1.0 + 3.4 * rows)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        flat = list(panels.ravel())
        for panel, width in zip(flat, widths, strict=False):
            for number, shown in enumerate(_stretches(limits.peaks, float(width), excluded_gev)):
                _limit_panel(panel, limits, shown, scale, theme, colours, labelled=number == 0)
            _shade(panel, excluded_gev, colours)
            panel.set_title(_name(float(width)), loc="left", fontsize="small")
        for panel in flat[widths.size :]:
            panel.set_axis_off()
        _mass_axis(flat[0], limits.peaks.mass_gev)
        for panel in panels[-1]:
            panel.set_xlabel("Signal mass [TeV]")
        if rows > 1 and widths.size % columns:
            panels[-2, -1].set_xlabel("Signal mass [TeV]")
            panels[-2, -1].tick_params(labelbottom=True)
        unit = "signal [events]" if pb_per_event is None else r"$\sigma$ [pb]"
        for row in panels:
            row[0].set_ylabel(f"{100 * limits.level:g}% CL limit on {unit}")
        handles, labels = flat[0].get_legend_handles_labels()
        flat[0].legend(handles, labels, loc="upper right", labelcolor=colours.ink)
    return figure


def _limit_panel(
    panel: Axes,
    limits: PeakLimits,
    shown: npt.NDArray[np.int64],
    scale: float,
    theme: Theme,
    colours: Palette,
    *,
    labelled: bool,
) -> None:
    def label(text: str) -> str | None:
        return text if labelled else None

    mass = limits.peaks.mass_gev[shown] / 1000
    bands = limits.expected[shown] * scale
    panel.plot(
        mass,
        limits.observed[shown] * scale,
        color=colours.ink,
        marker="o",
        markersize=2.5,
        linewidth=1.0,
        label=label("observed"),
        zorder=4,
    )
    draw_expected(panel, mass, bands, label, theme, colours)
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(numticks=8))
    panel.yaxis.set_minor_formatter(NullFormatter())


def draw_expected(
    panel: Axes,
    mass: FloatArray,
    bands: FloatArray,
    label: Callable[[str], str | None],
    theme: Theme,
    colours: Palette,
) -> None:
    """Draw the median expected limit with its bands of one and two standard deviations.

    Args:
        panel: where to.
        mass: (m,) TeV.
        bands: (m, 5) limits at -2, -1, 0, 1, 2 standard deviations.
        label: makes the label in the legend, None for none.
        theme: palette.
        colours: its colours.
    """
    panel.plot(
        mass,
        bands[:, 2],
        color=colours.ink,
        linestyle=(0, (4, 2)),
        linewidth=1.2,
        label=label("expected"),
        zorder=3,
    )
    inner, outer = _BANDS_OF_THEME[theme]
    for low, high, tone, text, order in (
        (1, 3, inner, r"$\pm 1\sigma$", 2),
        (0, 4, outer, r"$\pm 2\sigma$", 1),
    ):
        panel.fill_between(
            mass,
            bands[:, low],
            bands[:, high],
            color=tone,
            linewidth=0,
            label=label(text),
            zorder=order,
        )


def scan_figure(
    peaks: PeakGrid,
    local_z: FloatArray,
    *,
    note: str = "",
    excluded_gev: Sequence[tuple[float, float]] = (),
    theme: Theme = "light",
) -> Figure:
    """Draw the local p of each signal against its mass, one line a width.

    Args:
        peaks: the hypotheses.
        local_z: (h,) signed significances; below 0 p is 1/2 and more.
        note: title.
        excluded_gev: ranges that were left out, GeV, shaded.
        theme: palette.

    Returns:
        A figure of one panel; lines at whole standard deviations.
    """
    p = np.maximum(ndtr(-local_z), _LEAST_P)
    widths = np.unique(peaks.width)
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.2)
        panel = figure.add_subplot()
        tones = (colours.fit, colours.bump, colours.ink, colours.muted)
        for number, width in enumerate(widths):
            for part, shown in enumerate(_stretches(peaks, float(width), excluded_gev)):
                panel.plot(
                    peaks.mass_gev[shown] / 1000,
                    p[shown],
                    color=tones[number % len(tones)],
                    linestyle=_DASHES[number % len(_DASHES)],
                    label=_name(float(width)) if part == 0 else None,
                )
        panel.set_yscale("log")
        # Room for the legend below the lines, in the units that the lines themselves take.
        top, least = math.log10(1.5), math.log10(float(p.min(initial=1e-3)))
        rows = -(-(widths.size + bool(excluded_gev)) // 2)
        panel.set_ylim(10 ** (least - (top - least) * 0.12 * (rows + 0.5)), 1.5)
        bottom = panel.get_ylim()[0]
        for sigma in range(1, 38):
            level = float(ndtr(-sigma))
            if level <= bottom:
                break
            panel.axhline(level, color=colours.muted, linewidth=0.7, linestyle=":", zorder=0)
            panel.annotate(
                rf"{sigma}$\sigma$",
                (1.0, level),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize="x-small",
                color=colours.muted,
            )
        _shade(panel, excluded_gev, colours)
        _mass_axis(panel, peaks.mass_gev)
        panel.set_xlabel("Signal mass [TeV]")
        panel.set_ylabel("Local p")
        panel.set_title(note, loc="left", fontsize="small", color=colours.ink)
        panel.legend(loc="lower left", ncols=2, labelcolor=colours.ink)
    return figure


def _stretches(
    peaks: PeakGrid, width: float, excluded_gev: Sequence[tuple[float, float]]
) -> list[npt.NDArray[np.int64]]:
    """Return the peaks of one width by mass, cut where excluded bins left masses out."""
    shown = np.flatnonzero(peaks.width == width)
    shown = shown[np.argsort(peaks.mass_gev[shown])]
    mass = peaks.mass_gev[shown]
    if mass.size < 3:
        return [shown]
    steps = np.diff(np.log(mass))
    usual = float(np.median(steps))
    cuts = [
        at + 1
        for at, step in enumerate(steps)
        if step > 1.5 * usual
        and any(low < mass[at + 1] and high > mass[at] for low, high in excluded_gev)
    ]
    return np.split(shown, cuts)


def _shade(panel: Axes, ranges: Sequence[tuple[float, float]], colours: Palette) -> None:
    for number, (low, high) in enumerate(ranges):
        panel.axvspan(
            low / 1000,
            high / 1000,
            color=colours.fill,
            alpha=0.35,
            linewidth=0,
            zorder=0,
            label="excluded" if number == 0 else None,
        )


def _name(width: float) -> str:
    return "width: resolution" if width == 0 else f"width: {100 * width:g}%"


def _mass_axis(panel: Axes, mass_gev: FloatArray) -> None:
    low, high = float(mass_gev.min()) / 1000, float(mass_gev.max()) / 1000
    margin = 0.02 * high if low == high else 0.0
    panel.set_xlim(low - margin, high + margin)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
