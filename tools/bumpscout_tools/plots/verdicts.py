"""Figures of `calibrate`: the verdicts of searches, and how well null generators close."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bumpscout_tools.plots.style import Theme, new_figure, styled
from bumpscout_tools.scan.performance import Performance
from bumpscout_tools.scan.verdict_rates import Closures, VerdictRates

__all__ = ["closure_figure", "verdict_figure"]


def verdict_figure(
    background: VerdictRates, signal: Performance | None, *, theme: Theme = "light"
) -> Figure:
    """Draw the share of each verdict on background alone and at each strength of a signal.

    Args:
        background: verdicts without a signal.
        signal: those with one, by strength.
        theme: palette.
    """
    rows = [("none", background)]
    if signal is not None:
        rows += [(f"{at.strength:g}", at.verdicts) for at in signal.strengths if at.verdicts]
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.6)
        panel = figure.add_subplot()
        fills = {
            "excess": (colours.bump, 1.0),
            "candidate": (colours.bump, 0.5),
            "undecided": (colours.muted, 0.6),
            "no-excess": (colours.fit, 0.5),
        }
        x, below = np.arange(len(rows)), np.zeros(len(rows))
        for name, (colour, alpha) in fills.items():
            share = np.array([rates.verdicts[name].value for _, rates in rows])
            panel.bar(x, share, 0.7, bottom=below, color=colour, alpha=alpha, label=name)
            below += share
        local = [rates.local_z_above_3.value for _, rates in rows]
        panel.plot(
            x, local, linestyle="none", marker="D", color=colours.ink, label="local z above 3"
        )
        panel.set_xticks(x, [name for name, _ in rows])
        panel.set_xlabel("Signal, S/\u221aB within 5% of the mass")
        panel.set_ylabel("Share of searches")
        panel.set_ylim(0, 1.02)
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), labelcolor=colours.ink)
    return figure


def closure_figure(
    clean: Closures, signal: Performance | None, *, theme: Theme = "light"
) -> Figure:
    """Draw the area under the curve of each null generator against the data it was fitted to.

    Args:
        clean: generators of background-only data sets.
        signal: holds those that were fitted to data with the signal in them.
        theme: palette.
    """
    rows = [("none", clean)]
    if signal is not None:
        rows += [
            (f"{at.strength:g}", at.contaminated.closures)
            for at in signal.strengths
            if at.contaminated is not None and at.contaminated.closures is not None
        ]
    with styled(theme) as colours:
        figure = new_figure(7.2, 4.2)
        panel = figure.add_subplot()
        for number, (_, found) in enumerate(rows):
            for auc, colour, shift, marker in (
                (found.auc, colours.fit, -0.12, "o"),
                (found.auc_top, colours.bump, 0.12, "s"),
            ):
                spread = np.linspace(-0.08, 0.08, len(auc)) if len(auc) > 1 else np.zeros(1)
                panel.plot(
                    number + shift + spread,
                    auc,
                    linestyle="none",
                    marker=marker,
                    markersize=4,
                    color=colour,
                    label={"o": "all events", "s": "rarest events"}[marker] if not number else None,
                )
        panel.axhline(0.5, color=colours.muted, linestyle=(0, (4, 2)))
        panel.set_xticks(range(len(rows)), [name for name, _ in rows])
        panel.set_xlabel("Signal in the data of the generator, S/\u221aB within 5% of the mass")
        panel.set_ylabel("AUC, generated against real")
        panel.legend(loc="best", labelcolor=colours.ink)
    return figure
