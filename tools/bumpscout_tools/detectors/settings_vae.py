"""Settings of the variational autoencoder on the constituents of two jets."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["VaeSettings"]


class VaeSettings(BaseModel):
    """VAE on up to 100 constituents (px, py, pz) of each of two jets, as in arXiv:2412.03747.

    One network describes both jets; the loss of a jet is the distance of the set of constituents
    from its reconstruction plus `kl_weight` times the Kullback-Leibler divergence of the latent
    space. Its features are the set ``constituents``, and ``control_feature`` where there is a
    control sample.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    latent: int = Field(default=12, ge=1, le=500)
    width: int = Field(default=64, ge=4, le=4096, description="of the hidden layers")
    kl_weight: float = Field(default=0.5, gt=0, le=1000)
    combine: Literal["min", "sum", "max"] = Field(
        default="min",
        description="score of the event from the losses of its jets: min asks both to be "
        "anomalous, max one of them",
    )
    control_feature: str | None = Field(
        default=None,
        description="one of its features, such as deta_jj, that is no input but defines the "
        "control sample, from which alone it learns",
    )
    control_min: float | None = Field(
        default=None, description="smallest value of that feature in the control sample"
    )
    control_max: float | None = Field(default=None, description="and the value that it ends below")
    batch: int = Field(default=128, ge=1, le=1_000_000, description="events of a step")
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    epochs: int = Field(default=20, ge=1, le=10_000)
    patience: int = Field(
        default=5, ge=1, description="epochs without a better held-out loss after which it stops"
    )
    folds: int = Field(default=5, ge=2, le=20, description="folds of a windowed search")
    train_share: Annotated[float, Field(gt=0, le=0.5)] = Field(
        default=0.2,
        description="share of the events set aside to train a fixed score (grids); with a control "
        "sample that sample is set aside instead",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU where there is one"
    )

    @model_validator(mode="after")
    def _control_is_complete(self) -> Self:
        low, high = self.control_min, self.control_max
        if (self.control_feature is None) != (low is None and high is None):
            raise ValueError(
                "a control sample needs control_feature and control_min or control_max"
            )
        if low is not None and high is not None and low >= high:
            raise ValueError(f"control_min {low:g} is not below control_max {high:g}")
        return self
