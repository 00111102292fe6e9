"""Settings of the detectors by name; a plan carries them, a script receives them.

A plan names its detector (`DetectorName`) and gives settings of that name (`settings_of`), which do
not repeat the name: ``{"name": "cwola", "settings": {"folds": 5}}``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bumpscout_tools.detectors.settings_classifier import (
    CathodeSettings,
    CwolaSettings,
    TagNTrainSettings,
)
from bumpscout_tools.detectors.settings_combination import CombinationSettings
from bumpscout_tools.detectors.settings_density import AnodeSettings, QuakSettings, RAnodeSettings
from bumpscout_tools.detectors.settings_vae import VaeSettings
from bumpscout_tools.errors import ConfigurationError

__all__ = [
    "DETECTOR_NAMES",
    "FIXED_DETECTORS",
    "RMM_PRESET",
    "SETTINGS",
    "AnodeSettings",
    "AutoencoderSettings",
    "CathodeSettings",
    "ColumnSettings",
    "CombinationSettings",
    "CwolaSettings",
    "DetectorName",
    "DetectorSettings",
    "IsolationForestSettings",
    "QuakSettings",
    "RAnodeSettings",
    "TagNTrainSettings",
    "VaeSettings",
    "settings_of",
]

TrainShare = Annotated[float, Field(gt=0, le=0.5)]


class ColumnSettings(BaseModel):
    """A score that the file already holds: the first (and only) feature of the plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    anomalous: Literal["high", "low"] = Field(
        default="high", description="which end of the column is the anomalous one"
    )
    independent: bool = Field(
        default=False,
        description="you declare that the score was made without these events and does not know "
        "the scanned masses; without that, its bumps are at most undecided",
    )


class IsolationForestSettings(BaseModel):
    """Isolation forest (Liu, Ting, Zhou, ICDM 2008): how few random cuts isolate an event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: int = Field(default=5, ge=2, le=20, description="folds of a windowed search")
    trees: int = Field(default=200, ge=10, le=5000)
    subsample: int = Field(default=1024, ge=16, le=1_000_000, description="events that a tree sees")
    train_share: TrainShare = Field(
        default=0.2, description="share of the events set aside to train a fixed score (grids)"
    )


class AutoencoderSettings(BaseModel):
    """Dense autoencoder; the score is ln(reconstruction loss) of the event.

    `preset: rmm` gives the network of the ATLAS search (PRL 132 (2024) 081801) for the inputs of
    the rapidity-mass matrix: 1287-800-400-200-400-800-1287, leaky ReLU, batches of 100, learning
    rate 1e-3, inputs as they are, ln(mean absolute error), a random 1% of the data to train on;
    whatever else is given wins over the preset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["dense", "rmm"] = "dense"
    hidden: tuple[Annotated[int, Field(ge=1, le=20_000)], ...] = Field(
        default=(64, 32, 2),
        min_length=1,
        max_length=10,
        description="widths of the encoder, the last is the latent space; the decoder mirrors it",
    )
    activation: Literal["leaky-relu", "relu", "silu", "tanh"] = "leaky-relu"
    loss: Literal["mae", "mse"] = "mae"
    standardise: bool = Field(
        default=True, description="subtract the mean of each input and divide by its spread"
    )
    batch: int = Field(
        default=1024,
        ge=1,
        le=1_000_000,
        description="events of a step; fewer where an epoch would have less than 50 steps",
    )
    learning_rate: float = Field(default=4e-3, gt=0, le=1)
    epochs: int = Field(default=20, ge=1, le=10_000)
    patience: int = Field(
        default=5, ge=1, description="epochs without a better held-out loss after which it stops"
    )
    folds: int = Field(default=5, ge=2, le=20, description="folds of a windowed search")
    train_share: TrainShare = Field(
        default=0.2, description="share of the events set aside to train a fixed score (grids)"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="auto: a GPU where there is one and the network is wide enough to gain by it",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset") == "rmm":
            return {**RMM_PRESET, **given}
        return given

    @model_validator(mode="after")
    def _narrow(self) -> Self:
        if self.hidden[-1] > min(self.hidden):
            raise ValueError(f"hidden {self.hidden}: the last, the latent space, must be narrowest")
        return self


RMM_PRESET: MappingProxyType[str, Any] = MappingProxyType(
    {
        "preset": "rmm",
        "hidden": (800, 400, 200),
        "activation": "leaky-relu",
        "loss": "mae",
        "standardise": False,
        "batch": 100,
        "learning_rate": 1e-3,
        "epochs": 100,
        "train_share": 0.01,
    }
)

DetectorName = Literal[
    "cwola",
    "cathode",
    "anode",
    "r-anode",
    "quak",
    "tag-n-train",
    "column",
    "isolation-forest",
    "autoencoder",
    "vae",
    "combination",
]
DetectorSettings = (
    CwolaSettings
    | CathodeSettings
    | AnodeSettings
    | RAnodeSettings
    | QuakSettings
    | TagNTrainSettings
    | ColumnSettings
    | IsolationForestSettings
    | AutoencoderSettings
    | VaeSettings
    | CombinationSettings
)

SETTINGS: MappingProxyType[str, type[DetectorSettings]] = MappingProxyType(
    {
        "cwola": CwolaSettings,
        "cathode": CathodeSettings,
        "anode": AnodeSettings,
        "r-anode": RAnodeSettings,
        "quak": QuakSettings,
        "tag-n-train": TagNTrainSettings,
        "column": ColumnSettings,
        "isolation-forest": IsolationForestSettings,
        "autoencoder": AutoencoderSettings,
        "vae": VaeSettings,
        "combination": CombinationSettings,
    }
)
DETECTOR_NAMES: tuple[str, ...] = get_args(DetectorName)
FIXED_DETECTORS: tuple[str, ...] = ("column", "isolation-forest", "autoencoder", "vae")
"""Detectors that can score events without having learned from them or from their masses."""


def settings_of(name: str, parameters: dict[str, Any] | None = None) -> DetectorSettings:
    """Return the settings of the detector `name`, defaults where `parameters` has nothing.

    Raises:
        ConfigurationError: if there is no such detector, or it has no such settings.

    >>> settings_of("isolation-forest", {"trees": 50}).trees
    50
    """
    if name not in SETTINGS:
        raise ConfigurationError(
            f"There is no detector {name!r}; there are {', '.join(DETECTOR_NAMES)}."
        )
    try:
        return SETTINGS[name](**(parameters or {}))
    except ValidationError as error:
        raise ConfigurationError(f"Unusable settings of {name}: {error}") from error
