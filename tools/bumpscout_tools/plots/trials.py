"""How the largest excess grew along a scan, and how many tests each step made."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bumpscout_tools.plots.style import Theme, new_figure, styled
from bumpscout_tools.scan.outcome import Cell, ScanOutcome, Stage

__all__ = ["trials_figure"]

_STAGES: dict[Stage, str] = {"coarse": "coarse grid", "refined": "refined around the hottest"}


def trials_figure(outcome: ScanOutcome, *, theme: Theme = "light") -> Figure:
    """Draw each test's excess in the order they were made, the largest so far, and tests by step.

    Args:
        outcome: a scan of at least one test; cells that cannot be believed are drawn hollow and
            do not raise the largest.
        theme: palette.

    Returns:
        A figure of two panels.
    """
    cells = outcome.cells
    number = np.arange(1, len(cells) + 1)
    excess = np.array([cell.excess for cell in cells])
    believable = np.array([cell.believable for cell in cells])
    largest = np.maximum.accumulate(np.where(believable, excess, -np.inf))
    with styled(theme) as colours:
        figure = new_figure(8.4, 3.9)
        left, right = figure.subplots(1, 2, width_ratios=[3, 1.25])
        left.plot(
            number[believable],
            excess[believable],
            "o",
            color=colours.fit,
            markersize=3.5,
            label="tests",
        )
        if not believable.all():
            left.plot(
                number[~believable],
                excess[~believable],
                "o",
                markerfacecolor="none",
                color=colours.muted,
                markersize=3.5,
                label="cannot be believed",
            )
        left.step(
            number[np.isfinite(largest)],
            largest[np.isfinite(largest)],
            where="post",
            color=colours.bump,
            label="largest so far",
        )
        left.set_xlim(0, len(cells) + 1)
        low, high = float(excess.min()), float(excess.max())
        left.set_ylim(low - 0.1 * (high - low + 1), high + 0.45 * (high - low + 1))
        left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        left.set_xlabel("Test, in the order made")
        left.set_ylabel("Excess in null widths")
        left.legend(loc="upper left", labelcolor=colours.ink, fontsize="x-small", ncols=2)
        steps = _steps(cells)
        names = [_STAGES[stage].replace(" around", "\naround") for stage in steps]
        bars = right.barh(names, list(steps.values()), color=colours.fill, edgecolor=colours.fit)
        right.bar_label(bars, padding=3, color=colours.ink, fontsize="small")
        right.set_xlim(0, 1.3 * max(steps.values()))
        right.invert_yaxis()
        right.tick_params(axis="y", which="both", length=0, labelsize="x-small")
        right.yaxis.minorticks_off()
        right.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
        right.set_xlabel("Tests")
    return figure


def _steps(cells: tuple[Cell, ...]) -> dict[Stage, int]:
    counts: dict[Stage, int] = {}
    for cell in cells:
        counts[cell.stage] = counts.get(cell.stage, 0) + 1
    return counts
