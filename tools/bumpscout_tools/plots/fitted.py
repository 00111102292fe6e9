"""A spectrum with its background, pulls, the most significant interval, and what was left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullFormatter

from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.plots.spectrum import garwood, signed_pulls
from bumpscout_tools.plots.style import Palette, Theme, new_figure, styled

__all__ = ["fitted_figure"]

FloatArray = npt.NDArray[np.float64]

_FLOOR = 0.3
_LINEAR_UP_TO = 30.0
_MANY_BINS = 250
_MAX_PULL = 12.0


def fitted_figure(
    spectrum: Spectrum,
    expected: FloatArray,
    *,
    interval_gev: tuple[float, float] | None = None,
    note: str = "",
    fit_label: str = "fit",
    interval_label: str = "largest excess",
    theme: Theme = "light",
) -> Figure:
    """Draw a spectrum with its background, pulls and the most significant interval.

    Excluded bins are hollow and grey, with the background interpolated (dashed) and without pulls.
    Weighted events carry the errors of their weights, counts central 68.3% intervals.

    Args:
        spectrum: what was fitted.
        expected: (b,) events in all bins.
        interval_gev: to be marked, GeV, or None.
        note: title.
        fit_label: what the background is.
        interval_label: what the interval is.
        theme: palette.

    Returns:
        A figure of two panels.
    """
    edges = spectrum.edges / 1000
    mu = np.maximum(np.asarray(expected, dtype=np.float64), 0.0)
    out = np.zeros(spectrum.n_bins, dtype=np.bool_)
    if spectrum.excluded is not None:
        out = spectrum.excluded
    with styled(theme) as colours:
        figure = new_figure(7.2, 5.4)
        grid = figure.add_gridspec(2, 1, height_ratios=[3, 1], hspace=0.02)
        top = figure.add_subplot(grid[0])
        low = figure.add_subplot(grid[1], sharex=top)
        for panel in (top, low):
            for number, (first, last) in enumerate(spectrum.excluded_ranges()):
                panel.axvspan(
                    first / 1000,
                    last / 1000,
                    color=colours.fill,
                    alpha=0.35,
                    linewidth=0,
                    label="excluded" if panel is top and number == 0 else None,
                )
            if interval_gev is not None:
                panel.axvspan(
                    interval_gev[0] / 1000,
                    interval_gev[1] / 1000,
                    color=colours.bump,
                    alpha=0.22,
                    linewidth=0,
                    label=interval_label if panel is top else None,
                )
        _points(top, spectrum, out, colours)
        _background(top, edges, mu, out, colours, fit_label)
        _scale(top, spectrum.observed, mu)
        _pulls(low, spectrum, mu, out, interval_gev, colours)
        top.set_title(note, loc="left", fontsize="small", color=colours.ink, linespacing=1.35)
        top.set_xlim(edges[0], edges[-1])
        top.set_ylabel("Weighted events / bin" if spectrum.weighted else "Events / bin")
        top.tick_params(labelbottom=False)
        low.set_xlabel("Mass [TeV]")
        low.set_ylabel("Pull", loc="center")
        handles, labels = top.get_legend_handles_labels()
        # Data first, ranges last, as it is read.
        order = sorted(range(len(labels)), key=lambda at: _place(labels[at], fit_label))
        top.legend(
            [handles[at] for at in order],
            [labels[at] for at in order],
            loc="upper right",
            labelcolor=colours.ink,
        ).set_zorder(10)
        figure.align_ylabels((top, low))
    return figure


def _place(label: str, fit_label: str) -> int:
    return {"data": 0, "data, excluded": 1, fit_label: 2, "excluded": 4}.get(label, 3)


def _points(panel: Axes, spectrum: Spectrum, out: npt.NDArray[np.bool_], colours: Palette) -> None:
    edges, n = spectrum.edges / 1000, spectrum.observed
    if spectrum.variances is None:
        low, high = garwood(n.astype(np.int64))
        below, above = n - low, high - n
    else:
        below = above = np.sqrt(spectrum.variances)
    centre, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges)
    many = spectrum.n_bins > _MANY_BINS
    for kind, label in ((~out, "data"), (out, "data, excluded")):
        # Empty bins have an upper end that says how little is known there.
        at = kind & (n > 0)
        if not kind.any():
            continue
        panel.errorbar(
            centre[at],
            n[at],
            yerr=np.stack([below[at], above[at]]),
            xerr=None if many else half[at],
            fmt="o",
            color=colours.ink if label == "data" else colours.muted,
            markerfacecolor=colours.ink if label == "data" else colours.paper,
            markersize=2.2 if many else 4.0,
            elinewidth=0.6 if many else 1.0,
            label=label,
            zorder=3,
        )


def _background(
    panel: Axes,
    edges: FloatArray,
    mu: FloatArray,
    out: npt.NDArray[np.bool_],
    colours: Palette,
    label: str,
) -> None:
    for shown, style, name in ((~out, "solid", label), (out, (0, (3, 2)), None)):
        if shown.any():
            panel.stairs(
                np.where(shown, mu, np.nan),
                edges,
                baseline=None,
                color=colours.fit,
                linestyle=style,
                linewidth=1.7,
                label=name,
                zorder=4,
            )


def _scale(panel: Axes, observed: FloatArray, mu: FloatArray) -> None:
    top = float(max(observed.max(initial=1.0), mu.max(initial=1.0)))
    filled = observed[observed > 0]
    least = min(float(mu.min(initial=top)), float(filled.min(initial=top)))
    floor = max(_FLOOR, 0.5 * least) if least >= _FLOOR else _FLOOR
    if top > _LINEAR_UP_TO * floor:
        panel.set_yscale("log")
        panel.set_ylim(floor, 4 * top * (top / floor) ** 0.08)
    else:
        panel.set_ylim(0, 1.3 * (top + np.sqrt(top) + 1.5))


def _pulls(
    panel: Axes,
    spectrum: Spectrum,
    mu: FloatArray,
    out: npt.NDArray[np.bool_],
    interval_gev: tuple[float, float] | None,
    colours: Palette,
) -> None:
    edges, scale = spectrum.edges / 1000, spectrum.scales()
    counts = np.round(spectrum.observed / scale).astype(np.int64)
    pulls = np.where(out, 0.0, signed_pulls(counts, np.maximum(mu / scale, 1e-9)))
    centre = 0.5 * (spectrum.edges[1:] + spectrum.edges[:-1])
    hot = np.zeros(spectrum.n_bins, dtype=np.bool_)
    if interval_gev is not None:
        hot = (centre > interval_gev[0]) & (centre < interval_gev[1])
    panel.bar(
        edges[:-1],
        pulls,
        width=np.diff(edges),
        align="edge",
        color=[colours.bump if one else colours.fit for one in hot],
        alpha=0.85,
        linewidth=0,
    )
    panel.axhline(0, color=colours.ink, linewidth=0.8)
    for level in (-2, 2):
        panel.axhline(level, color=colours.muted, linewidth=0.7, linestyle=":")
    high = min(max(3.2, 1.15 * float(pulls.max(initial=0.0))), _MAX_PULL)
    low = min(max(3.2, -1.15 * float(pulls.min(initial=0.0))), _MAX_PULL)
    panel.set_ylim(-low, high)
    panel.yaxis.set_major_locator(MultipleLocator(2 if low + high < 12 else 4))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
