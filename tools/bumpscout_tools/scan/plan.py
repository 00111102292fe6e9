"""The search plan: everything that `execute` will do, as one frozen and hashable settings model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from bumpscout_tools.detectors.settings import (
    FIXED_DETECTORS,
    SETTINGS,
    CwolaSettings,
    DetectorName,
    DetectorSettings,
    QuakSettings,
)
from bumpscout_tools.scan.grid_plan import (
    MAX_SPECTRA,
    MIN_BINS,
    GridSpectra,
    GridSpectrumPlan,
    Points,
    expand_spectra,
)
from bumpscout_tools.scan.limits_plan import LimitPlan

__all__ = [
    "BackgroundPlan",
    "DetectorPlan",
    "GridSpectrumPlan",
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

    name: DetectorName = "cwola"
    settings: DetectorSettings = CwolaSettings()
    features: tuple[str, ...] = Field(
        default=("mj_light", "mj_delta", "tau21_light", "tau21_heavy"),
        description="names of features, or of sets: baseline, extended-10, extended-12, "
        "extended-56, rmm; a plan keeps the members",
    )

    decorrelate: Literal["none", "quantile"] = Field(
        default="none",
        description="quantile: a cut keeps the same share of the background at each mass, by "
        "quantiles of the score fitted outside each window as smooth functions of the mass",
    )

    @field_validator("features")
    @classmethod
    def _members_of_sets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # Not at the top: the catalogue brings compiled code along, and plans are read for --help.
        from bumpscout_tools.features.catalogue import expand_sets

        return expand_sets(names)

    @model_validator(mode="before")
    @classmethod
    def _settings_of_its_name(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name, settings = given.get("name", "cwola"), given.get("settings", {})
        model = SETTINGS.get(name) if isinstance(name, str) else None
        if model is None or not isinstance(settings, dict):
            return given
        try:
            return {**given, "settings": model.model_validate(settings)}
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(["settings", *map(str, first["loc"])])
            raise ValueError(f"{where}: {first['msg']}") from error

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if not isinstance(self.settings, SETTINGS[self.name]):
            raise ValueError(f"the settings given are none of the detector {self.name}")
        if self.name == "column" and len(self.features) != 1:
            raise ValueError("column takes exactly one feature: the column that holds the score")
        if isinstance(self.settings, QuakSettings):
            for prior in self.settings.priors:
                if prior.features != self.features:
                    raise ValueError(
                        f"the prior {prior.name} holds the features {', '.join(prior.features)}, "
                        f"and quak uses {', '.join(self.features)}; read it again from `files`"
                    )
        return self


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
    the fitted mass range is known (of a grid: the number of all scanned events). Many of either are
    written as a range in equal steps of the logarithm, ``{from: 100, to: 0.001, n: 100}``. A grid
    scans them all at once and refines nothing: `refine_rounds` is 0 there.
    """

    efficiencies: Points = (0.1, 0.03, 0.01, 0.003, 0.001)
    cross_sections_pb: Points = Field(
        default=(), description="N_selected / luminosity of each working point, falling"
    )
    refine_rounds: int = Field(default=1, ge=0, le=4)

    @model_validator(mode="after")
    def _descending(self) -> Self:
        if not self.efficiencies:
            raise ValueError("at least one efficiency is needed")
        if max(self.efficiencies) > 1:
            raise ValueError(f"an efficiency is at most 1: {max(self.efficiencies)}")
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
    spectra: Annotated[
        tuple[GridSpectrumPlan, ...],
        Field(max_length=MAX_SPECTRA),
        BeforeValidator(
            expand_spectra, json_schema_input_type=list[GridSpectrumPlan | GridSpectra]
        ),
    ] = Field(default=(), description="a grid of spectra instead of windows on the one spectrum")
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
    limits: LimitPlan = LimitPlan()
    luminosity_fb: float | None = Field(default=None, gt=0)
    significance_for_claim: float = Field(default=3.0, gt=0, le=8)
    blinding: Literal["open", "staged"] = "open"
    withheld: tuple[int, ...] = Field(
        default=(),
        description="numbers of detectors whose tests count (ledger, scan p, replays) but which "
        "make no bump, because their scores were rejected after they were seen",
    )
    n_lost: int = Field(
        default=0,
        ge=0,
        description="detectors that were planned and left no scores, so replays cannot run them",
    )

    @model_validator(mode="after")
    def _some_detector_may_claim(self) -> Self:
        known = range(len(self.detectors))
        if list(self.withheld) != sorted(set(self.withheld) & set(known)):
            raise ValueError(f"withheld must rise strictly within the detectors: {self.withheld}")
        if len(self.withheld) == len(self.detectors):
            raise ValueError("every detector is withheld: none could make a bump")
        return self

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_grids(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("spectra"):
            # Limits behind every cell cost more than the scan: a grid sets what is asked for.
            given = {"limits": {"widths": ()}, **given}
            points = given.get("working_points", {})
            if isinstance(points, dict):
                return {**given, "working_points": {"refine_rounds": 0, **points}}
        return given

    @model_validator(mode="after")
    def _grid(self) -> Self:
        if not self.spectra:
            if self.limits.max_points is not None:
                raise ValueError("limits.max_points belongs to a grid; drop it, or give spectra")
            return self
        for name, count in Counter(spectrum.name for spectrum in self.spectra).items():
            if count > 1:
                raise ValueError(f"spectra: {name} is named {count} times; each may stand once")
        learned = [one.name for one in self.detectors if one.name not in FIXED_DETECTORS]
        if learned:
            raise ValueError(
                f"spectra need detectors whose score does not depend on the scanned events "
                f"({', '.join(FIXED_DETECTORS)}), not {', '.join(learned)}"
            )
        if any(one.decorrelate != "none" for one in self.detectors):
            raise ValueError(
                "decorrelate takes the mass of one spectrum out of a score; a grid has many "
                "spectra, so drop it, or drop spectra"
            )
        if self.working_points.refine_rounds:
            raise ValueError("a grid scans every working point; refine_rounds must be 0")
        for name in ("spectrum", "windows", "cell_toys"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} belongs to a scan of windows; drop it, or drop spectra")
        return self

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
        if self.spectra:
            if not 1 <= shortest <= longest <= MIN_BINS // 2:
                raise ValueError(
                    f"bump_bins {self.bump_bins} must rise from at least 1 to at most "
                    f"{MIN_BINS // 2}, half of the fewest bins of a spectrum"
                )
            return self
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
