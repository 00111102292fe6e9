"""Settings of the detectors that divide densities: ANODE, R-ANODE, QUAK."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "MAX_PRIOR_EVENTS",
    "MIN_PRIOR_EVENTS",
    "AnodeSettings",
    "QuakSettings",
    "RAnodeSettings",
    "SignalPrior",
]

MIN_PRIOR_EVENTS, MAX_PRIOR_EVENTS = 200, 2000


class _Settings(BaseModel):
    """What all of them share: folds, and the density outside the window."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    folds: int = Field(default=5, ge=2, le=20)
    steps: int = Field(
        default=400, ge=20, le=100_000, description="gradient steps of the density outside"
    )
    degree: int = Field(
        default=2, ge=0, le=4, description="power of log mass up to which the density varies"
    )


class AnodeSettings(_Settings):
    """ANODE (arXiv:2001.04990): density inside the window over that interpolated from outside."""

    inner_steps: int = Field(
        default=400, ge=20, le=100_000, description="gradient steps of the density inside"
    )
    inner_degree: int = Field(
        default=0, ge=0, le=4, description="the same power inside, at most that of `degree`"
    )
    trainings: int = Field(
        default=4, ge=1, le=100, description="densities inside that are averaged, other held-out"
    )

    @model_validator(mode="after")
    def _inner_is_no_finer(self) -> Self:
        if self.inner_degree > self.degree:
            raise ValueError(f"inner_degree {self.inner_degree} exceeds degree {self.degree}")
        return self


class RAnodeSettings(_Settings):
    """R-ANODE (arXiv:2312.11629): density of the signal component of the window, by likelihood."""

    signal_steps: int = Field(
        default=1000, ge=20, le=100_000, description="gradient steps of each signal density"
    )
    trainings: int = Field(
        default=4,
        ge=1,
        le=100,
        description="signal densities that are averaged, each with other held-out events",
    )


class SignalPrior(BaseModel):
    """Simulated events of one signal hypothesis, as the plan carries them.

    `bumpscout` makes it of a file that the settings name; only a script that is given the plan sees
    the events, never the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the file")
    features: tuple[str, ...] = Field(min_length=1)
    rows: str = Field(
        default="",
        max_length=4_000_000,
        description="features of the events, row by row: little-endian float32, base64; empty "
        "where a plan is only shown",
    )

    @classmethod
    def of(
        cls, name: str, sha256: str, features: tuple[str, ...], values: npt.NDArray[np.float64]
    ) -> SignalPrior:
        """Pack the features (n, k) of events."""
        rows = base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
        return cls(name=name, sha256=sha256, features=features, rows=rows)

    def values(self) -> npt.NDArray[np.float64]:
        """Return the features (n, k)."""
        packed = np.frombuffer(base64.b64decode(self.rows, validate=True), dtype="<f4")
        return packed.reshape(-1, len(self.features)).astype(np.float64)

    @model_validator(mode="after")
    def _are_events(self) -> Self:
        if not self.rows:
            return self
        try:
            values = self.values()
        except (binascii.Error, ValueError) as error:
            raise ValueError(
                f"rows of {self.name} are no table of {len(self.features)} features: {error}"
            ) from error
        if not MIN_PRIOR_EVENTS <= len(values) <= MAX_PRIOR_EVENTS:
            raise ValueError(
                f"{self.name} holds {len(values)} events; a prior has {MIN_PRIOR_EVENTS} to "
                f"{MAX_PRIOR_EVENTS}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{self.name} holds values that are not finite")
        return self


class QuakSettings(_Settings):
    """QUAK (arXiv:2011.03550): like a simulated signal, and unlike the data beside the window."""

    files: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        default=(),
        max_length=20,
        description="files of simulated signal events, one a hypothesis; they become `priors` "
        "before the plan is carried out",
    )
    priors: tuple[SignalPrior, ...] = Field(default=(), max_length=20)
    signal_steps: int = Field(
        default=400, ge=20, le=100_000, description="gradient steps of the density of each prior"
    )
    weights: Literal["fitted", "equal"] = Field(
        default="fitted",
        description="how much each prior counts: as the events of the window tell, or equally",
    )
    broaden: float = Field(
        default=0.6,
        ge=0,
        le=3,
        description="how far the true signal may lie from the priors, in standard deviations of "
        "the background: the priors' events are smeared by it",
    )

    @model_validator(mode="after")
    def _same_features(self) -> Self:
        hashes = [prior.sha256 for prior in self.priors]
        if len(set(hashes)) < len(hashes):
            raise ValueError("one file is named twice; each prior is a file of its own")
        if len({prior.features for prior in self.priors}) > 1:
            raise ValueError("the priors hold different features; read them again from `files`")
        return self
