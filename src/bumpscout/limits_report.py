"""Question and answer of `limits`: records, and the answer as text for a terminal."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from bumpscout.statistics_shared import FitSummary, SpectrumOptions
from bumpscout.words import format_p
from bumpscout_tools.inference import TOYS_BELOW_EVENTS

__all__ = ["GlobalRow", "LimitReport", "LimitRow", "Limiting", "limits_text"]


class Limiting(SpectrumOptions):
    """Options of `limits`; masses in GeV, widths in percent, uncertainties relative."""

    widths: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0)
    masses: tuple[float, float, float] | None = None
    resolution: float = 0.03
    luminosity_fb: float | None = None
    efficiency: float = 1.0
    lumi_uncertainty: float = 0.0
    efficiency_uncertainty: float = 0.0
    mass_scale_uncertainty: float = 0.0
    resolution_uncertainty: float = 0.0
    background_uncertainty: float = 0.0
    spurious: str = "auto"
    level: float = 0.95
    toys: int = 1000


class LimitRow(BaseModel):
    """One hypothesis; events are those of the whole peak, pb None without a luminosity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mass_gev: float
    width_percent: float
    sigma_gev: float
    observed_events: float
    expected_events: tuple[float, float, float, float, float]
    observed_pb: float | None
    expected_pb: tuple[float, float, float, float, float] | None
    discovery_3_events: float
    discovery_5_events: float
    discovery_3_pb: float | None
    discovery_5_pb: float | None
    signal_events: float
    signal_error: float
    spurious_events: float
    local_z: float
    local_p: float
    background_events: float
    method: str
    converged: bool


class GlobalRow(BaseModel):
    """The most significant hypothesis, and how often background alone has one like it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mass_gev: float
    width_percent: float
    local_z: float
    local_p: float
    global_p: float
    global_p_low: float
    global_p_high: float
    method: str
    n: int


class LimitReport(BaseModel):
    """Limits of a spectrum; `impacts` are the largest relative effects on the expected limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    believable: bool
    reasons: tuple[str, ...]
    fit: FitSummary
    range_gev: tuple[float, float]
    excluded_gev: tuple[tuple[float, float], ...]
    level: float
    resolution: float
    luminosity_fb: float | None
    efficiency: float
    nuisances: dict[str, float]
    impacts: dict[str, float]
    excess: GlobalRow
    limits: tuple[LimitRow, ...]
    seed: int
    notes: tuple[str, ...]


def limits_text(report: LimitReport) -> str:
    """Return the report as lines for a terminal."""
    best = report.excess
    unit = "pb" if report.luminosity_fb is not None else "events"
    state = "believable" if report.believable else "NOT believable"
    low, high = report.range_gev
    lines = [
        f"background {report.model}, {low:g} to {high:g} GeV, deviance {report.fit.deviance:.1f}/"
        f"{report.fit.ndf}, p = {format_p(report.fit.p_value)}, {state}",
        *(f"  {reason}" for reason in report.reasons),
        f"largest excess: {best.mass_gev:.0f} GeV, width {best.width_percent:g}%, local z = "
        f"{best.local_z:.2f} (p = {format_p(best.local_p)}), global p = {format_p(best.global_p)} "
        f"({best.method})",
        f"upper limits at {100 * report.level:g}% CL in {unit} (* from toys below "
        f"{TOYS_BELOW_EVENTS:g} expected events), and signals of an expected 3 and 5 sigma",
        "  mass GeV  width %    observed    -2 sigma    -1 sigma      median    +1 sigma    "
        "+2 sigma  discover 3  discover 5",
    ]
    for row in report.limits:
        observed = row.observed_events if row.observed_pb is None else row.observed_pb
        bands = row.expected_events if row.expected_pb is None else row.expected_pb
        strengths = (
            (row.discovery_3_events, row.discovery_5_events)
            if row.discovery_3_pb is None or row.discovery_5_pb is None
            else (row.discovery_3_pb, row.discovery_5_pb)
        )
        cells = "".join(f"{value:12.4g}" for value in (observed, *bands, *strengths))
        mark = " *" if row.method == "toys" else ""
        lines.append(f"{row.mass_gev:10.0f}{row.width_percent:9g}{cells}{mark}")
    percent = {name: round(100.0 * impact, 1) + 0.0 for name, impact in report.impacts.items()}
    used = [f"{name} {value:.1f}%" for name, value in percent.items()]
    if used:
        lines.append(f"nuisances raise the median limit by up to: {', '.join(used)}")
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)
