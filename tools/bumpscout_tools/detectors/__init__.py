"""Anomaly detectors: what to use when.

- `CwolaHunting` (``cwola``): a narrow resonance whose mass is unknown; learns from window against
  side bands, on the scanned data alone. Needs features that depend little on the mass. Trained anew
  for each window, fold and replay: a second a window for 50k events.
- `Cathode` (``cathode``): the same question where features depend on the mass; a density learned
  outside the window makes the background that the window's events are told from, in the latent
  space of that density with ``latent: true``. Costs fifty times as much as CWoLa.
- `Anode` (``anode``), `RAnode` (``r-anode``): the same question asked of densities alone, the one
  inside the window over the one interpolated into it; R-ANODE fits only what is mixed into the
  latter, which finds more. They cost about twice as much as CATHODE.
- `Quak` (``quak``): events that are like a simulated signal and unlike the data beside the window;
  for resonances of which something is known, with files of signal events.
- `TagNTrain` (``tag-n-train``): a resonance into two anomalous jets; each jet tags the events from
  which a classifier of the other learns. Needs the same features of both jets.
- `AutoencoderDetector` (``autoencoder``): events that are unlike the bulk, in many features (the
  rapidity-mass matrix with ``preset: rmm``); knows nothing of windows or masses. Trained once a
  fold, or once on a set-aside share (`fixed_scores`).
- `VaeDetector` (``vae``): the same question asked of the particles in two jets: jets with unusual
  substructure, from events with constituents; may learn from a control sample alone.
- `IsolationForestDetector` (``isolation-forest``): the same question asked in a few features of any
  scale, in seconds; finds tails of single features.
- `ColumnScore` (``column``): a score that the file already holds.
- `Combination` (``combination``): several of these as one, by the mean or maximum of their ranks.

`cross_fit` trains and scores any of them by k-folding; `fixed_scores` trains the last three on a
share of the events that is left out of the scan; `make_detector` finds them by name. A detector is
anything with the methods of `Detector`.
"""

from bumpscout_tools.detectors.anode import Anode
from bumpscout_tools.detectors.autoencoder import AutoencoderDetector
from bumpscout_tools.detectors.cathode import Cathode
from bumpscout_tools.detectors.column import ColumnScore
from bumpscout_tools.detectors.combine import Combination
from bumpscout_tools.detectors.cross_fit import cross_fit
from bumpscout_tools.detectors.cwola import CwolaHunting
from bumpscout_tools.detectors.fixed import FixedScores, fixed_scores, score_by_share
from bumpscout_tools.detectors.folds import fold_of, rank_within_folds
from bumpscout_tools.detectors.isolation_forest import IsolationForestDetector
from bumpscout_tools.detectors.make import make_detector
from bumpscout_tools.detectors.protocol import Detector, Fitted
from bumpscout_tools.detectors.quak import Quak
from bumpscout_tools.detectors.r_anode import RAnode
from bumpscout_tools.detectors.settings import (
    AnodeSettings,
    AutoencoderSettings,
    CathodeSettings,
    ColumnSettings,
    CombinationSettings,
    CwolaSettings,
    IsolationForestSettings,
    QuakSettings,
    RAnodeSettings,
    TagNTrainSettings,
    VaeSettings,
)
from bumpscout_tools.detectors.tag_n_train import TagNTrain
from bumpscout_tools.detectors.vae import VaeDetector

__all__ = [
    "Anode",
    "AnodeSettings",
    "AutoencoderDetector",
    "AutoencoderSettings",
    "Cathode",
    "CathodeSettings",
    "ColumnScore",
    "ColumnSettings",
    "Combination",
    "CombinationSettings",
    "CwolaHunting",
    "CwolaSettings",
    "Detector",
    "Fitted",
    "FixedScores",
    "IsolationForestDetector",
    "IsolationForestSettings",
    "Quak",
    "QuakSettings",
    "RAnode",
    "RAnodeSettings",
    "TagNTrain",
    "TagNTrainSettings",
    "VaeDetector",
    "VaeSettings",
    "cross_fit",
    "fixed_scores",
    "fold_of",
    "make_detector",
    "rank_within_folds",
    "score_by_share",
]
