"""Pictures of rapidity-mass matrices: single events, or the average of many."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bumpscout_tools.features.rmm import rmm_images
from bumpscout_tools.features.rmm_config import OBJECTS, RmmConfig
from bumpscout_tools.plots.style import Palette, Theme, new_figure, plain, styled

__all__ = ["rmm_figure"]

_SMALLEST = 1e-4
_LARGEST = 1.0
_LABELS = {"j": "jets", "b": "b-jets", "mu": r"$\mu$", "e": "e", "gamma": r"$\gamma$"}


def rmm_figure(
    matrices: Mapping[str, npt.NDArray[np.floating]],
    config: RmmConfig | None = None,
    *,
    theme: Theme = "light",
) -> Figure:
    """Draw matrices side by side, with one logarithmic colour scale.

    Blinded cells are crossed; cells below 1e-4 are empty.

    Args:
        matrices: by title, the columns (k,) of `rmm` of one event or averaged over events.
        config: the settings that made them.
        theme: palette.

    Returns:
        A figure with one panel a matrix.
    """
    config = RmmConfig() if config is None else config
    scale = LogNorm(_SMALLEST, _LARGEST)
    with styled(theme) as colours:
        figure = new_figure(1.0 + 4.1 * len(matrices), 4.9)
        panels = figure.subplots(1, len(matrices), squeeze=False)[0]
        for panel, (title, values) in zip(panels, matrices.items(), strict=True):
            image = rmm_images(np.asarray(values, dtype=np.float32)[None], config)[0]
            _panel(panel, image, scale, config, colours)
            panel.set_title(plain(title), loc="left", fontsize="small", parse_math=False)
        mappable = ScalarMappable(norm=scale, cmap=matplotlib.colormaps[colours.heat])
        bar = figure.colorbar(mappable, ax=list(panels), pad=0.015, aspect=26, shrink=0.9)
        bar.set_label("value of the cell")
        bar.ax.minorticks_off()
    return figure


def _panel(
    panel: Axes,
    image: npt.NDArray[np.float32],
    scale: LogNorm,
    config: RmmConfig,
    colours: Palette,
) -> None:
    size = config.size
    shown = np.ma.masked_where(~(image >= _SMALLEST), image)
    panel.imshow(shown, norm=scale, cmap=colours.heat, interpolation="nearest", origin="upper")
    for row, column in np.argwhere(np.isnan(image)):
        panel.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                fill=False,
                hatch="xxxx",
                edgecolor=colours.bump,
                linewidth=0.6,
            )
        )
    edges = 0.5 + np.concatenate([[0], np.cumsum(config.maxima)])
    for edge in edges[:-1]:
        panel.axhline(edge, color=colours.muted, linewidth=0.6)
        panel.axvline(edge, color=colours.muted, linewidth=0.6)
    panel.plot([-0.5, size - 0.5], [-0.5, size - 0.5], color=colours.muted, linewidth=0.5)
    middles = [0.0, *((edges[:-1] + edges[1:]) / 2)]
    names = [r"$E_\mathrm{T}^\mathrm{miss}$", *(_LABELS[kind] for kind in OBJECTS)]
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(FixedLocator(middles))
        axis.set_major_formatter(FixedFormatter(names))
        axis.set_minor_locator(NullLocator())
    panel.tick_params(length=0, labelsize="small", top=False, right=False)
    panel.tick_params(axis="x", labelrotation=0)
    for axis_labels in (panel.get_xticklabels(), panel.get_yticklabels()):
        axis_labels[0].set_fontsize(9)
    panel.set_xlim(-0.5, size - 0.5)
    panel.set_ylim(size - 0.5, -0.5)
