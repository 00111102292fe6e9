"""How alike the methods of a plan are: matrices of rank correlation and of overlap."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bumpscout_tools.detectors.correlation import Correlation
from bumpscout_tools.plots.style import Palette, Theme, new_figure, palette, plain, styled

__all__ = ["correlation_figure"]

MAX_SHOWN = 8


def correlation_figure(
    found: Correlation, efficiency: float | None = None, *, theme: Theme = "light"
) -> Figure:
    """Draw Spearman's correlations, and the overlaps at the working point nearest to one wanted.

    Args:
        found: of at least two methods; the first eight are drawn.
        efficiency: of the working point; the first one if None.
        theme: palette.
    """
    shown = min(len(found.methods), MAX_SHOWN)
    names = [plain(name, 18) for name in found.methods[:shown]]
    panels = [("Rank correlation of the scores", np.array(found.spearman), -1.0)]
    if found.overlaps:
        wanted = found.overlaps[0].efficiency if efficiency is None else efficiency
        at = min(found.overlaps, key=lambda one: abs(np.log(one.efficiency / wanted)))
        title = f"Common events at {100 * at.efficiency:.3g}% kept"
        panels.append((title, np.array(at.share), 0.0))
    with styled(theme):
        figure = new_figure(7.2, 1.9 + 0.42 * shown)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for panel, (title, matrix, low) in zip(axes, panels, strict=True):
            _matrix(panel, matrix[:shown, :shown], low, palette(theme))
            panel.set_title(title, fontsize="small", loc="left")
            labels = panel.set_xticks(range(shown), names, rotation=30, ha="right")
            for label in labels:
                label.label1.set_parse_math(False)
        for label in axes[0].set_yticks(range(shown), names):
            label.label1.set_parse_math(False)
    return figure


def _matrix(panel: Axes, matrix: np.ndarray, low: float, colours: Palette) -> None:
    image = panel.imshow(matrix, vmin=low, vmax=1.0, cmap=colours.heat, aspect="auto")
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            ink = "#ffffff" if dark else "#000000"
            panel.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
    panel.tick_params(which="both", length=0)
    panel.minorticks_off()
