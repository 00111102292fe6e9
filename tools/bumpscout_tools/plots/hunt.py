"""Figures of a hunt on one spectrum: its tomography, and local p against mass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.special import ndtr

from bumpscout_tools.plots.style import Palette, Theme, new_figure, styled

__all__ = ["local_p_figure", "tomography_figure"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_LEAST_P = 1e-300
_MOST_WINDOWS = 5000


def tomography_figure(
    edges_gev: FloatArray,
    starts: IntArray,
    stops: IntArray,
    z: FloatArray,
    *,
    note: str = "",
    theme: Theme = "light",
) -> Figure:
    """Draw the local p of every window as a line over the masses that it spans.

    Args:
        edges_gev: (b + 1,) GeV.
        starts: (w,) first bin of each window.
        stops: (w,) end of each window, exclusive.
        z: (w,) local significance; windows without an excess are left out, and of very many all
            but the 5000 most significant.
        note: title.
        theme: palette.

    Returns:
        A figure of one panel.
    """
    edges = np.asarray(edges_gev) / 1000
    shown = np.argsort(z, kind="stable")[-_MOST_WINDOWS:]
    shown = shown[z[shown] > 0]
    p = np.maximum(ndtr(-z), _LEAST_P)
    best = int(np.argmax(z)) if z.size else -1
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.4)
        panel = figure.add_subplot()
        segments = [[(edges[starts[w]], p[w]), (edges[stops[w]], p[w])] for w in shown]
        panel.add_collection(
            LineCollection(segments, colors=colours.fit, linewidths=0.8, alpha=0.35)
        )
        if shown.size:
            panel.plot(
                [edges[starts[best]], edges[stops[best]]],
                [p[best], p[best]],
                color=colours.bump,
                linewidth=2.6,
                label="most significant window",
            )
            panel.legend(loc="lower left", labelcolor=colours.ink)
        _p_axis(panel, float(p[shown].min(initial=0.05)), colours)
        _mass_axis(panel, edges)
        panel.set_title(note, loc="left", fontsize="small", color=colours.ink)
    return figure


def local_p_figure(
    mass_gev: FloatArray,
    local_z: FloatArray,
    *,
    global_note: str = "",
    label: str = "observed",
    theme: Theme = "light",
) -> Figure:
    """Draw the local p of a signal hypothesis against its mass.

    Args:
        mass_gev: (m,) GeV.
        local_z: (m,) signed significances; below 0 p is 1/2 and more.
        global_note: title.
        label: of the curve.
        theme: palette.

    Returns:
        A figure of one panel.
    """
    mass = np.asarray(mass_gev) / 1000
    p = np.maximum(ndtr(-np.asarray(local_z)), _LEAST_P)
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.0)
        panel = figure.add_subplot()
        panel.plot(mass, p, color=colours.fit, label=label)
        _p_axis(panel, float(p.min(initial=0.05)), colours)
        _mass_axis(panel, mass)
        panel.set_title(global_note, loc="left", fontsize="small", color=colours.ink)
        panel.legend(loc="lower left", labelcolor=colours.ink)
    return figure


def _mass_axis(panel: Axes, edges: FloatArray) -> None:
    panel.set_xlim(float(edges[0]), float(edges[-1]))
    panel.set_xlabel("Mass [TeV]")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _p_axis(panel: Axes, least: float, colours: Palette) -> None:
    panel.set_yscale("log")
    panel.set_ylim(min(least / 30, 1e-3), 1.5)
    panel.set_ylabel("Local p")
    bottom = panel.get_ylim()[0]
    for sigma in range(1, 38):
        level = float(ndtr(-sigma))
        if level <= bottom:
            break
        panel.axhline(level, color=colours.muted, linewidth=0.7, linestyle=":")
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
