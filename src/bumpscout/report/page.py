"""What both templates of the report print: one typed page made from the files of a run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from bumpscout.evidence import Evidence
from bumpscout.report.correlation import correlation_lines
from bumpscout.report.differences import attribution_words, difference_rows
from bumpscout.report.fact import Fact
from bumpscout.report.figures import Drawn
from bumpscout.report.grid_page import GridRow, grid_plan, grid_rows, grid_tried
from bumpscout.result import Bump, Result
from bumpscout.scan_limits import limit_lines
from bumpscout.words import format_p, mass_tev, reached, verdict_title, z_value
from bumpscout_tools.scan.limits_scan import ScanLimits
from bumpscout_tools.scan.outcome import ProcedureP, ScanOutcome, ScanP
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["Page", "make_page"]

_SHOWN_BUMPS = 8
_SHOWN_REASONS = 5


@dataclass(frozen=True)
class BumpRow:
    """One row of the table of excesses."""

    result_id: str
    mass: str
    cut: str
    counts: str
    local: str
    excess: str
    guards: str


@dataclass(frozen=True)
class Page:
    """All that a report says, as text and figures; any of it may hold foreign markup."""

    result: Result
    title: str
    tone: str
    numbers: tuple[Fact, ...]
    figures: dict[str, Drawn]
    bumps: tuple[BumpRow, ...]
    n_more_bumps: int
    guards: tuple[Fact, ...]
    variants: tuple[Fact, ...]
    tried: tuple[str, ...]
    calibration: tuple[str, ...]
    card: tuple[Fact, ...]
    drops: tuple[Fact, ...]
    plan: tuple[Fact, ...]
    cost: tuple[Fact, ...]
    limits: tuple[str, ...] = ()
    differences: tuple[Fact, ...] = ()
    attribution: str = ""
    correlation: tuple[str, ...] = ()
    spectra: tuple[GridRow, ...] = ()
    versions: tuple[Fact, ...] = field(default=())


def make_page(
    result: Result,
    evidence: Evidence,
    plan: SearchPlan | None,
    figures: dict[str, Drawn],
    limits: ScanLimits | None = None,
) -> Page:
    """Turn the records of a run into the words of its report."""
    best = result.bumps[0] if result.bumps else None
    return Page(
        result=result,
        title=verdict_title(result.verdict),
        tone=result.verdict or result.status,
        numbers=_numbers(best, plan) if best else (),
        figures=figures,
        bumps=tuple(_row(bump, plan) for bump in result.bumps[:_SHOWN_BUMPS]),
        n_more_bumps=max(0, len(result.bumps) - _SHOWN_BUMPS),
        guards=_guards(best) if best else (),
        variants=_variants(best) if best else (),
        tried=tuple(_tried(result, evidence.outcome)),
        calibration=tuple(_calibration(best, evidence)),
        card=tuple(_card(result, evidence)),
        drops=tuple(
            Fact(drop.reason, str(drop.n_events))
            for drop in (evidence.card.drops if evidence.card else ())
        ),
        plan=tuple(_plan(plan)) if plan else (),
        spectra=grid_rows(evidence.outcome) if evidence.outcome and evidence.outcome.grid else (),
        differences=difference_rows(result.anomalous),
        attribution=attribution_words(result.anomalous),
        correlation=tuple(correlation_lines(result.correlation)),
        cost=tuple(_cost(result)),
        limits=tuple(limit_lines(limits)) if limits else (),
        versions=tuple(
            Fact(name, value) for name, value in sorted(result.software.versions.items())
        ),
    )


def _numbers(bump: Bump, plan: SearchPlan | None) -> tuple[Fact, ...]:
    grid = plan is not None and bool(plan.spectra)
    here = "spectrum, mass" if grid else "window"
    return (
        Fact(
            "local z",
            f"{bump.local_z:.1f}",
            f"p = {format_p(bump.local_p)}: this {here} and this cut alone",
        ),
        _p_fact(
            "scan p",
            bump.scan_p,
            f"over all masses, {'spectra' if grid else 'windows'} and cuts that were scanned",
        ),
        _p_fact("procedure p", bump.procedure_p, reached(bump)),
    )


def _p_fact(name: str, p: ScanP | ProcedureP | None, note: str) -> Fact:
    if p is None:
        return Fact(name, "not made", note)
    z = z_value(p.value)
    strength = f"{z:.1f} sigma" if z > 0 else "below the median of background"
    return Fact(name, format_p(p.value), f"{strength}, 68% interval {_interval(p)}; {note}")


def _interval(p: ScanP | ProcedureP) -> str:
    return f"{format_p(p.low)} to {format_p(p.high)}"


def _row(bump: Bump, plan: SearchPlan | None) -> BumpRow:
    point = bump.working_point
    cut = f"{100 * point.efficiency:.3g}%"
    if point.cross_section_pb is not None:
        cut += f" ({point.cross_section_pb:.3g} pb visible)"
    fired = [guard.name for guard in bump.guards if guard.fired]
    low, high = bump.interval_gev
    where = f"{bump.spectrum}: " if plan is not None and plan.spectra else ""
    return BumpRow(
        result_id=bump.result_id,
        mass=f"{where}{mass_tev(bump.mass_gev)} ({low:.0f} to {high:.0f} GeV)",
        cut=cut,
        counts=f"{bump.n_observed} / {bump.n_expected:.1f}",
        local=f"{bump.local_z:.1f} (p = {format_p(bump.local_p)})",
        excess="" if bump.excess is None else f"{bump.excess:.1f}",
        guards=", ".join(fired) if fired else ("none fired" if bump.guards else "not run"),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _guards(bump: Bump) -> tuple[Fact, ...]:
    return tuple(
        Fact(guard.name, "fired" if guard.fired else "passed", _capital(guard.message))
        for guard in bump.guards
    )


def _variants(bump: Bump) -> tuple[Fact, ...]:
    return tuple(
        Fact(
            variant.name,
            f"{variant.excess:.1f}",
            f"local z {variant.local_z:.1f}"
            + ("" if variant.believable else "; its fit cannot be believed"),
        )
        for variant in bump.variants
    )


def _tried(result: Result, outcome: ScanOutcome | None) -> list[str]:
    lines: list[str] = []
    if result.ledger is not None:
        lines.append(
            f"The ledger holds {result.ledger.n_tests} tests; each was written down before it was "
            f"made. Its head is {result.ledger.head_sha256[:16]}."
        )
    if outcome is not None and outcome.grid:
        lines += grid_tried(outcome)
    elif outcome is not None:
        counts = Counter((cell.detector, cell.stage) for cell in outcome.cells)
        windows = len(outcome.windows_gev)
        for (detector, stage), n_cells in sorted(counts.items()):
            what = "on the coarse grid" if stage == "coarse" else "refined around the hottest"
            lines.append(
                f"Final scan with {detector}: {n_cells} tests {what}, {windows} signal windows."
            )
        doubts = Counter(_kind(cell.reason) for cell in outcome.cells if not cell.believable)
        if doubts:
            lines.append(
                f"{doubts.total()} of {len(outcome.cells)} tests cannot be believed; they claim "
                "nothing, and count as tested."
            )
        lines += [f"{count} of these: {why}." for why, count in doubts.most_common(_SHOWN_REASONS)]
    return lines


def _kind(reason: str | None) -> str:
    """Return a reason without its own numbers, so that equal reasons are counted together."""
    if reason is None:
        return "no reason given"
    return re.sub(r"^only \S+ events", "too few events", reason)


def _calibration(bump: Bump | None, evidence: Evidence) -> list[str]:
    lines: list[str] = list(evidence.calibration)
    if bump is not None and bump.scan_p is not None:
        lines.append(f"Scan p: {bump.scan_p.method}; {bump.scan_p.n_toys} toys.")
    if bump is not None and bump.procedure_p is not None:
        p = bump.procedure_p
        early = "; stopped early by its rule" if p.stopped_early else ""
        lines.append(f"Procedure p: {p.method}; {p.n_reached} of {p.n_replays} replays{early}.")
    failed = sum(value is None for value in evidence.replay_statistics)
    if failed:
        lines.append(f"{failed} replays failed; each is counted as having reached the observation.")
    return lines


def _card(result: Result, evidence: Evidence) -> list[Fact]:
    facts: list[Fact] = []
    if result.dataset is not None:
        facts += [
            Fact("File", result.dataset.name),
            Fact("Format", result.dataset.format),
            Fact("SHA-256", result.dataset.sha256),
            Fact("Events in the file", str(result.dataset.n_events)),
        ]
    if evidence.card is not None:
        facts.append(Fact("Events that can be used", str(evidence.card.n_used)))
        if evidence.card.columns:
            facts.append(Fact("Columns", ", ".join(evidence.card.columns)))
        facts += [Fact("Note", note) for note in evidence.card.notes]
    if evidence.outcome is not None and evidence.outcome.grid:
        facts.append(Fact("Scanned", f"{evidence.outcome.n_events} events"))
    elif evidence.outcome is not None:
        low, high = evidence.outcome.fit_range_gev
        facts.append(
            Fact(
                "Searched",
                f"{evidence.outcome.n_events} events from {low:.0f} to {high:.0f} GeV; below, no "
                "order of the background family describes the spectrum, or the request excludes it",
            )
        )
    return facts


def _model_words(name: str) -> str:
    words = {
        "offline": "the offline policy, which is no language model",
        "none": "none; the plan was given in a file",
    }
    return words.get(name, name)


def _plan(plan: SearchPlan) -> list[Fact]:
    if plan.spectra:
        return [Fact(name, value) for name, value in grid_plan(plan)]
    points = ", ".join(f"{100 * value:.3g}%" for value in plan.working_points.efficiencies)
    orders = ", ".join(f"p{order}" for order in plan.background.orders)
    return [
        Fact("Detectors", ", ".join(detector.name for detector in plan.detectors)),
        Fact("Features", ", ".join(plan.detectors[0].features)),
        Fact(
            "Signal windows",
            f"{plan.windows.width_bins} bins wide, every {plan.windows.step_bins} bins, over the "
            f"whole spectrum; bins of {100 * plan.spectrum.bin_log_width:.3g}% of the mass",
        ),
        Fact(
            "Working points",
            f"{points} of the events kept; {plan.working_points.refine_rounds} rounds of "
            "refinement around the hottest",
        ),
        Fact("Background", f"dijet family {orders}, next order at p < {plan.background.alpha:g}"),
        Fact("Toys and replays", f"{plan.toys} toys, {plan.replays.n} replays at most"),
        Fact("Blinding", plan.blinding),
    ]


def _cost(result: Result) -> list[Fact]:
    cost = result.cost
    return [
        Fact("Wall time", f"{cost.wall_s:.0f} s"),
        Fact("Time in the sandbox", f"{cost.sandbox_s:.0f} s"),
        Fact("Model", _model_words(result.software.model)),
        Fact("Model calls", str(cost.model_calls)),
        Fact("Tokens", f"{cost.prompt_tokens} in, {cost.completion_tokens} out"),
        Fact("Cost", f"{cost.usd:.2f} USD"),
    ]
