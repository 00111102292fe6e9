"""From a name and its settings to a detector."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from bumpscout_tools.detectors.anode import Anode
from bumpscout_tools.detectors.autoencoder import AutoencoderDetector
from bumpscout_tools.detectors.cathode import Cathode
from bumpscout_tools.detectors.column import ColumnScore
from bumpscout_tools.detectors.combine import Combination
from bumpscout_tools.detectors.cwola import CwolaHunting
from bumpscout_tools.detectors.isolation_forest import IsolationForestDetector
from bumpscout_tools.detectors.protocol import Detector
from bumpscout_tools.detectors.quak import Quak
from bumpscout_tools.detectors.r_anode import RAnode
from bumpscout_tools.detectors.settings import settings_of
from bumpscout_tools.detectors.tag_n_train import TagNTrain
from bumpscout_tools.detectors.vae import VaeDetector

__all__ = ["make_detector"]

_DETECTORS: MappingProxyType[str, Callable[[Any], Detector]] = MappingProxyType(
    {
        "cwola": CwolaHunting,
        "cathode": Cathode,
        "anode": Anode,
        "r-anode": RAnode,
        "quak": Quak,
        "tag-n-train": TagNTrain,
        "column": ColumnScore,
        "isolation-forest": IsolationForestDetector,
        "autoencoder": AutoencoderDetector,
        "vae": VaeDetector,
        "combination": Combination,
    }
)


def make_detector(name: str, parameters: dict[str, Any] | None = None) -> Detector:
    """Return the detector `name`, with defaults where `parameters` has nothing.

    Raises:
        ConfigurationError: if there is no such detector, or it has no such settings.

    >>> make_detector("autoencoder", {"preset": "rmm"}).folds
    5
    """
    settings = settings_of(name, parameters)
    return _DETECTORS[name](settings)
