"""What limits a scan sets: signal widths, resolution, level, and how many of them by toys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LimitPlan"]


class LimitPlan(BaseModel):
    """Upper limits on Gaussian signals in the spectrum behind each working point."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    widths: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        default=(0.0, 0.05, 0.10, 0.15),
        max_length=10,
        description="relative widths of the signals before resolution; none: no limits are set",
    )
    resolution: float = Field(
        default=0.03, ge=0.005, le=0.5, description="relative mass resolution of the detector"
    )
    level: float = Field(default=0.95, ge=0.5, lt=1)
    toys: int = Field(
        default=500,
        ge=0,
        le=100_000,
        description="toys of a limit over fewer than 5 expected events; 0: asymptotic formulae",
    )
    max_by_toys: int = Field(
        default=60, ge=0, le=100_000, description="limits by toys at most, narrow signals first"
    )
    max_points: int | None = Field(
        default=None,
        ge=1,
        description="of a grid: working points of each spectrum that get limits, evenly chosen, "
        "the loosest and the tightest among them; all if not given",
    )
