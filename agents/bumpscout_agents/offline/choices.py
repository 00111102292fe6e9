"""Other choices in a request: detector, features, background orders, replays, toys, beams."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import JsonValue

from bumpscout_agents.offline.text import NUMBER, RequestText, number, quote
from bumpscout_agents.offline.words import DETECTORS

__all__ = ["Said", "read_beam", "read_counts", "read_detectors", "read_features", "read_orders"]

_N = rf"(?:{NUMBER})"
_RMM_LATENT = 200
_FIRST_CONSTITUENT = "px1_j1"
_INPUTS_MISSED = {
    "rmm": "the inputs of the rapidity-mass matrix",
    "constituents": "the constituents of jets",
}
_INPUTS = r"(?:input )?(?:features?|variables?|observables?|inputs?)"


@dataclass
class Said:
    """What is to be said about a request."""

    understood: list[str] = field(default_factory=list)
    not_understood: list[str] = field(default_factory=list)
    recognised: bool = False


def read_detectors(
    text: RequestText, features: tuple[str, ...], said: Said, priors: tuple[str, ...] = ()
) -> list[dict[str, JsonValue]]:
    """Take the names of detectors.

    Args:
        text: the request; what is used is marked.
        features: all features of the view.
        said: takes what is to be said.
        priors: files of simulated signals that the request names.

    Returns:
        Name, settings and, where they are its own, features of each detector that the request asks
        for, in the order of `words.DETECTORS`; empty where the default is to be used.
    """
    chosen: list[dict[str, JsonValue]] = _score_columns(text, features, said)
    labels = [f"the column {', '.join(map(str, _names(item)))}" for item in chosen]
    unwanted: list[str] = []
    missing: list[tuple[str, str]] = []
    for words in DETECTORS:
        pattern = rf"\b(?:an? |the )?(?:{words.pattern})(?: (?:method|detector)s?)?\b"
        for match in text.matches(pattern):
            negated = text.negated(match.start())
            written = quote(text.take(match))
            if negated:
                unwanted.append(words.label)
                _take_negation(text, match.start())
            elif words.name is None:
                missing.append((written, words.label))
            elif words.name == "quak" and not priors:
                said.not_understood.append(
                    f"{written}: it needs simulated signal events, and the request names no file "
                    'of them; say "QUAK with the priors in FILE".'
                )
            elif words.inputs is not None and not _has_inputs(words.inputs, features):
                said.not_understood.append(
                    f"{written}: these data give a search {len(features)} features, not "
                    f"{_INPUTS_MISSED[words.inputs]}; a dense autoencoder of the features is used."
                )
                _choose({"name": "autoencoder"}, "dense autoencoder", chosen, labels)
            else:
                item: dict[str, JsonValue] = {"name": words.name}
                if words.settings:
                    item["settings"] = dict(words.settings)
                if words.name == "quak":
                    item["settings"] = {"files": list(priors)}
                    labels_of_priors = ", ".join(quote(file) for file in priors)
                    said.understood.append(f"Priors of QUAK: the events of {labels_of_priors}.")
                if words.inputs == "constituents":
                    item["features"] = [words.inputs]
                _choose(item, words.label, chosen, labels)
    if priors and "QUAK" not in labels:
        said.not_understood.append(
            f"The priors in {', '.join(quote(file) for file in priors)}: only QUAK uses priors; "
            "nothing of them is used."
        )
    instead = " and ".join(labels) or "CWoLa hunting"
    verb = "are" if len(labels) > 1 else "is"
    for written, label in missing:
        said.not_understood.append(f"{written}: {label} is not there yet; {instead} {verb} used.")
    said.understood += [f"Detector: {label}." for label in labels]
    for label in dict.fromkeys(unwanted):
        if label == "CWoLa hunting" and not labels:
            said.not_understood.append(
                "Without CWoLa hunting: no other detector is named, so it is used; there are also "
                "CATHODE, LaCATHODE, ANODE, R-ANODE, Tag N' Train, QUAK, autoencoder and isolation "
                "forest."
            )
        else:
            said.understood.append(f"Not used: {label}.")
    return chosen


def _choose(
    item: dict[str, JsonValue], label: str, chosen: list[dict[str, JsonValue]], labels: list[str]
) -> None:
    if item not in chosen:
        chosen.append(item)
        labels.append(label)


def _names(item: dict[str, JsonValue]) -> list[JsonValue]:
    names = item.get("features")
    return names if isinstance(names, list) else []


def _has_inputs(inputs: str, features: tuple[str, ...]) -> bool:
    """Whether the features are those that a detector needs.

    Any wide table may be a rapidity-mass matrix: the latent space of its network is narrower.
    """
    if inputs == "rmm":
        return len(features) > _RMM_LATENT
    return _FIRST_CONSTITUENT in features


def _score_columns(
    text: RequestText, features: tuple[str, ...], said: Said
) -> list[dict[str, JsonValue]]:
    """Take columns of the file that are to be used as scores."""
    found: list[dict[str, JsonValue]] = []
    for pattern in (
        r"\b(?:the )?(?:anomaly )?scores? (?:in|of|from) (?:the )?column (?P<name>\w+)",
        r"\b(?:the )?score[- ]column (?P<name>\w+)",
        r"\b(?:the )?(?:column )?(?P<name>\w+) as (?:the |an? )?(?:anomaly )?score\b",
    ):
        for match in text.matches(pattern):
            names = [name for name in features if name.lower() == match["name"]]
            if text.negated(match.start()):
                continue
            written = quote(text.take(match))
            if names:
                own: list[JsonValue] = [names[0]]
                found.append({"name": "column", "features": own})
            else:
                said.not_understood.append(f"{written}: the data have no such column.")
    return found


def _take_negation(text: RequestText, position: int) -> None:
    start, _ = text.clause(position)
    for match in text.matches(r"\b(?:without|not|no|never|don't|do not)\b"):
        if start <= match.start() < position:
            text.take(match)


def _groups(features: tuple[str, ...], default: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return which features a word stands for, by pattern."""

    def having(prefix: str) -> tuple[str, ...]:
        return tuple(name for name in features if name.startswith(prefix))

    masses = tuple(n for n in default if n.startswith("mj_")) or having("mj_")
    exact = {rf"\b{re.escape(name.lower())}\b": (name,) for name in features if len(name) <= 60}
    return {
        **exact,
        rf"\b(?:all|every|each)(?: of)?(?: the)? (?:\w+ )?{_INPUTS}\b": features,
        r"\b(?<!di)(?<!di-)jet[ -]mass(?:es)?\b": masses,
        r"\btau_?32\b": having("tau32_"),
        r"\btau_?21\b": having("tau21_"),
        r"\b(?:n-?)?subjettiness(?: ratios?)?\b|\btau ratios?\b": having("tau21_"),
    }


