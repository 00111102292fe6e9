"""Recast figures: signal efficiency by cut and strength, and the signal that is excluded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bumpscout_tools.plots.style import Palette, Theme, new_figure, styled
from bumpscout_tools.scan.recast import Recast, Strength

__all__ = ["efficiency_figure", "excluded_figure", "sensitivity_figure"]

_MARKERS = "os^Dv<>p"


def efficiency_figure(signals: Sequence[Recast], *, theme: Theme = "light") -> Figure:
    """Draw the map of signal efficiencies, strength by cut, one panel a signal.

    Each cell holds the mean and, below it, the error of the mean over repetitions.
    """
    columns = min(3, len(signals))
    rows = -(-len(signals) // columns)
    with styled(theme) as colours:
        figure = new_figure(4.6 * columns + 0.6, 3.4 * rows + 0.4)
        panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
        for panel, signal in zip(panels, signals, strict=False):
            _map(panel, signal, colours)
        for panel in panels[len(signals) :]:
            panel.set_axis_off()
    return figure


def _map(panel: Axes, signal: Recast, colours: Palette) -> None:
    strengths = list(signal.efficiencies)
    cuts = [row.efficiency for row in signal.efficiencies[strengths[0]]]
    values = np.array([[row.mean for row in signal.efficiencies[s]] for s in strengths])
    errors = np.array([[row.error for row in signal.efficiencies[s]] for s in strengths])
    panel.imshow(values, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.0, origin="lower")
    for (i, j), value in np.ndenumerate(values):
        panel.annotate(
            f"{value:.2f}\n±{errors[i, j]:.2f}",
            (j, i),
            ha="center",
            va="center",
            fontsize="x-small",
            color="white" if value > 0.55 else "#1c2530",
        )
    panel.set_xticks(range(len(cuts)), [_name(cut) for cut in cuts], fontsize="x-small")
    panel.set_yticks(range(len(strengths)), strengths)
    panel.tick_params(which="both", top=False, right=False)
    panel.minorticks_off()
    panel.set_xlabel("Events kept")
    panel.set_ylabel("S/\u221aB injected")
    panel.set_title(
        f"Signal efficiency at {signal.mass_gev / 1000:.2f} TeV",
        loc="left",
        fontsize="small",
        color=colours.ink,
    )


def excluded_figure(signals: Sequence[Recast], *, in_pb: bool, theme: Theme = "light") -> Figure:
    """Draw the signal that each cut expects to exclude, and what 3 and 5 sigma need.

    Args:
        signals: by any order.
        in_pb: cross sections where True, else S/sqrt(B).
        theme: palette.
    """
    with styled(theme) as colours:
        figure = new_figure(3.9 * len(signals) + 1.2, 4.4)
        panels = figure.subplots(1, len(signals), squeeze=False, sharey=True)[0]
        for panel, signal in zip(panels, signals, strict=True):
            cuts = [row.efficiency for row in signal.limits]
            x = np.arange(len(cuts))
            limit = [row.cross_section_pb if in_pb else row.strength for row in signal.limits]
            none = [(0.0, 0.0)] * len(cuts)
            series = [("expected 95% CL limit", limit, none, colours.ink, "s")]
            for number, (sigma, tone) in enumerate(((3.0, colours.fit), (5.0, colours.bump))):
                rows = [one for one in signal.needed if one.sigma == sigma]
                values = [_needed(one, in_pb=in_pb) for one in rows]
                errors = [_errors(one, in_pb=in_pb) for one in rows]
                series.append((f"{sigma:g} sigma", values, errors, tone, _MARKERS[2 * number]))
            for offset, (label, values, errors, tone, marker) in zip(
                (-0.12, 0.0, 0.12), series, strict=True
            ):
                y = np.array([np.nan if value is None else value for value in values])
                dy = np.array(errors).reshape(-1, 2).T
                panel.errorbar(
                    x + offset,
                    y,
                    yerr=dy,
                    color=tone,
                    marker=marker,
                    linestyle="none",
                    capsize=3,
                    label=label,
                )
                missing = np.isnan(y)
                panel.plot(
                    x[missing] + offset,
                    np.full(int(missing.sum()), 0.97),
                    linestyle="none",
                    marker="^",
                    markerfacecolor="none",
                    color=tone,
                    transform=panel.get_xaxis_transform(),
                )
            panel.set_xticks(x, [_name(cut) for cut in cuts], fontsize="small")
            panel.set_xlim(-0.6, len(cuts) - 0.4)
            panel.tick_params(which="both", top=False)
            panel.xaxis.minorticks_off()
            panel.set_xlabel("Events kept")
            panel.set_title(f"{signal.mass_gev / 1000:.2f} TeV", loc="left", fontsize="small")
        panels[0].set_ylim(bottom=0.0)
        panels[0].set_ylabel(
            r"$\sigma \times B \times A$ [pb]" if in_pb else "S/\u221aB before any cut"
        )
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=3,
            labelcolor=colours.ink,
            title="open triangles: outside the strengths injected, or no fit to believe",
            title_fontsize="x-small",
        )
    return figure


def sensitivity_figure(signal: Recast, *, theme: Theme = "light") -> Figure:
    """Draw how often the plan finds a signal, and its median significance, against strength."""
    with styled(theme) as colours:
        figure = new_figure(9.2, 4.2)
        found, median = figure.subplots(1, 2)
        x = [at.strength for at in signal.detected]
        for level, rates, tone, marker in (
            (0.05, [at.found_5pc for at in signal.detected], colours.fit, "o"),
            (0.01, [at.found_1pc for at in signal.detected], colours.bump, "s"),
        ):
            if level * (signal.n_pool + 1) < 1:
                continue  # no p as small can be seen in this pool
            y = np.array([rate.value for rate in rates])
            low = y - [rate.low for rate in rates]
            high = np.array([rate.high for rate in rates]) - y
            found.errorbar(
                x,
                y,
                yerr=[np.maximum(low, 0), np.maximum(high, 0)],
                color=tone,
                marker=marker,
                capsize=3,
                label=f"procedure p at most {level:.0%}",
            )
        found.set_ylim(-0.03, 1.08)
        found.set_ylabel("Found within 5% of the mass")
        if found.get_legend_handles_labels()[0]:
            found.legend(loc="center right", labelcolor=colours.ink)
        else:
            found.annotate(
                f"{signal.n_pool} scans without a signal\nshow no p as small as 5%",
                (0.5, 0.5),
                xycoords="axes fraction",
                ha="center",
                color=colours.muted,
            )
        cuts = [row.efficiency for row in next(iter(signal.efficiencies.values()))]
        shades = np.linspace(0.35, 1.0, max(1, len(cuts) - 1))
        for place, cut in enumerate(cuts):
            z = [rows[place].median_z for rows in signal.efficiencies.values()]
            median.plot(
                x,
                [np.nan if value is None else value for value in z],
                marker=_MARKERS[place % len(_MARKERS)],
                markersize=4,
                color=colours.ink if cut is None else colours.fit,
                alpha=1.0 if cut is None else float(shades[place - 1]),
                linestyle=(0, (4, 2)) if cut is None else "solid",
                label="no cut" if cut is None else f"{_name(cut)} kept",
            )
        for level in (3, 5):
            median.axhline(level, color=colours.bump, linewidth=0.9, linestyle=(0, (1, 2)))
        median.set_ylabel("Median significance at the true mass")
        median.legend(loc="upper left", labelcolor=colours.ink, fontsize="x-small")
        for panel in (found, median):
            panel.set_xlabel("S/\u221aB within 5% of the mass, before any cut")
        found.set_title(f"Signal at {signal.mass_gev / 1000:.2f} TeV", loc="left", fontsize="small")
    return figure


def _needed(one: Strength, *, in_pb: bool) -> float | None:
    if in_pb:
        return one.cross_section_pb
    return None if one.strength is None else one.strength.value


def _errors(one: Strength, *, in_pb: bool) -> tuple[float, float]:
    """Return the lengths of the error bars; 0 where an end is not known."""
    value, at = one.strength, _needed(one, in_pb=in_pb)
    if value is None or at is None or value.value <= 0:
        return 0.0, 0.0
    scale = at / value.value
    low = value.value if value.low is None else value.low
    high = value.value if value.high is None else value.high
    return max(0.0, scale * (value.value - low)), max(0.0, scale * (high - value.value))


def _name(cut: float | None) -> str:
    return "all" if cut is None else f"{100 * cut:.3g}%"
