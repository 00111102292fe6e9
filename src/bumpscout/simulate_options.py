"""What `simulate` is asked for: signals in short, a card in a file, the card that comes of both."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bumpscout.words import printable
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.simulation.box_card import BoxCard, BoxSignal, draw_hidden

__all__ = ["DEFAULT_EVENTS", "Simulating", "box_card", "read_card", "signal_entries"]

DEFAULT_EVENTS = 100_000
HIDDEN_STRENGTH = 3.0
MAX_CARD_BYTES = 1_000_000
SEEDS = 2**31

_KEYS = {
    "mass": "resonance_mass_gev",
    "x": "x",
    "y": "y",
    "n": "n_events",
    "strength": "strength",
    "width": "resonance_width_gev",
    "daughter-width": "daughter_width_gev",
    "prongs": "prongs",
}


class Simulating(BaseModel, frozen=True, extra="forbid"):
    """Options of `simulate`.

    Attributes:
        n_background: QCD dijet events; None for the default.
        signals: one text a signal, as ``mass=3500,x=500,y=100,n=300``.
        hidden: draw from the seed what the signals leave open.
        seed: None for 1, or for a new one where masses are hidden.
        sqrt_s_gev: collision energy, GeV.
        leading_pt_gev: cut on the leading jet, GeV.
        pt_hat_min_gev: smallest pT of the hard scattering, GeV; None for 5/6 of the cut.
        underlying_event: simulate multiparton interactions.
        mantissa_bits: significant bits of the features.
        card: file with a card instead of all of these.
        layouts: files to write, of "features" and "raw".
        labelled: write the truth label into the files too.
        workers: processes.
    """

    n_background: int | None = None
    signals: tuple[str, ...] = ()
    hidden: bool = False
    seed: int | None = None
    sqrt_s_gev: float | None = None
    leading_pt_gev: float | None = None
    pt_hat_min_gev: float | None = None
    underlying_event: bool = False
    mantissa_bits: int | None = None
    card: Path | None = None
    layouts: tuple[str, ...] = ("features",)
    labelled: bool = False
    workers: int | None = None


def box_card(options: Simulating) -> BoxCard:
    """Make the card of a box from the options.

    Raises:
        ConfigurationError: an option cannot be used, alone or with the others.
    """
    if options.card is not None:
        return read_card(options.card)
    seed = options.seed
    if seed is None:
        seed = secrets.randbelow(SEEDS) if options.hidden else 1
    entries: dict[str, Any] = {
        "n_background": DEFAULT_EVENTS if options.n_background is None else options.n_background,
        "seed": seed,
        "multiparton_interactions": options.underlying_event,
        "mantissa_bits": options.mantissa_bits,
    }
    if options.sqrt_s_gev is not None:
        entries["sqrt_s_gev"] = options.sqrt_s_gev
    cut = options.leading_pt_gev
    if cut is not None:
        entries["leading_jet_pt_min_gev"] = cut
        # The share of the default card: 1000 GeV for a cut of 1200 GeV.
        entries["pt_hat_min_gev"] = cut / 1.2
    if options.pt_hat_min_gev is not None:
        entries["pt_hat_min_gev"] = options.pt_hat_min_gev
    signals = [signal_entries(text) for text in options.signals]
    if options.hidden:
        default_cut = BoxCard.model_fields["leading_jet_pt_min_gev"].default
        signals = [
            draw_hidden(given, seed, number, cut or default_cut)
            for number, given in enumerate(signals or [{}])
        ]
        for signal in signals:
            if "n_events" not in signal:
                signal.setdefault("strength", HIDDEN_STRENGTH)
    texts = options.signals or ("",) * len(signals)
    checked = [_signal(entries, text) for entries, text in zip(signals, texts, strict=True)]
    return _checked_card({**entries, "signals": checked}, "These options")


def signal_entries(text: str) -> dict[str, Any]:
    """Read a signal in short, ``mass=3500,x=500,y=100,n=300,prongs=2+3``.

    Keys: mass, x, y (GeV), n (events) or strength (S/sqrt(B) within 5% of the mass), width and
    daughter-width (GeV), prongs (of X and Y).

    Args:
        text: comma-separated key=value pairs; empty leaves all open.

    Returns:
        Entries of ``BoxSignal``.

    Raises:
        ConfigurationError: a key or value cannot be used.
    """
    found: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key not in _KEYS or not equals:
            raise _bad(text, f"{printable(item, 60)!r} is not one of {', '.join(_KEYS)} = a number")
        if _KEYS[key] in found:
            raise _bad(text, f"{key} is given twice")
        found[_KEYS[key]] = _value(text, key, value)
    daughters = [found.pop(axis, None) for axis in ("x", "y")]
    if None not in daughters:
        found["daughter_masses_gev"] = tuple(daughters)
    elif daughters != [None, None]:
        raise _bad(text, "give both x and y, or neither")
    return found


def read_card(path: Path) -> BoxCard:
    """Read the card of a box from YAML or JSON; the truth file of a box serves too.

    Raises:
        ConfigurationError: the file cannot be read or is no card.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CARD_BYTES + 1)
        entries = yaml.safe_load(data) if len(data) <= MAX_CARD_BYTES else None
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{path} is no YAML or JSON: {printable(reason, 200)}.") from error
    if isinstance(entries, dict) and isinstance(entries.get("card"), dict):
        entries = entries["card"]
    if not isinstance(entries, dict):
        raise ConfigurationError(
            f"{path} is no card of a box; it must map entries such as n_background and signals."
        )
    return _checked_card(entries, str(path))


def _signal(entries: dict[str, Any], text: str) -> BoxSignal:
    for key, name in (("resonance_mass_gev", "mass"), ("daughter_masses_gev", "x and y")):
        if key not in entries:
            raise _bad(text, f"it gives no {name}; --hidden draws what is left open")
    try:
        return BoxSignal.model_validate(entries)
    except ValidationError as error:
        raise _bad(text, _reasons(error.errors())) from error


def _checked_card(entries: dict[str, Any], where: str) -> BoxCard:
    try:
        return BoxCard.model_validate(entries)
    except ValidationError as error:
        raise ConfigurationError(f"{where} make no box: {_reasons(error.errors())}.") from error


def _reasons(errors: Sequence[Any]) -> str:
    told = []
    for error in errors[:3]:
        place = ".".join(str(part) for part in error["loc"])
        reason = str(error["msg"]).removeprefix("Value error, ")
        told.append(printable(f"{place}: {reason}" if place else reason, 300))
    return "; ".join(told)


def _value(text: str, key: str, value: str) -> object:
    if key == "prongs":
        parts = value.split("+")
        if len(parts) == 1:
            parts *= 2
        if len(parts) != 2 or not set(parts) <= {"2", "3"}:
            raise _bad(text, "prongs is 2, 3, 2+3 or 3+2, for X and Y")
        return tuple(int(part) for part in parts)
    try:
        return int(value) if key == "n" else float(value)
    except ValueError as error:
        kind = "whole number" if key == "n" else "number"
        raise _bad(text, f"{key} is {printable(value, 40)!r}, no {kind}") from error


def _bad(text: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"--signal {printable(text, 120)!r} cannot be used: {reason}. Write for example "
        "mass=3500,x=500,y=100,n=300."
    )
