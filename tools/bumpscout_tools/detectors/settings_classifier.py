"""Settings of the detectors that train a classifier: CWoLa hunting, CATHODE and Tag N' Train."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CathodeSettings", "ClassifierBase", "CwolaSettings", "TagNTrainSettings"]


class ClassifierBase(BaseModel):
    """Folds, and the classifier that is trained in each: trees, perceptrons, or the better."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: int = Field(default=5, ge=2, le=20)
    classifier: Literal["trees", "mlp", "auto"] = Field(
        default="trees",
        description="boosted trees, perceptrons, or whichever finds more in held-out events "
        "(trained two times more)",
    )
    members: int = Field(default=2, ge=1, le=50, description="tree trainings averaged per fold")
    trees: int = Field(default=40, ge=5, le=2000)
    leaves: int = Field(default=16, ge=2, le=256)
    learning_rate: float = Field(default=0.08, gt=0, le=1, description="of the trees")
    min_child_events: int = Field(default=100, ge=1)
    networks: int = Field(default=8, ge=1, le=100, description="perceptrons averaged per fold")
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(64, 64, 64), min_length=1, max_length=8, description="widths of a perceptron"
    )
    epochs: int = Field(default=5, ge=1, le=1000, description="of the perceptrons")


class CwolaSettings(ClassifierBase):
    """CWoLa hunting (arXiv:1902.02634) with k-fold ensembles of boosted trees or perceptrons."""

    sideband_windows: float = Field(
        default=1.0, gt=0, le=5, description="width of each side band in units of the window's"
    )


class CathodeSettings(ClassifierBase):
    """CATHODE (arXiv:2109.00546): window data against background interpolated from outside."""

    oversample: int = Field(default=4, ge=1, le=50, description="samples for each window event")
    steps: int = Field(default=400, ge=20, le=100_000, description="gradient steps of the density")
    degree: int = Field(
        default=2, ge=0, le=4, description="power of log mass up to which the density varies"
    )
    latent: bool = Field(
        default=False,
        description="classify in the latent space of the density (LaCATHODE, arXiv:2210.14924)",
    )


class TagNTrainSettings(ClassifierBase):
    """Tag N' Train (arXiv:2002.12376): each jet tags events that train a classifier of the other.

    A tag is how improbable the jet is: by a density of its features given the mass, or by the loss
    of an autoencoder with a latent space of one.
    """

    tagger: Literal["density", "autoencoder"] = "density"
    rich: float = Field(
        default=0.2, gt=0, le=0.5, description="share of the most anomalous jets, signal-rich"
    )
    poor: float = Field(
        default=0.4, gt=0, le=0.5, description="share of the least anomalous jets, background-rich"
    )
    steps: int = Field(default=400, ge=20, le=100_000, description="gradient steps of a density")
