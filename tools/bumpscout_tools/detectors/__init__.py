"""Anomaly detectors: what to use when.

- `CwolaHunting` (``cwola``): a narrow resonance whose mass is unknown; learns from window against
  side bands, on the scanned data alone. Needs features that depend little on the mass. Trained anew
  for each window, fold and replay: a second a window for 50k events.
- `Cathode` (``cathode``): the same question where features depend on the mass; a density learned
  outside the window makes the background that the window's events are told from, in the latent
  space of that density with ``latent: true``. Costs fifty times as much as CWoLa.
- `AutoencoderDetector` (``autoencoder``): events that are unlike the bulk, in many features (the
  rapidity-mass matrix with ``preset: rmm``); knows nothing of windows or masses. Trained once a
  fold, or once on a set-aside share (`fixed_scores`).
- `IsolationForestDetector` (``isolation-forest``): the same question asked in a few features of any
  scale, in seconds; finds tails of single features.
- `ColumnScore` (``column``): a score that the file already holds.

`cross_fit` trains and scores any of them by k-folding; `fixed_scores` trains the last three on a
share of the events that is left out of the scan; `make_detector` finds them by name. A detector is
anything with the methods of `Detector`.
"""

from bumpscout_tools.detectors.autoencoder import AutoencoderDetector
from bumpscout_tools.detectors.cathode import Cathode
from bumpscout_tools.detectors.column import ColumnScore
from bumpscout_tools.detectors.cross_fit import cross_fit
from bumpscout_tools.detectors.cwola import CwolaHunting
from bumpscout_tools.detectors.fixed import FixedScores, fixed_scores, score_by_share
from bumpscout_tools.detectors.folds import fold_of, rank_within_folds
from bumpscout_tools.detectors.isolation_forest import IsolationForestDetector
from bumpscout_tools.detectors.make import make_detector
from bumpscout_tools.detectors.protocol import Detector, Fitted
from bumpscout_tools.detectors.settings import (
    AutoencoderSettings,
    CathodeSettings,
    ColumnSettings,
    CwolaSettings,
    IsolationForestSettings,
)

__all__ = [
    "AutoencoderDetector",
    "AutoencoderSettings",
    "Cathode",
    "CathodeSettings",
    "ColumnScore",
    "ColumnSettings",
    "CwolaHunting",
    "CwolaSettings",
    "Detector",
    "Fitted",
    "FixedScores",
    "IsolationForestDetector",
    "IsolationForestSettings",
    "cross_fit",
    "fixed_scores",
    "fold_of",
    "make_detector",
    "rank_within_folds",
    "score_by_share",
]
