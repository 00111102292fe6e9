"""The dataset card: what may be told about a file, to a person and to a model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ColumnCard", "DatasetCard", "WeightCard"]


class ColumnCard(BaseModel):
    """One column: range over its usable values, and how many are not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: str
    min: float
    median: float
    max: float
    n_unusable: int


class WeightCard(BaseModel):
    """The weights of the events of a file.

    Attributes:
        equal: whether all are the same number; a search counts events and needs that.
        min: smallest weight.
        max: largest weight.
        sum: of all weights.
        n_negative: events with a negative one.
        n_unusable: events whose weight is NaN or infinite.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    equal: bool
    min: float
    max: float
    sum: float
    n_negative: int
    n_unusable: int


class DatasetCard(BaseModel):
    """A file in aggregates only; no value of a single event, no truth label, no path.

    Attributes:
        name: file name, escaped and capped.
        sha256: of the whole file.
        format: layout of the file.
        n_events: rows in the file.
        n_usable: rows that reach the view.
        columns: columns of the file as read, those of particles with their kind in front (at most
            64); truth labels are not among them.
        n_columns: how many there are.
        features: columns of the view beside the mass.
        dropped: events left out, by reason.
        mended: events that stayed with a mended value, by reason.
        n_duplicates: usable events that repeat another one.
        label_stripped: the reader never hands out a truth label, whether the file has one or not.
        mass_range_gev: smallest and largest invariant mass in the view.
        blinding: what code may see; under ``staged`` columns, features and masses describe the
            explored fraction alone, the counts all events.
        weights: event weights; None for unweighted events.
        n_unread: further columns that are not read, truth labels not counted.
        mass_names: further masses that can be scanned.
        category_names: triggers and event classes that can be scanned.
        notes: what is special about the format.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str
    format: str
    n_events: int
    n_usable: int
    columns: tuple[ColumnCard, ...]
    features: tuple[ColumnCard, ...]
    dropped: dict[str, int]
    mended: dict[str, int]
    n_duplicates: int
    label_stripped: Literal[True] = True
    mass_range_gev: tuple[float, float]
    blinding: Literal["open", "staged"] = "open"
    n_columns: int = 0
    weights: WeightCard | None = None
    n_unread: int = 0
    mass_names: tuple[str, ...] = ()
    category_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
