"""Ranges in a request: masses, efficiencies of the anomaly cut, visible cross sections."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from bumpscout_agents.offline.text import NUMBER, RequestText, number, quote

__all__ = [
    "CutRange",
    "MassRange",
    "efficiencies_of",
    "other_object",
    "read_cross_sections",
    "read_cuts",
    "read_mass_range",
]

_N = rf"(?:{NUMBER})"
_MASS_UNIT = r"(?:[tgm]ev)(?:/c\^?2?)?\b"
_SEPARATOR = r"\s*(?:-|\.\.+|to|down to|up to|until|till|through)\s*"
_GEV = {"t": 1000.0, "g": 1.0, "m": 0.001}
_LOW = (
    r"(?:above|over|greater than|more than|larger than|higher than|bigger than|beyond|at least"
    r"|exceeding|exceeds|starting (?:at|from)|heavier than|>\s*=?)"
)
_HIGH = r"(?:below|under|less than|lower than|smaller than|lighter than|up to|at most|until|<\s*=?)"
_OTHER_OBJECT = re.compile(
    r"\b(?:p_?t|transverse momentum|momentum|momenta|jets?(?: mass(?:es)?)?|mj(?!j)\w*|leading"
    r"|met|ht|eta|energy|muons?|electrons?|photons?|leptons?|tau\w*|significance)\b"
)
_MASS_OBJECT = re.compile(
    r"\b(?:events?|mass(?:es)?|m_?jj|m|di-?jets?(?: mass(?:es)?)?|two-jets?|resonances?|bumps?"
    r"|excess(?:es)?|peaks?|anomal(?:y|ies)|particles?|signals?|spectrum|range|region|search|scan"
    r"|data|look|hunt|sample|file)\b"
)
_OBJECT_AFTER = re.compile(
    r"\s*(?:of |in |for |on )?(?:the )?(?:leading )?(?:jets?|p_?t|met|ht|transverse|eta)\b"
)


@dataclass
class MassRange:
    """The bounds that a request sets, GeV, and what is to be said about them."""

    low: float | None = None
    high: float | None = None
    problems: list[str] = field(default_factory=list)


def read_mass_range(text: RequestText, sqrt_s_gev: float) -> MassRange:
    """Take the bounds on the dijet mass out of a request.

    Args:
        text: the request; what is used is marked.
        sqrt_s_gev: bounds at or above the collision energy are refused.
    """
    found = MassRange()
    lows: list[float] = []
    highs: list[float] = []
    for words, low, high in [*_two_sided(text), *_one_sided(text)]:
        problem = _absurd(low, high, sqrt_s_gev)
        if problem:
            found.problems.append(f"{quote(words)}: {problem}")
            continue
        if low is not None and high is not None and low > high:
            found.problems.append(f"{quote(words)}: the bounds were reversed and have been sorted.")
            low, high = high, low
        lows += [] if low is None else [low]
        highs += [] if high is None else [high]
    if len(set(lows)) > 1 or len(set(highs)) > 1:
        found.problems.append("Several bounds on m_jj were given; the tightest are used.")
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low >= high:
        found.problems.append(
            f"The bounds contradict each other: no m_jj is above {low / 1000:g} TeV and below "
            f"{high / 1000:g} TeV; neither is used."
        )
        return found
    found.low, found.high = low, high
    return found


def _absurd(low: float | None, high: float | None, sqrt_s_gev: float) -> str:
    given = [value for value in (low, high) if value is not None]
    if not given:
        return "give a unit, GeV or TeV; the bound is not used."
    if min(given) <= 0:
        return "a mass is positive; the bound is not used."
    if max(given) >= sqrt_s_gev:
        return (
            f"no event has m_jj above the collision energy of {sqrt_s_gev / 1000:g} TeV; "
            "the bound is not used."
        )
    return ""


def _two_sided(text: RequestText) -> list[tuple[str, float | None, float | None]]:
    """Find "between A and B TeV", "A to B TeV", "A < m_jj < B TeV"."""
    unit = rf"\s*(?P<u1>{_MASS_UNIT})?"
    end = rf"(?P<b>{_N})\s*(?P<u2>{_MASS_UNIT})"
    start = rf"(?P<a>{_N}){unit}"
    patterns = (
        rf"\b(?:in )?between\s+{start}\s*(?:and|to|-)\s*{end}",
        rf"{start}\s*<\s*=?\s*(?:m_?jj|m|mass|m\(jj\))\s*<\s*=?\s*{end}",
        rf"(?:\b(?:from|in|within|range|of)\s+)?{start}{_SEPARATOR}{end}",
    )
    found: list[tuple[str, float | None, float | None]] = []
    for pattern in patterns:
        for match in text.matches(pattern):
            if text.negated(match.start()) or other_object(text, match):
                continue
            words = text.take(match)
            second = match["u2"]
            first = match["u1"] or second
            found.append((words, _gev(match["a"], first), _gev(match["b"], second)))
    return found


def _one_sided(text: RequestText) -> list[tuple[str, float | None, float | None]]:
    """Find "above A TeV", "A TeV and above", "below B GeV"."""
    value = rf"(?P<a>{_N})\s*(?P<u>{_MASS_UNIT})"
    more = r"(?:above|beyond|higher|larger|more|over|up|upwards?|onwards?)\b"
    less = r"(?:below|lower|smaller|less|downwards?)\b"
    last = rf"(?!\s*(?:than\b|{_N}))"
    patterns = (
        (
            rf"(?:\bfrom\s+)?{value}\s*(?:(?:and|or)\s+{more}{last}|on(?:wards?)?\b|upwards?\b)",
            True,
        ),
        (rf"{value}\s*(?:and|or)\s+{less}{last}", False),
        (rf"(?:\b(?:a )?minimum (?:mass )?of|{_LOW})\s*{value}", True),
        (rf"(?:\b(?:a )?maximum (?:mass )?of|{_HIGH})\s*{value}", False),
    )
    found: list[tuple[str, float | None, float | None]] = []
    for pattern, is_low in patterns:
        for match in text.matches(pattern):
            if text.negated(match.start()) or other_object(text, match):
                continue
            bound = _gev(match["a"], match["u"])
            words = text.take(match)
            found.append((words, bound, None) if is_low else (words, None, bound))
    for match in text.matches(rf"(?:{_LOW}|{_HIGH})\s*{_N}(?!\s*[\w%])"):
        if not text.negated(match.start()) and not other_object(text, match):
            found.append((text.take(match), None, None))
    return found


def _gev(value: str, unit: str) -> float:
    return number(value) * _GEV[unit[0]]


def other_object(text: RequestText, match: re.Match[str]) -> bool:
    """Return whether a bound speaks of something else than the dijet mass or its events."""
    start, end = text.clause(match.start())
    before = text.text[start : match.start()]
    other = max((m.end() for m in _OTHER_OBJECT.finditer(before)), default=-1)
    mass = max((m.end() for m in _MASS_OBJECT.finditer(before)), default=-1)
    return other >= max(mass, 0) or _OBJECT_AFTER.match(text.text, match.end(), end) is not None


@dataclass
class CutRange:
    """Anomaly cuts that a request asks for, as fractions or in pb, and what is to be said."""

    low: float | None = None
    high: float | None = None
    listed: tuple[float, ...] = ()
    problems: list[str] = field(default_factory=list)


_PERCENT = r"(?:%|percent\b|per cent\b|‰|per ?mille\b)"
_CUE = re.compile(
    r"\b(?:anomal\w*|cuts?|thresholds?|efficienc\w+|working points?|select\w*|keep|scores?|scan"
    r"|top|most)\b"
)
_NOT_A_CUT = re.compile(
    r"\s*(?:-|of the )?\s*(?:cl\b|c\.l\.|confidence|uncertaint|systematic|resolution|mass|window"
    r"|width|wide|bins?\b|precision|error)"
)


def read_cuts(text: RequestText) -> CutRange:
    """Take the efficiencies of the anomaly cut out of a request."""
    found = CutRange()
    percent_range = (
        rf"(?:\b(?:from|between)\s+)?(?P<a>{_N})\s*(?P<u1>{_PERCENT})?"
        rf"(?:{_SEPARATOR}|\s*and\s*)(?P<b>{_N})\s*(?P<u2>{_PERCENT})"
    )
    fraction_range = (
        rf"efficienc\w+\s*(?:of|from|between|:|=|at)?\s*(?P<a>{_N})"
        rf"(?:{_SEPARATOR}|\s*and\s*)(?P<b>{_N})(?!\s*(?:[tg]ev|pb|fb|%))"
    )
    for match in text.matches(percent_range):
        joined_by_and = " and " in match.group() and "between" not in match.group()
        if text.negated(match.start()) or _NOT_A_CUT.match(text.text, match.end()) or joined_by_and:
            continue
        second = match["u2"]
        first = match["u1"] or second
        words = text.take(match)
        _set_range(found, words, _fraction(match["a"], first), _fraction(match["b"], second))
    for match in text.matches(fraction_range):
        if not text.negated(match.start()):
            _set_range(found, text.take(match), number(match["a"]), number(match["b"]))
    listed = [*_percent_lists(text, found), *_single_cuts(text, found)]
    if listed and found.high is not None:
        found.problems.append("Both a range and single cuts were given; the range is used.")
    elif listed:
        found.listed = tuple(sorted(set(listed), reverse=True))
    return found


def _is_cut(text: RequestText, match: re.Match[str]) -> bool:
    """Return whether a percentage speaks of a cut on the anomaly score."""
    start, end = text.sentence(match.start())
    return (
        _CUE.search(text.text, start, end) is not None
        and _NOT_A_CUT.match(text.text, match.end()) is None
        and not text.negated(match.start())
    )


def _percent_lists(text: RequestText, found: CutRange) -> list[float]:
    """Find "10%, 1% and 0.1%" and "10, 1 and 0.1%"."""
    item = rf"{_N}\s*{_PERCENT}?"
    pattern = rf"{item}(?:\s*,\s*{item})*\s*(?:,\s*and|,|and)\s*{_N}\s*(?P<u>{_PERCENT})"
    listed = []
    for match in text.matches(pattern):
        if not _is_cut(text, match):
            continue
        words = text.take(match)
        values = [_fraction(value, match["u"]) for value in re.findall(_N, match.group())]
        if all(0 < value <= 1 for value in values):
            listed += values
        else:
            found.problems.append(_bad_efficiency(words))
    return listed


def _single_cuts(text: RequestText, found: CutRange) -> list[float]:
    """Find "at 1%" and "an efficiency of 0.01"."""
    single = rf"(?:\b(?:top|best|most anomalous) )?(?P<a>{_N})\s*(?P<u>{_PERCENT})"
    fraction = rf"(?:efficienc\w+|working points?)\s*(?:of|at|:|=)?\s*(?P<a>{_N})(?!\s*[\w%])"
    listed = []
    for pattern in (single, fraction):
        for match in text.matches(pattern):
            if not _is_cut(text, match):
                continue
            unit = match.groupdict().get("u")
            value = _fraction(match["a"], unit) if unit else number(match["a"])
            words = text.take(match)
            if 0 < value <= 1:
                listed.append(value)
            else:
                found.problems.append(_bad_efficiency(words))
    return listed


def _fraction(value: str, unit: str) -> float:
    return number(value) * (0.001 if unit == "‰" or "mille" in unit else 0.01)


def _bad_efficiency(words: str) -> str:
    return f"{quote(words)}: an efficiency lies above 0% and at most at 100%; it is not used."


def _set_range(found: CutRange, words: str, first: float, second: float) -> None:
    if not (0 < first <= 1 and 0 < second <= 1):
        found.problems.append(_bad_efficiency(words))
    elif found.high is not None:
        found.problems.append(f"{quote(words)}: a second range of cuts; the first is used.")
    else:
        found.high, found.low = max(first, second), min(first, second)


_BARN = {"nb": 1000.0, "pb": 1.0, "fb": 0.001, "ab": 1e-6, "pico": 1.0, "femto": 0.001}
_XS_UNIT = r"(?:nb|pb|fb|ab|picobarns?|femtobarns?)\b"


def read_cross_sections(text: RequestText) -> CutRange:
    """Take visible cross sections, in pb, out of a request."""
    found = CutRange()
    pattern = (
        rf"(?:\b(?:from|between)\s+)?(?P<a>{_N})\s*(?P<u1>{_XS_UNIT})?"
        rf"(?:{_SEPARATOR}|\s*and\s*)(?P<b>{_N})\s*(?P<u2>{_XS_UNIT})"
    )
    for match in text.matches(pattern):
        if text.negated(match.start()):
            continue
        second = match["u2"]
        first = match["u1"] or second
        words = text.take(match)
        values = (_pb(match["a"], first), _pb(match["b"], second))
        if min(values) <= 0 or not math.isfinite(max(values)):
            found.problems.append(f"{quote(words)}: a cross section is positive; it is not used.")
        elif found.high is None:
            found.high, found.low = max(values), min(values)
        else:
            found.problems.append(f"{quote(words)}: a second range of cuts; the first is used.")
    listed = []
    for match in text.matches(rf"(?P<a>{_N})\s*(?P<u>{_XS_UNIT})"):
        value = _pb(match["a"], match["u"])
        if text.negated(match.start()):
            continue
        words = text.take(match)
        if value <= 0 or not math.isfinite(value):
            found.problems.append(f"{quote(words)}: a cross section is positive; it is not used.")
        else:
            listed.append(value)
    if found.high is None:
        found.listed = tuple(sorted(set(listed), reverse=True))
    elif listed:
        found.problems.append(
            "Both a range and single cross sections were given; the range is used."
        )
    return found


def _pb(value: str, unit: str) -> float:
    key = next(name for name in ("pico", "femto", unit[:2]) if unit.startswith(name))
    return number(value) * _BARN[key]


def efficiencies_of(high: float, low: float, steps: int | None = None) -> tuple[float, ...]:
    """Return efficiencies spaced evenly in the logarithm, both ends among them.

    Args:
        high: the loosest cut, in (0, 1].
        low: the tightest cut, in (0, high].
        steps: how many; without it two for each factor of ten, and both ends.

    >>> efficiencies_of(0.1, 0.001)
    (0.1, 0.0316, 0.01, 0.00316, 0.001)
    """
    if low >= high:
        return (high,)
    n = steps if steps and steps >= 2 else 1 + max(1, math.ceil(2 * math.log10(high / low) - 1e-6))
    inner = [high * (low / high) ** (index / (n - 1)) for index in range(1, n - 1)]
    values = [high, *(float(f"{value:.3g}") for value in inner), low]
    return tuple(sorted(set(values), reverse=True))
