"""The picture of a matrix: its cells, the blinded ones, one file for the same data."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Rectangle

from bumpscout_tools.features.rmm import rmm_columns
from bumpscout_tools.plots.rmm import rmm_figure
from bumpscout_tools.plots.style import figure_bytes


def test_each_panel_shows_the_cells_of_its_matrix() -> None:
    values = np.zeros(1287)
    columns = rmm_columns()
    values[[c.name for c in columns].index("m_j2_b1")] = 0.02
    values[[c.name for c in columns].index("h_j2_b1")] = 0.001
    values[[c.name for c in columns].index("met")] = 1e-6
    figure = rmm_figure({"one": values, "two": np.full(1287, 0.5)})
    one, two = figure.axes[:2]
    shown = one.images[0].get_array()
    assert {tuple(cell) for cell in np.argwhere(~shown.mask)} == {(2, 11), (11, 2)}
    assert shown[2, 11] == np.float32(0.02)
    assert (~two.images[0].get_array().mask).sum() == 1287
    crossed = [patch for patch in one.patches if isinstance(patch, Rectangle)]
    assert len(crossed) == 9
    assert one.get_title(loc="left") == "one"


def test_the_same_data_give_the_same_file_in_both_themes() -> None:
    values = {"event": np.linspace(0, 1, 1287)}
    first, again, dark = (
        figure_bytes(rmm_figure(values, theme=theme), "png", dpi=60)
        for theme in ("light", "light", "dark")
    )
    assert first == again
    assert first != dark
