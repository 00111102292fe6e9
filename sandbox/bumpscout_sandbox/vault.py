"""The vault: opens the user's file in a confined child and hands out only what a search may see."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import JsonValue, ValidationError

from bumpscout_sandbox.blinding import EXPLORED_SHARE, Approver, Stages
from bumpscout_sandbox.card import ColumnCard, DatasetCard
from bumpscout_sandbox.confined import ConfinedLimits, ConfinedReply, call_confined
from bumpscout_sandbox.ledger import Ledger
from bumpscout_sandbox.text import printable
from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.npy import files_of
from bumpscout_tools.events.spectra import SpectraTable
from bumpscout_tools.events.view import View

if TYPE_CHECKING:
    from bumpscout_tools.features.catalogue import Inputs

__all__ = ["MIN_EVENTS", "Blinding", "Vault", "default_blinding", "file_sha256"]

Blinding = Literal["open", "staged"]

MIN_EVENTS = 500
OPEN_FORMATS = ("lhco-features-h5", "lhco-raw-h5", "lhco-sr-npy", "lhe")
"""Layouts of benchmarks and simulation; all others may be data that nobody has looked at."""
NAME_LENGTH = 80
NOTE_LENGTH = 400


class Vault:
    """One opened file: its card and its view; the truth label never left the reader."""

    def __init__(self, card: DatasetCard, view: View) -> None:
        """Keep what `open` has read; the blinding of the card decides what `view` hands out."""
        self._card = card
        self._stages = Stages(view) if card.blinding == "staged" else None
        self._view = view if self._stages is None else self._stages.explored
        self._claimed = self._view

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        seed: int,
        blinding: Blinding = "open",
        inputs: Inputs = "dijet",
    ) -> Vault:
        """Read a file of events.

        Args:
            path: file of events of any format that `bumpscout_tools.events.open` knows.
            seed: permutes the rows and keys the event identifiers.
            blinding: ``open`` hands out all events; ``staged`` a fixed fraction of them, and the
                others to an approved plan alone, see `bumpscout_sandbox.blinding`.
            inputs: features of two jets, the rapidity-mass matrix of all objects, or features and
                constituents of two jets.

        Raises:
            InputDataError: if the file is missing, damaged, of no known format, holds events of
                different weights, or fewer than `MIN_EVENTS` usable ones.
        """
        name = printable(path.name, NAME_LENGTH)
        digest = file_sha256(path, name)
        reply = call_confined(
            "bumpscout_sandbox.parsers:parse_events",
            {
                "path": str(path.resolve()),
                "name": name,
                "seed": seed,
                "explored_only": blinding == "staged",
                "inputs": inputs,
            },
            subject=name,
            readable=files_of(path),
            limits=ConfinedLimits.for_file(path),
        )
        try:
            view = _view(reply)
            card = _card(reply, view, name, digest, blinding)
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise InputDataError(
                f"{name} cannot be used: its reader gave a wrong answer."
            ) from error
        if card.weights is not None and not card.weights.equal:
            raise InputDataError(
                f"The events of {name} have different weights ({card.weights.min:g} to "
                f"{card.weights.max:g}, {card.weights.n_negative} negative). A search counts "
                "events, and Poisson probabilities do not hold for sums of weights: unweight the "
                "sample (accept events in proportion to their weight), or give data."
            )
        if len(view) < MIN_EVENTS:
            raise InputDataError(
                f"{name} holds {len(view)} usable events of {card.n_events}; a search needs at "
                f"least {MIN_EVENTS}.{_dropped(card)}"
            )
        opened = cls(card, view)
        if len(opened.view()) < MIN_EVENTS:
            raise InputDataError(
                f"{name} holds {len(view)} usable events, of which staged blinding lets "
                f"exploration see {len(opened.view())}; it needs at least {MIN_EVENTS}."
            )
        return opened

    def card(self) -> DatasetCard:
        """Return the card; it is safe to show to a model."""
        return self._card

    def view(self) -> View:
        """Return the events that may be seen without an approval, in permuted order."""
        return self._view

    def claimed(
        self,
        plan_sha256: str,
        scripts_sha256: Sequence[str],
        approved_by: Approver | None,
        ledger: Ledger,
    ) -> View:
        """Return the events that the final scan of a frozen plan and its scripts claims on.

        Under staged blinding these are the events that `view` never showed.

        Raises:
            BlindingRefused: as `Stages.sealed`.
        """
        if self._stages is not None:
            self._claimed = self._stages.sealed(plan_sha256, scripts_sha256, approved_by, ledger)
        return self._claimed

    def searched(self) -> View:
        """Return the events of the final scan once it ran, those of `view` before."""
        return self._claimed

    @property
    def explored_share(self) -> float:
        """Share of the events that `view` shows."""
        return 1.0 if self._stages is None else EXPLORED_SHARE


def default_blinding(path: Path) -> Blinding:
    """Return ``open`` for benchmarks and simulation by their layout, else ``staged``.

    Raises:
        InputDataError: if the file is missing, damaged or of no known format.
    """
    name = printable(path.name, NAME_LENGTH)
    _check_file(path, name)
    reply = call_confined(
        "bumpscout_sandbox.parsers:parse_format",
        {"path": str(path.resolve()), "name": name},
        subject=name,
        readable=files_of(path),
        limits=ConfinedLimits.for_file(path),
    )
    return "open" if reply.data.get("format") in OPEN_FORMATS else "staged"


def file_sha256(path: Path, name: str) -> str:
    """Return the SHA-256 of a file of events.

    Args:
        path: of the file.
        name: how messages call it.

    Raises:
        InputDataError: if it is missing, no regular file, or cannot be read.
    """
    _check_file(path, name)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputDataError(f"{name} cannot be read: {error.strerror}.") from error


def _dropped(card: DatasetCard) -> str:
    lost = [f"{reason}: {n}" for reason, n in card.dropped.items() if n]
    return f" Dropped: {', '.join(lost)}." if lost else ""


def _check_file(path: Path, name: str) -> None:
    shown = printable(str(path), 300)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputDataError(f"There is no file {shown}; check the path.") from error
    except OSError as error:
        raise InputDataError(f"{shown} cannot be opened: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        raise InputDataError(f"{name or shown} is no regular file; give one file of events.")


def _view(reply: ConfinedReply) -> View:
    spectra = None
    if "masses" in reply.arrays:
        spectra = SpectraTable(
            masses=reply.arrays["masses"].astype(np.float64, copy=False),
            mass_names=_names(reply, "mass_names"),
            categories=reply.arrays["categories"].astype(np.uint64, copy=False),
            category_names=_names(reply, "category_names"),
        )
    return View(
        event_id=reply.arrays["event_id"].astype(np.uint64, copy=False),
        mass=reply.arrays["mass"].astype(np.float64, copy=False),
        features=reply.arrays["features"].astype(np.float64, copy=False),
        feature_names=_names(reply, "feature_names"),
        spectra=spectra,
    )


def _names(reply: ConfinedReply, key: str) -> tuple[str, ...]:
    return tuple(printable(str(name), NAME_LENGTH) for name in _listed(reply, key))


def _card(
    reply: ConfinedReply, view: View, name: str, digest: str, blinding: Blinding
) -> DatasetCard:
    from bumpscout_tools.features.catalogue import FEATURES
    from bumpscout_tools.features.dijet import DropReport

    drops = DropReport.model_validate(reply.data["drops"])
    columns = _listed(reply, "columns")
    shown = view if blinding == "open" else Stages(view).explored
    # A column of the file keeps its unit, also where it is called like a feature made here.
    units = [
        FEATURES.get(key, "") if unit is None else printable(str(unit), NAME_LENGTH)
        for key, unit in zip(view.feature_names, _listed(reply, "feature_units"), strict=True)
    ]
    features = [
        ColumnCard(
            name=key,
            unit=unit,
            min=float(values.min()),
            median=float(np.median(values)),
            max=float(values.max()),
            n_unusable=0,
        )
        for key, unit, values in zip(view.feature_names, units, shown.features.T, strict=True)
    ]
    return DatasetCard.model_validate(
        {
            "name": name,
            "sha256": digest,
            "format": printable(str(reply.data["format"]), NAME_LENGTH),
            "n_events": reply.data["n_events"],
            "n_usable": len(view),
            "columns": tuple(_column(column) for column in columns),
            "features": tuple(features),
            "dropped": {printable(key, NAME_LENGTH): count for key, count in drops.dropped.items()},
            "mended": {printable(key, NAME_LENGTH): count for key, count in drops.mended.items()},
            "n_duplicates": len(view) - len(np.unique(view.event_id)),
            "mass_range_gev": (float(shown.mass.min()), float(shown.mass.max())),
            "blinding": blinding,
            "n_columns": reply.data["n_columns"],
            "weights": reply.data["weights"],
            "n_unread": reply.data["n_unread"],
            "mass_names": () if view.spectra is None else view.spectra.mass_names,
            "category_names": () if view.spectra is None else view.spectra.category_names,
            "notes": tuple(printable(str(note), NOTE_LENGTH) for note in _listed(reply, "notes")),
        }
    )


def _listed(reply: ConfinedReply, key: str) -> list[JsonValue]:
    value = reply.data[key]
    if not isinstance(value, list):
        raise TypeError(key)
    return value


def _column(column: JsonValue) -> ColumnCard:
    card = ColumnCard.model_validate(column)
    return card.model_copy(update={"name": printable(card.name, NAME_LENGTH)})
