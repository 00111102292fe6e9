"""Calibration figures: false alarms, detection by strength, yields, and the reach of the cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bumpscout_tools.plots.style import Palette, Theme, new_figure, styled
from bumpscout_tools.scan.alarms import AlarmRates
from bumpscout_tools.scan.performance import AtStrength, Performance, YieldSummary

__all__ = ["alarm_figure", "detection_figure", "reach_figure", "yield_figure"]

FloatArray = npt.NDArray[np.float64]
_STRENGTH = "S/\u221aB within 5% of the mass, before any cut"


def alarm_figure(p: FloatArray, rates: AlarmRates, *, theme: Theme = "light") -> Figure:
    """Draw the distribution of p over background-only data sets, with the uniform line.

    Args:
        p: (n,) procedure p of each data set.
        rates: their summary, for the title.
        theme: palette.
    """
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.6)
        panel = figure.add_subplot()
        x = np.sort(p)
        n = len(x)
        share = np.arange(1, n + 1) / n
        # 95% band of Kolmogorov and Smirnov for two samples: p are ranks among finitely many.
        band = 1.36 * np.sqrt(1 / n + 1 / rates.n_replays)
        grid = np.linspace(0, 1, 200)
        panel.fill_between(
            grid,
            np.clip(grid - band, 0, 1),
            np.clip(grid + band, 0, 1),
            color=colours.fill,
            alpha=0.6,
            linewidth=0,
            label=f"95% band for {rates.n_replays} replays",
        )
        panel.plot([0, 1], [0, 1], color=colours.muted, linestyle=(0, (4, 2)))
        panel.step(
            [0.0, *x, 1.0],
            [0.0, *share, 1.0],
            where="post",
            color=colours.fit,
            label=f"{n} background-only sets",
        )
        panel.set(xlim=(0, 1), ylim=(0, 1))
        panel.set_xlabel("Procedure p")
        panel.set_ylabel("Share of data sets below")
        panel.set_title(f"Kolmogorov-Smirnov p = {rates.ks_p:.2g}", loc="left", fontsize="small")
        panel.legend(loc="lower right", labelcolor=colours.ink)
    return figure


def detection_figure(found: Performance, *, theme: Theme = "light") -> Figure:
    """Draw how often a signal is found at the right mass, by strength."""
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.6)
        panel = figure.add_subplot()
        x = [at.strength for at in found.strengths]
        for name, colour, marker in (
            ("found_5pc", colours.fit, "o"),
            ("found_1pc", colours.bump, "s"),
        ):
            rates = [getattr(at, name) for at in found.strengths]
            y = np.array([r.value for r in rates])
            low, high = (np.array([getattr(r, side) for r in rates]) for side in ("low", "high"))
            panel.errorbar(
                x,
                y,
                yerr=[np.maximum(y - low, 0), np.maximum(high - y, 0)],
                color=colour,
                marker=marker,
                capsize=3,
                label=f"procedure p at most {'5%' if name.endswith('5pc') else '1%'}",
            )
        panel.set_ylim(-0.03, 1.08)
        panel.set_xlabel(_STRENGTH)
        panel.set_ylabel("Found within 5% of the mass")
        panel.set_title(f"Signal at {found.mass_gev / 1000:.2f} TeV", loc="left", fontsize="small")
        panel.legend(loc="lower right", labelcolor=colours.ink)
    return figure


def yield_figure(found: Performance, *, theme: Theme = "light") -> Figure:
    """Draw measured against true signal yields at the true mass, one panel a working point."""
    points = _points(found)
    columns = min(3, len(points))
    rows = -(-len(points) // columns)
    with styled(theme) as colours:
        figure = new_figure(3.4 * columns + 0.6, 3.1 * rows + 0.4)
        panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
        for panel, index in zip(panels, range(len(points)), strict=False):
            _yield_panel(panel, [at.yields[index] for at in _measured(found)], colours)
        for panel in panels[len(points) :]:
            panel.set_axis_off()
        figure.supxlabel("True signal events in the interval", fontsize="medium")
        figure.supylabel("Measured: observed - expected", fontsize="medium")
    return figure


def _yield_panel(panel: Axes, rows: list[YieldSummary], colours: Palette) -> None:
    true = np.array([row.mean_true for row in rows])
    measured = np.array([row.mean_measured for row in rows])
    top = max(float(true.max()), float(measured.max()), 1.0) * 1.15
    panel.plot([0, top], [0, top], color=colours.muted, linestyle=(0, (4, 2)))
    error = [row.mean_error or 0.0 for row in rows]
    panel.errorbar(true, measured, yerr=error, color=colours.fit, marker="o", capsize=3)
    panel.axhline(0, color=colours.muted, linewidth=0.8)
    panel.set_title(f"{_name(rows[0].efficiency)}", loc="left", fontsize="small")


def reach_figure(found: Performance, *, theme: Theme = "light") -> Figure:
    """Draw the median significance at the true mass by strength, with and without the cut."""
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.8)
        panel = figure.add_subplot()
        measured = _measured(found)
        x = [at.strength for at in measured]
        shades = np.linspace(0.35, 1.0, max(1, len(_points(found)) - 1))
        for index, efficiency in enumerate(_points(found)):
            medians = [at.yields[index].median_z for at in measured]
            z = [np.nan if median is None else median for median in medians]
            inclusive = efficiency is None
            panel.plot(
                x,
                z,
                marker="o",
                color=colours.ink if inclusive else colours.fit,
                alpha=1.0 if inclusive else float(shades[index - 1]),
                linestyle=(0, (4, 2)) if inclusive else "solid",
                label=_name(efficiency),
            )
        for level in (3, 5):
            panel.axhline(level, color=colours.bump, linewidth=0.9, linestyle=(0, (1, 2)))
        panel.set_xlabel(_STRENGTH)
        panel.set_ylabel("Median significance at the true mass")
        panel.set_title(f"Signal at {found.mass_gev / 1000:.2f} TeV", loc="left", fontsize="small")
        panel.legend(loc="upper left", labelcolor=colours.ink, fontsize="x-small")
    return figure


def _measured(found: Performance) -> list[AtStrength]:
    return [at for at in found.strengths if at.yields]


def _points(found: Performance) -> list[float | None]:
    measured = _measured(found)
    return [row.efficiency for row in measured[0].yields] if measured else []


def _name(efficiency: float | None) -> str:
    return "no cut" if efficiency is None else f"{100 * efficiency:.3g}% kept"
