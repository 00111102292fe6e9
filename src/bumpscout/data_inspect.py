"""Carries out `bumpscout data inspect`: what is in a file of events, read in the confined child."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import BaseModel, ConfigDict, ValidationError

from bumpscout.words import printable as line_of_text
from bumpscout_sandbox.card import ColumnCard, WeightCard
from bumpscout_sandbox.confined import ConfinedLimits, call_confined
from bumpscout_sandbox.text import printable
from bumpscout_sandbox.vault import file_sha256
from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.npy import files_of
from bumpscout_tools.events.remote import is_remote, local_copy

__all__ = ["Inspection", "TriggerCount", "inspect_file", "show_inspection"]

_NAME_LENGTH = 80
_NOTE_LENGTH = 400
_SHOWN_TRIGGERS = 10


class TriggerCount(BaseModel):
    """How many events a trigger accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    n_fired: int


class Inspection(BaseModel):
    """What is in a file of events; names come from the file, escaped and capped.

    Attributes:
        name: of the file.
        sha256: of the whole file.
        format: its layout.
        n_events: events in it.
        columns: of events, and of particles with their kind in front; at most 64.
        n_columns: how many there are.
        particles: numbers of particles by kind.
        triggers: those that fired most often; at most 64.
        n_triggers: how many there are.
        weights: event weights; None for unweighted events.
        n_duplicates: events that repeat another one.
        truth: columns that never leave the reader because they tell the truth; at most 64.
        n_truth: how many there are.
        n_unread: further columns that no reader uses.
        notes: what is special about the format.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str
    format: str
    n_events: int
    columns: tuple[ColumnCard, ...]
    n_columns: int
    particles: dict[str, int]
    triggers: tuple[TriggerCount, ...]
    n_triggers: int
    weights: WeightCard | None
    n_duplicates: int
    truth: tuple[str, ...]
    n_truth: int
    n_unread: int
    notes: tuple[str, ...]


def inspect_file(file: str) -> Inspection:
    """Read a file of events and describe it.

    Args:
        file: path, or an address such as ``root://``, ``https://`` or ``s3://``.

    Raises:
        InputDataError: if it cannot be had or read.
        ConfigurationError: if an address needs an extra that is not installed.
    """
    with _here(file) as path:
        shown = file.rpartition("/")[2] if is_remote(file) else path.name
        name = printable(shown, _NAME_LENGTH)
        digest = file_sha256(path, name)
        reply = call_confined(
            "bumpscout_sandbox.parsers:parse_inspection",
            {"path": str(path.resolve()), "name": name},
            subject=name,
            readable=files_of(path),
            limits=ConfinedLimits.for_file(path),
        )
    try:
        found = Inspection.model_validate({"name": name, "sha256": digest, **reply.data})
    except ValidationError as error:
        raise InputDataError(f"{name} cannot be used: its reader gave a wrong answer.") from error
    return found.model_copy(
        update={
            "format": printable(found.format, _NAME_LENGTH),
            "columns": tuple(
                column.model_copy(update={"name": printable(column.name, _NAME_LENGTH)})
                for column in found.columns
            ),
            "particles": {printable(k, _NAME_LENGTH): n for k, n in found.particles.items()},
            "triggers": tuple(
                each.model_copy(update={"name": printable(each.name, _NAME_LENGTH)})
                for each in found.triggers
            ),
            "truth": tuple(printable(each, _NAME_LENGTH) for each in found.truth),
            "notes": tuple(printable(each, _NOTE_LENGTH) for each in found.notes),
        }
    )


def show_inspection(file: str, *, as_json: bool) -> None:
    """Print what is in a file of events.

    Raises:
        InputDataError: as `inspect_file`.
        ConfigurationError: as `inspect_file`.
    """
    found = inspect_file(file)
    if as_json:
        click.echo(json.dumps(found.model_dump(mode="json"), indent=2))
        return
    for line in _lines(found):
        click.echo(line_of_text(line, 400))


def _lines(found: Inspection) -> Iterator[str]:
    yield f"{found.name}: {found.n_events} events, format {found.format}"
    yield f"  sha256      {found.sha256}"
    if found.n_duplicates:
        yield f"  duplicates  {found.n_duplicates} events repeat another one"
    if found.weights is not None:
        weights = found.weights
        kind = f"all {weights.min:g}" if weights.equal else f"{weights.min:g} to {weights.max:g}"
        yield f"  weights     {kind}, {weights.n_negative} negative, {weights.n_unusable} unusable"
        if not weights.equal:
            yield "              events of different weights cannot be searched; unweight them"
    for kind, number in found.particles.items():
        yield f"  {kind:11} {number}, {number / found.n_events:.2f} an event"
    if found.n_triggers:
        often = ", ".join(f"{t.name} {t.n_fired}" for t in found.triggers[:_SHOWN_TRIGGERS])
        yield f"  triggers    {found.n_triggers}; most often {often}"
    if found.n_truth:
        yield f"  kept back   {found.n_truth} columns that tell the truth"
    if found.n_unread:
        yield f"  not read    {found.n_unread} columns that no reader uses"
    for note in found.notes:
        yield f"  note        {note}"
    yield f"  {'column':32} {'unit':4} {'min':>12} {'median':>12} {'max':>12} {'unusable':>9}"
    for column in found.columns:
        yield (
            f"  {column.name:32} {column.unit:4} {column.min:12.5g} {column.median:12.5g} "
            f"{column.max:12.5g} {column.n_unusable:9d}"
        )
    if found.n_columns > len(found.columns):
        yield f"  and {found.n_columns - len(found.columns)} further columns"


@contextlib.contextmanager
def _here(file: str) -> Iterator[Path]:
    if is_remote(file):
        with local_copy(file) as path:
            yield path
    else:
        yield Path(file)