def read_features(
    text: RequestText, features: tuple[str, ...], default: tuple[str, ...], said: Said
) -> tuple[str, ...] | None:
    """Take the features that a detector is to use, or None where the request names none.

    Args:
        text: the request; what is used is marked.
        features: all features of the view.
        default: the features of the default plan, for requests that add or leave out some.
        said: takes what is to be said.
    """
    wanted: list[str] = []
    unwanted: list[str] = []
    adds = False
    for pattern, names in _groups(features, default).items():
        for match in text.matches(pattern):
            start, end = text.clause(match.start())
            negated = text.negated(match.start())
            words = text.take(match)
            if not names:
                said.not_understood.append(f"{quote(words)}: the view has no such features.")
                continue
            if negated:
                _take_negation(text, match.start())
            (unwanted if negated else wanted).extend(names)
            before = text.text[start:end]
            adds |= re.search(r"\b(?:also|add|adding|as well|addition|plus)\b", before) is not None
    if not wanted and not unwanted:
        return None
    for match in text.matches(
        rf"\b(?:also|add|adding|as well|in addition|plus|only|just|(?:as )?(?:the )?{_INPUTS})\b"
    ):
        text.take(match)
    base = [*default, *wanted] if adds or not wanted else wanted
    chosen = tuple(name for name in features if name in base and name not in unwanted)
    if not chosen:
        said.not_understood.append("No feature would be left; the default features are used.")
        return None
    said.understood.append(f"Features of the detector: {', '.join(chosen)}.")
    return chosen


_WORD_ORDERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


