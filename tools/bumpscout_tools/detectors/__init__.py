"""Anomaly detectors: what to use when.

- `CwolaHunting`: a narrow resonance whose mass is unknown; learns from window against side bands,
  on the scanned data alone. Needs features that depend little on the mass.

`cross_fit` trains and scores any of them by k-folding.
"""

from bumpscout_tools.detectors.cross_fit import cross_fit
from bumpscout_tools.detectors.cwola import CwolaHunting
from bumpscout_tools.detectors.folds import fold_of, rank_within_folds
from bumpscout_tools.detectors.settings import CwolaSettings

__all__ = ["CwolaHunting", "CwolaSettings", "cross_fit", "fold_of", "rank_within_folds"]
