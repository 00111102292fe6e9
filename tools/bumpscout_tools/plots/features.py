"""What the most anomalous events look like, beside typical ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bumpscout_tools.plots.style import Palette, Theme, new_figure, plain, styled

__all__ = ["features_figure", "label_of"]

FloatArray = npt.NDArray[np.float64]

_KNOWN = {
    "mj_light": "Mass of the lighter jet [TeV]",
    "mj_heavy": "Mass of the heavier jet [TeV]",
    "mj_delta": "Difference of the jet masses [TeV]",
    "tau21_light": r"$\tau_{21}$ of the lighter jet",
    "tau21_heavy": r"$\tau_{21}$ of the heavier jet",
    "tau32_light": r"$\tau_{32}$ of the lighter jet",
    "tau32_heavy": r"$\tau_{32}$ of the heavier jet",
}
_BINS = 24


def features_figure(
    names: Sequence[str], typical: FloatArray, anomalous: FloatArray, *, theme: Theme = "light"
) -> Figure:
    """Draw each feature of the most anomalous events over that of typical ones.

    Args:
        names: k names of the features, possibly foreign text.
        typical: (n, k) features of typical events in the same window.
        anomalous: (m, k) features of the events that pass the cut.
        theme: palette.

    Returns:
        A figure with one panel a feature, densities normalised to one, two columns.
    """
    count = len(names)
    rows = max(1, (count + 1) // 2)
    with styled(theme) as colours:
        figure = new_figure(7.2, 0.5 + 2.5 * rows)
        panels = figure.subplots(rows, 2, squeeze=False).ravel()
        for index, panel in enumerate(panels):
            if index >= count:
                panel.set_axis_off()
                continue
            _panel(panel, typical[:, index], anomalous[:, index], colours)
            label = _KNOWN.get(names[index])
            panel.set_xlabel(label or plain(names[index]), parse_math=label is not None)
            if index % 2 == 0:
                panel.set_ylabel("Density")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=2, labelcolor=colours.ink, borderpad=0
        )
    return figure


def label_of(name: str) -> tuple[str, bool]:
    """Return how a figure names a feature without its unit, and whether that is mathematics."""
    known = _KNOWN.get(name)
    return (known.removesuffix(" [TeV]"), True) if known else (plain(name), False)


def _panel(panel: Axes, typical: FloatArray, anomalous: FloatArray, colours: Palette) -> None:
    both = np.concatenate([typical, anomalous])
    low, high = np.quantile(both, [0.002, 0.998]) if len(both) else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    coarse = edges[::2]
    width = coarse[1] - coarse[0]
    weights = np.full(len(typical), 1 / max(1, len(typical)))
    density, _ = np.histogram(typical, edges, weights=weights / (edges[1] - edges[0]))
    panel.stairs(
        density, edges, fill=True, color=colours.fill, alpha=0.8, label=f"typical ({len(typical)})"
    )
    counts, _ = np.histogram(anomalous, coarse)
    scale = 1 / (max(1, len(anomalous)) * width)
    panel.stairs(counts * scale, coarse, color=colours.bump, linewidth=1.5)
    panel.errorbar(
        (coarse[:-1] + coarse[1:]) / 2,
        counts * scale,
        yerr=np.sqrt(counts) * scale,
        fmt="none",
        ecolor=colours.bump,
        elinewidth=1.1,
        label=f"most anomalous ({len(anomalous)})",
    )
    panel.set_xlim(low, high)
    highest = max(float(density.max()), float((counts * scale).max()))
    panel.set_ylim(0, 1.15 * highest if highest > 0 else 1.0)
    panel.set_yticks([])
    panel.minorticks_off()
