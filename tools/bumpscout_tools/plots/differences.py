"""How the most anomalous events differ from typical ones: shifts, and parts of the score."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bumpscout_tools.detectors.explain import Anomalous
from bumpscout_tools.plots.features import label_of
from bumpscout_tools.plots.style import Theme, new_figure, styled

__all__ = ["differences_figure"]

MAX_SHOWN = 12


def differences_figure(found: Anomalous, *, theme: Theme = "light") -> Figure:
    """Draw the features with the largest parts of the score, or the largest shifts.

    Args:
        found: what was compared, at least one feature.
        theme: palette.

    Returns:
        A figure with a panel of shifts and, where the score was attributed, one of its parts.
    """
    with_shares = found.features[0].share is not None
    ranked = sorted(
        found.features, key=lambda one: -abs(one.share if one.share is not None else one.shift)
    )[:MAX_SHOWN]
    at = np.arange(len(ranked))[::-1]
    with styled(theme) as colours:
        figure = new_figure(7.2, 1.3 + 0.42 * len(ranked))
        panels = figure.subplots(1, 2 if with_shares else 1, sharey=True, squeeze=False)[0]
        values = [("Shift [standard deviations]", "shift", "shift_error", 1.0)]
        if with_shares:
            values.append(("Part of the score [%]", "share", "share_error", 100.0))
        for panel, (label, name, error, scale) in zip(panels, values, strict=True):
            widths = [scale * getattr(one, name) for one in ranked]
            errors = [scale * getattr(one, error) for one in ranked]
            panel.barh(at, widths, height=0.6, color=colours.fill)
            panel.errorbar(widths, at, xerr=errors, fmt="none", ecolor=colours.bump, elinewidth=1.6)
            panel.axvline(0.0, color=colours.ink, linewidth=0.8)
            panel.set_xlabel(label)
            panel.minorticks_off()
            panel.tick_params(axis="y", length=0)
        panels[0].set_yticks(at)
        labels = [label_of(one.feature) for one in ranked]
        ticks = panels[0].set_yticklabels([text for text, _ in labels])
        for tick, (_, mathematics) in zip(ticks, labels, strict=True):
            tick.set_parse_math(mathematics)
    return figure
