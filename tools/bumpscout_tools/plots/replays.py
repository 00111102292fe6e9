"""Null replays of the whole procedure against what was observed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bumpscout_tools.plots.style import Theme, new_figure, plain, styled

__all__ = ["replay_figure"]

_BIN = 0.4  # in units of the statistic, where the range allows it


def replay_figure(
    statistics: Sequence[float],
    observed: float,
    *,
    label: str = "Largest local z of the whole search",
    theme: Theme = "light",
) -> Figure:
    """Draw the statistic of each null replay and the observed one.

    Args:
        statistics: (k,) the statistic of each replay; a replay that failed counts as infinite and
            is drawn at the right edge.
        observed: the statistic of the data.
        label: what the statistic is.
        theme: palette.

    Returns:
        A figure of one panel, titled with how many replays reached the observation.
    """
    values = np.asarray(statistics, dtype=np.float64)
    finite = values[np.isfinite(values)]
    reached = int(np.count_nonzero(values >= observed))
    low = float(min(finite.min(initial=observed), observed))
    high = float(max(finite.max(initial=observed), observed))
    margin = 0.08 * max(high - low, 1.0)
    n_bins = int(np.clip((high - low + 2 * margin) / _BIN, 12, 60))
    bins = np.linspace(low - margin, high + margin, n_bins + 1)
    drawn = np.minimum(values, bins[-1] - 1e-9)
    with styled(theme) as colours:
        figure = new_figure(7.2, 3.9)
        panel = figure.add_subplot()
        counts, _, _ = panel.hist(
            drawn,
            bins=list(bins),
            histtype="stepfilled",
            facecolor=colours.fill,
            edgecolor=colours.fit,
            linewidth=1.2,
            label=f"background only, {len(values)} replays",
        )
        panel.axvline(observed, color=colours.bump, linewidth=2.2, label="this data set")
        panel.set_xlim(bins[0], bins[-1])
        panel.set_ylim(0, 1.45 * max(1.0, float(np.max(counts))))
        panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.yaxis.minorticks_off()
        panel.set_xlabel(plain(label, 60), parse_math=False)
        panel.set_ylabel("Replays / bin")
        panel.set_title(
            f"{reached} of {len(values)} null replays reached it", loc="left", fontsize="small"
        )
        panel.legend(loc="upper left", labelcolor=colours.ink)
    return figure
