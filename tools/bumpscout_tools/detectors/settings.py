"""Settings of the detectors; a plan carries them, a script receives them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CwolaSettings"]


class CwolaSettings(BaseModel):
    """CWoLa hunting (arXiv:1902.02634) with k-fold ensembles of boosted trees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: int = Field(default=5, ge=2, le=20)
    members: int = Field(default=2, ge=1, le=50, description="trainings averaged per fold")
    trees: int = Field(default=40, ge=5, le=2000)
    leaves: int = Field(default=16, ge=2, le=256)
    learning_rate: float = Field(default=0.08, gt=0, le=1)
    min_child_events: int = Field(default=100, ge=1)
    sideband_windows: float = Field(
        default=1.0, gt=0, le=5, description="width of each side band in units of the window's"
    )
