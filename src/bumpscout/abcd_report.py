"""The answer of `abcd`: records, and their text for a terminal."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bumpscout.words import format_p

__all__ = ["AbcdReport", "Closure", "Four", "Limit", "abcd_text"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Four(_Record):
    """One number for each region."""

    a: float
    b: float
    c: float
    d: float


class Limit(_Record):
    """Upper limit and expected discovery strengths, in events in A, or in pb."""

    observed: float
    expected: tuple[float, float, float, float, float]
    discovery_3: float
    discovery_5: float


class Closure(_Record):
    """Check of N_A N_D = N_B N_C in a validation region; `closes` within `p` and uncertainty."""

    counts: Four
    ratio: float
    low: float
    high: float
    p: float
    closes: bool


class AbcdReport(_Record):
    """Signal in region A.

    Attributes:
        signal: fitted events in A, with the 68% interval of the profile likelihood; an end is None
            where the likelihood does not rise enough on that side.
        background: in A of the fit without a signal; `naive` is N_B N_C / N_D.
        local_p: of the excess, by `method`, with a 68% interval where toys made it; `local_z` is
            that of the profile likelihood.
        closure_pull: fitted deviation from closure in units of its uncertainty.
    """

    counts: Four
    signal_fractions: Four
    closure: float
    nuisances: dict[str, float]
    signal: float
    signal_low: float | None
    signal_high: float | None
    background: float
    naive: float | None
    local_z: float
    local_p: float
    local_p_low: float
    local_p_high: float
    method: Literal["asymptotic", "toys"]
    n_toys: int
    closure_pull: float
    level: float
    limit_events: Limit
    limit_pb: Limit | None
    validation: Closure | None
    seed: int
    notes: tuple[str, ...]


def abcd_text(report: AbcdReport) -> str:
    """Return the report in words."""
    n = report.counts
    naive = "no estimate (D is empty)" if report.naive is None else f"{report.naive:.4g}"
    low = "?" if report.signal_low is None else f"{report.signal_low:.4g}"
    high = "?" if report.signal_high is None else f"{report.signal_high:.4g}"
    toys = f", {report.n_toys} toys" if report.method == "toys" else ""
    lines = [
        f"A {n.a:g}, B {n.b:g}, C {n.c:g}, D {n.d:g}; closure uncertainty "
        f"{100 * report.closure:g}%",
        f"background in A: {report.background:.4g} without a signal; N_B N_C / N_D = {naive}",
        f"signal in A: {report.signal:.4g}, 68% interval {low} to {high}; closure pulled by "
        f"{report.closure_pull:+.2f} sigma",
        f"excess: z = {report.local_z:.2f}, p = {format_p(report.local_p)} ({report.method}{toys})",
    ]
    for unit, limit in (("events", report.limit_events), ("pb", report.limit_pb)):
        if limit is None:
            continue
        bands = ", ".join(f"{value:.4g}" for value in limit.expected)
        lines += [
            f"upper limit at {100 * report.level:g}% CL: {limit.observed:.4g} {unit} (expected at "
            f"-2..2 sigma: {bands})",
            f"expected 3 sigma from {limit.discovery_3:.4g} {unit}, 5 sigma from "
            f"{limit.discovery_5:.4g}",
        ]
    if report.validation is not None:
        check = report.validation
        lines.append(
            f"validation region: N_A N_D / (N_B N_C) = {check.ratio:.3g} ({check.low:.3g} to "
            f"{check.high:.3g}), p of closure = {format_p(check.p)}: "
            f"{'closes' if check.closes else 'DOES NOT CLOSE'}"
        )
    lines += [f"Note: {note}." for note in report.notes]
    return "\n".join(lines)