def read_orders(text: RequestText, said: Said) -> tuple[int, ...] | None:
    """Take the orders of the dijet background, p2 to p6, or None where the request names none."""
    orders: set[int] = set()
    words: list[str] = []
    for match in text.matches(r"\bp_?(\d+)\s*(?:-|to|\.\.+|up to|through)\s*p?_?(\d+)\b"):
        low, high = sorted((int(match[1][:4]), int(match[2][:4])))
        orders |= set(range(low, min(high, 99) + 1))
        words.append(text.take(match))
    for match in text.matches(r"\bp_?(\d+)\b"):
        if text.negated(match.start()):
            continue
        orders.add(int(match[1][:4]))
        words.append(text.take(match))
    for match in text.matches(r"\b(\d|two|three|four|five|six)[ -]parameters?\b"):
        if not text.negated(match.start()):
            orders.add(_WORD_ORDERS.get(match[1]) or int(match[1]))
            words.append(text.take(match))
    if not orders:
        return None
    for match in text.matches(
        r"\b(?:only|(?:dijet |background |fit )*(?:function|fit|fits|orders?|background|family"
        r"|parameters?|model)s?)\b"
    ):
        text.take(match)
    usable = tuple(sorted(orders & {2, 3, 4, 5, 6}))
    if set(usable) != orders:
        bad = ", ".join(f"p{order}" for order in sorted(orders - set(usable))[:5])
        said.not_understood.append(
            f"{quote(' '.join(words))}: the background family has p2 to p6, not {bad}."
        )
    if usable:
        names = ", ".join(f"p{order}" for order in usable)
        said.understood.append(f"Background: dijet functions {names} only.")
    return usable or None


def read_counts(text: RequestText, said: Said) -> dict[str, int]:
    """Take the numbers of replays, toys, refinement rounds and steps of the scan."""
    found: dict[str, int] = {}
    limits = {"replays": (0, 100_000), "toys": (100, 10_000_000), "refinement": (0, 4)}
    limits["steps"] = (2, 20)
    nouns = {
        "replays": r"(?:null )?replays?",
        "toys": r"(?:toys?|toy experiments?|pseudo-?experiments?)",
        "refinement": r"(?:rounds? of refinement|refinement rounds?|refinements?)",
        "steps": r"(?:log(?:arithmic(?:ally)?)?(?:[ -]spaced)? )?"
        r"(?:steps?|points|working points|thresholds|cuts)",
    }
    for name, noun in nouns.items():
        patterns = (
            rf"(?:\b(?:with|in|use|using|run|and) )?(?P<n>{_N})\s*{noun}\b",
            rf"\b{noun}\s*[:=]\s*(?P<n>{_N})(?!\w)",
        )
        zero = rf"\b(?:no|without(?: any)?) {noun}\b"
        low, high = limits[name]
        for pattern in (*patterns, zero):
            for match in text.matches(pattern):
                value = number(match["n"]) if "n" in match.groupdict() else 0.0
                if "n" in match.groupdict() and text.negated(match.start()):
                    continue
                words = text.take(match)
                if not (low <= value <= high and value == int(value)):
                    said.not_understood.append(
                        f"{quote(words)}: possible are {low} to {high}; the default stays."
                    )
                elif found.setdefault(name, int(value)) != int(value):
                    said.not_understood.append(
                        f"{quote(words)}: a second number of {name}; the first is used."
                    )
    return found


def read_beam(text: RequestText, said: Said) -> dict[str, float]:
    """Take the collision energy (GeV) and the luminosity (1/fb)."""
    found: dict[str, float] = {}
    tev = rf"(?P<a>{_N})\s*(?P<u>[tg]ev)"
    names = r"(?:sqrt\(?s\)?|√s|(?:center|centre)[- ]of[- ]mass(?: energy)?|collision energy)"
    for pattern in (
        rf"(?:\bat (?:an? )?)?{names}\s*(?:of|=|:|at|is)?\s*{tev}\b",
        rf"(?:\bat )?{tev}\s*(?:{names}|(?:pp |proton[- ]proton )?collisions?|lhc(?: data)?)\b",
    ):
        for match in text.matches(pattern):
            value = number(match["a"]) * (1000.0 if match["u"] == "tev" else 1.0)
            words = text.take(match)
            if 100.0 <= value <= 200_000.0:
                found["sqrt_s_gev"] = value
            else:
                said.not_understood.append(f"{quote(words)}: no collision energy; not used.")
    inverse = {
        r"(?:/\s*fb|fb\s*\^?\s*\{?\(?(?:-1|⁻¹)\)?\}?|inverse femto-?barns?)": 1.0,
        r"(?:/\s*pb|pb\s*\^?\s*\{?\(?(?:-1|⁻¹)\)?\}?|inverse pico-?barns?)": 0.001,
    }
    for unit, factor in inverse.items():
        pattern = rf"(?:\b(?:an? )?(?:integrated )?luminosity (?:of|=|:)?\s*)?(?P<a>{_N})\s*{unit}"
        for match in text.matches(pattern + r"(?:\s+of data)?"):
            value = number(match["a"]) * factor
            words = text.take(match)
            if 0 < value <= 1e6:
                found["luminosity_fb"] = value
            else:
                said.not_understood.append(f"{quote(words)}: no luminosity; not used.")
    return found
