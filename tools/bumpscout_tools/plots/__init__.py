"""Figures of a search, from plain records; nothing here touches global matplotlib state.

What to use when:

- `spectrum_figure`: the mass spectrum of one cell with its fit, window and pulls;
- `inclusive_figure`: the mass spectrum of all events, before any cut;
- `heatmap_figure`: local significance over mass and working point;
- `trials_figure`: the tests in the order they were made, and the largest so far;
- `replay_figure`: the null replays against the observed statistic;
- `features_figure`: the most anomalous events against typical ones;
- `differences_figure`: how far each feature is shifted, and its part of the score;
- `correlation_figure`: how alike the scores of several methods are;
- `figure_bytes`: any of them as SVG or PNG, the same bytes for the same data.
"""

from bumpscout_tools.plots.correlation import correlation_figure
from bumpscout_tools.plots.differences import differences_figure
from bumpscout_tools.plots.features import features_figure
from bumpscout_tools.plots.heatmap import heatmap_figure
from bumpscout_tools.plots.replays import replay_figure
from bumpscout_tools.plots.spectrum import inclusive_figure, spectrum_figure
from bumpscout_tools.plots.style import Theme, figure_bytes
from bumpscout_tools.plots.trials import trials_figure

__all__ = [
    "Theme",
    "correlation_figure",
    "differences_figure",
    "features_figure",
    "figure_bytes",
    "heatmap_figure",
    "inclusive_figure",
    "replay_figure",
    "spectrum_figure",
    "trials_figure",
]
