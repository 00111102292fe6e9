"""Tables of `calibrate` about verdicts, objections, closure, and contaminated nulls."""

from __future__ import annotations

from bumpscout_tools.scan.alarms import AlarmRates
from bumpscout_tools.scan.contamination import Contamination
from bumpscout_tools.scan.performance import Performance
from bumpscout_tools.scan.rates import Rate
from bumpscout_tools.scan.reach import Estimate
from bumpscout_tools.scan.verdict_rates import Closures, VerdictRates

__all__ = ["contamination_markdown", "estimate_text", "rate_text", "verdict_markdown"]

BACKGROUND = "background alone"


def rate_text(found: Rate) -> str:
    """Return k of n with its interval."""
    return f"{found.k} of {found.n} ({found.value:.3g}, {found.low:.2g} to {found.high:.2g})"


def estimate_text(found: Estimate, form: str = ".2g") -> str:
    """Return a value with its bootstrap interval; an open end where it is not known."""
    low, high = ("?" if end is None else f"{end:{form}}" for end in (found.low, found.high))
    return f"{found.value:{form}} ({low} to {high})"


def verdict_markdown(alarms: AlarmRates, signal: Performance | None) -> list[str]:
    """Return the verdicts that searches would give, and what stood against a claim."""
    rows = [(BACKGROUND, alarms.verdicts)]
    if signal is not None:
        rows += [
            (f"S/sqrt(B) {at.strength:g}", at.verdicts)
            for at in signal.strengths
            if at.verdicts is not None
        ]
    names = list(alarms.verdicts.verdicts)
    lines = [
        "",
        "## Verdicts",
        "",
        "What a search with this plan would say, procedure p being the rank among replays of other "
        f"data sets ({alarms.verdicts.n_pool} for background alone; with fewer than 200 an excess "
        "is called candidate). Beside it, how often local p alone would have claimed.",
        "",
        f"| data | {' | '.join(names)} | local z above 3 |",
        "|---" * (len(names) + 2) + "|",
    ]
    for name, rates in rows:
        cells = [rate_text(rates.verdicts[verdict]) for verdict in names]
        lines.append(f"| {name} | {' | '.join(cells)} | {rate_text(rates.local_z_above_3)} |")
    return [*lines, *_objections(rows), *_closure_lines(alarms.closures)]


def _objections(rows: list[tuple[str, VerdictRates]]) -> list[str]:
    found = sorted({name for _, rates in rows for name in rates.objections})
    if not found:
        return ["", "No guard and no other objection stood against a claim in any of them."]
    lines = ["", "What stood against a claim:", "", f"| data | {' | '.join(found)} |"]
    lines.append("|---" * (len(found) + 1) + "|")
    for name, rates in rows:
        n = rates.local_z_above_3.n
        cells = [
            rate_text(rates.objections[what]) if what in rates.objections else f"0 of {n}"
            for what in found
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _closure_lines(found: Closures | None) -> list[str]:
    if found is None:
        return []
    ordered, rarest = sorted(found.auc), sorted(found.auc_top)
    return [
        "",
        f"Closure of the {len(ordered)} null generators, each against the data that it was fitted "
        f"to: AUC median {ordered[len(ordered) // 2]:.3f}, largest {ordered[-1]:.3f}; among the "
        f"rarest events {rarest[len(rarest) // 2]:.3f}, largest {rarest[-1]:.3f}; not closing: "
        f"{rate_text(found.not_closing)}.",
    ]


def contamination_markdown(signal: Performance) -> list[str]:
    """Return what it costs that nulls are fitted to data with the signal in them."""
    rows = [(at.strength, at.contaminated) for at in signal.strengths]
    known = [(strength, found) for strength, found in rows if found is not None]
    if not known:
        return []
    return [
        "",
        "### The cost of a contaminated null",
        "",
        "A search fits its null generator to data that hold the signal. Each pseudo-experiment is "
        "ranked among replays of such generators (own) and of background-only data sets (clean). "
        "Shift: median statistic of the replays, own less clean, in null widths. Learned: own "
        "replays whose excess near the signal's mass is among the largest 5% of clean ones there; "
        "5% if nothing was learned.",
        "",
        "| S/sqrt(B) | found, p <= 5%, own | the same, clean | median p, own | clean | smallest p, "
        "own | shift | learned | AUC, largest |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_contamination_row(strength, found) for strength, found in known),
    ]


def _contamination_row(strength: float, found: Contamination) -> str:
    learned = "" if found.place_5pc is None else rate_text(found.place_5pc)
    auc = "" if found.closures is None else f"{max(found.closures.auc):.3f}"
    return (
        f"| {strength:g} | {rate_text(found.found_5pc)} | {rate_text(found.found_5pc_clean)} | "
        f"{found.median_p:.2g} | {found.median_p_clean:.2g} | {found.least_p:.2g} | "
        f"{found.shift:+.2f} +- {found.shift_error:.2f} | {learned} | {auc} |"
    )
