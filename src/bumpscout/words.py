"""Numbers in words: p-values, masses, and the sentence that heads a report."""

from __future__ import annotations

import math
import unicodedata
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bumpscout.result import Bump, Claim, Verdict

__all__ = [
    "format_p",
    "headline",
    "headline_p",
    "mass_tev",
    "printable",
    "reached",
    "verdict_title",
    "z_value",
]

_TITLES = {
    "excess": "Excess",
    "candidate": "Candidate",
    "no-excess": "No excess",
    "undecided": "Undecided",
}


def z_value(p: float) -> float:
    """Return the one-sided significance of a p-value in standard deviations."""
    if p <= 0:
        return math.inf
    return -NormalDist().inv_cdf(p) if p < 1 else -math.inf


def format_p(p: float) -> str:
    """Return a p-value with two significant digits: ``0.041``, ``3.2e-05``."""
    if p == 0:
        return "0"
    return f"{p:.2g}" if p >= 1e-3 else f"{p:.1e}"


def mass_tev(gev: float) -> str:
    """Return a mass in TeV with two decimals."""
    return f"{gev / 1000:.2f} TeV"


def verdict_title(verdict: Verdict | None) -> str:
    """Return the verdict as a title."""
    return _TITLES[verdict] if verdict else "No verdict"


def headline_p(bump: Bump) -> tuple[float, str] | None:
    """Return the larger of scan p and procedure p, and its name; it heads the report."""
    known = [
        (p.value, name)
        for p, name in ((bump.scan_p, "scan p"), (bump.procedure_p, "procedure p"))
        if p is not None
    ]
    return max(known) if known else None


def reached(bump: Bump) -> str:
    """Return ``k of n null replays reached it``, or that none was run."""
    p = bump.procedure_p
    if p is None or p.n_replays == 0:
        return "no null replays were run"
    return f"{p.n_reached} of {p.n_replays} null replays reached it"


def headline(
    verdict: Verdict | None, claim: Claim | None, bumps: tuple[Bump, ...], reason: str | None
) -> str:
    """Return the sentence that heads the report and the terminal summary.

    Args:
        verdict: the decision, None where the search ended before one.
        claim: whether the plan was fixed before the claimed events were seen.
        bumps: the excesses, the largest first.
        reason: why there is no verdict, or why it is undecided.
    """
    if verdict is None:
        return f"The search ended before a verdict: {reason or 'no reason was recorded'}"
    if not bumps:
        empty = "no believable spectrum could be tested."
        return f"{verdict_title(verdict)}: {empty} {reason or ''}".strip()
    bump = bumps[0]
    where = "" if bump.spectrum == "m_jj" else f" in {printable(bump.spectrum, 160)}"
    what = (
        f"local z = {bump.local_z:.1f} at {mass_tev(bump.mass_gev)}{where} "
        f"({bump.n_observed} events where {bump.n_expected:.1f} are expected)"
    )
    head = headline_p(bump)
    counted = (
        f"{head[1]} = {format_p(head[0])} after all looks elsewhere are counted"
        if head
        else "no global p-value was reached"
    )
    lead = {
        "excess": "Excess",
        "candidate": "Candidate, not yet an excess",
        "no-excess": "No excess; the largest fluctuation has",
        "undecided": "Undecided",
    }[verdict]
    joint = " " if verdict == "no-excess" else ": "
    sentence = f"{lead}{joint}{what}; {counted}; {reached(bump)}."
    if claim == "exploratory":
        sentence = f"Exploratory. {sentence}"
    if verdict == "undecided" and reason:
        sentence = f"{sentence} {reason}"
    return sentence


def printable(text: str, limit: int = 2000) -> str:
    """Return foreign text that a terminal may show: no control, format or bidirectional characters.

    Args:
        text: anything.
        limit: characters after which the text is cut.
    """
    shown = "".join(
        character
        if character in "\n" or unicodedata.category(character)[0] not in "C"
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text[:limit]
    )
    return shown if len(text) <= limit else f"{shown} [...]"
