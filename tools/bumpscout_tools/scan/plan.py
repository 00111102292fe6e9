"""The search plan: everything that `execute` will do, as one frozen and hashable settings model."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bumpscout_tools.detectors.settings import CwolaSettings

__all__ = [
    "BackgroundPlan",
    "DetectorPlan",
    "ReplayPlan",
    "SearchPlan",
    "SpectrumPlan",
    "WindowPlan",
    "WorkingPointPlan",
]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DetectorPlan(_Settings):
    """One detector by name, its settings, and the features that it or a script for it may use."""

    name: Literal["cwola"] = "cwola"
    settings: CwolaSettings = CwolaSettings()
    features: tuple[str, ...] = ("mj_light", "mj_delta", "tau21_light", "tau21_heavy")


class SpectrumPlan(_Settings):
    """The mass spectrum: bins on a fixed logarithmic grid, and where the fit may start."""

    name: Literal["m_jj"] = "m_jj"
    bin_log_width: float = Field(default=0.02, gt=0.001, le=0.2)
    min_gev: float | None = Field(default=None, gt=0, description="lower bound of a request")
    max_gev: float | None = Field(default=None, gt=0, description="upper bound of a request")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_gev is not None and self.max_gev is not None and self.min_gev >= self.max_gev:
            raise ValueError(f"min_gev {self.min_gev} is not below max_gev {self.max_gev}")
        return self


class WindowPlan(_Settings):
    """Signal windows of equal logarithmic width on the grid of the bins, all over the spectrum."""

    width_bins: int = Field(default=6, ge=2, le=50)
    step_bins: int = Field(default=3, ge=1, le=50)
    min_events: int = Field(
        default=200, ge=20, description="fewest events in a window and in each of its side bands"
    )
    min_expected: float = Field(
        default=5.0,
        gt=0,
        description="events that window and side bands must each expect after the cut to be tested",
    )


class WorkingPointPlan(_Settings):
    """Thresholds on the score, as efficiencies; a deterministic rule refines the hottest.

    Visible cross sections, where given, decide the efficiencies as soon as the number of events in
    the fitted mass range is known.
    """

    efficiencies: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.1, 0.03, 0.01, 0.003, 0.001)
    cross_sections_pb: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="N_selected / luminosity of each working point, falling"
    )
    refine_rounds: int = Field(default=1, ge=0, le=4)

    @model_validator(mode="after")
    def _descending(self) -> Self:
        if not self.efficiencies:
            raise ValueError("at least one efficiency is needed")
        if list(self.efficiencies) != sorted(set(self.efficiencies), reverse=True):
            raise ValueError(f"efficiencies must fall strictly: {self.efficiencies}")
        if list(self.cross_sections_pb) != sorted(set(self.cross_sections_pb), reverse=True):
            raise ValueError(f"cross_sections_pb must fall strictly: {self.cross_sections_pb}")
        return self


class BackgroundPlan(_Settings):
    """Dijet family p2..p6, order chosen by likelihood ratio at `alpha`."""

    orders: tuple[int, ...] = Field(default=(2, 3, 4, 5), min_length=1)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    sqrt_s_gev: float = Field(default=13000.0, gt=0)

    @model_validator(mode="after")
    def _orders(self) -> Self:
        if list(self.orders) != sorted(set(self.orders)) or not set(self.orders) <= {2, 3, 4, 5, 6}:
            raise ValueError(f"orders must rise strictly within 2..6: {self.orders}")
        return self


class ReplayPlan(_Settings):
    """Replays of the whole procedure on background-only pseudo-experiments."""

    n: int = Field(default=200, ge=0, le=100_000)
    stop_after_reached: int = Field(
        default=10,
        ge=1,
        description="Besag-Clifford: stop when so many replays reached the data",
    )


class SearchPlan(_Settings):
    """All that one search does; the same plan is run on the data and on every replay."""

    schema_version: Literal["bumpscout.plan/1"] = "bumpscout.plan/1"
    detectors: tuple[DetectorPlan, ...] = Field(default=(DetectorPlan(),), min_length=1)
    spectrum: SpectrumPlan = SpectrumPlan()
    windows: WindowPlan = WindowPlan()
    working_points: WorkingPointPlan = WorkingPointPlan()
    background: BackgroundPlan = BackgroundPlan()
    bump_bins: tuple[int, int] = Field(default=(2, 6), description="widths of a bump, in bins")
    toys: int = Field(
        default=10_000, ge=100, le=10_000_000, description="toys of the scan p-value, all refitted"
    )
    cell_toys: int = Field(
        default=200, ge=50, le=10_000, description="toys for the null mean and width of one cell"
    )
    replays: ReplayPlan = ReplayPlan()
    luminosity_fb: float | None = Field(default=None, gt=0)
    significance_for_claim: float = Field(default=3.0, gt=0, le=8)
    blinding: Literal["open", "staged"] = "open"

    @model_validator(mode="after")
    def _luminosity_for_cross_sections(self) -> Self:
        if self.working_points.cross_sections_pb and self.luminosity_fb is None:
            raise ValueError(
                "working_points.cross_sections_pb are N_selected / luminosity: give luminosity_fb"
            )
        return self

    @model_validator(mode="after")
    def _bump_fits_window(self) -> Self:
        shortest, longest = self.bump_bins
        if not 1 <= shortest <= min(longest, self.windows.width_bins):
            raise ValueError(
                f"bump_bins {self.bump_bins} must rise from at least 1, and the first must fit "
                f"into a window of {self.windows.width_bins} bins"
            )
        return self

    def sha256(self) -> str:
        """Return the hash that is frozen before the final scan."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
