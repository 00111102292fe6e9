"""The dataset card: what may be told about a file, to a person and to a model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ColumnCard", "DatasetCard"]


class ColumnCard(BaseModel):
    """One column: range over its usable values, and how many are not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: str
    min: float
    median: float
    max: float
    n_unusable: int


class DatasetCard(BaseModel):
    """A file in aggregates only; no value of a single event, no truth label, no path.

    Attributes:
        name: file name, escaped and capped.
        sha256: of the whole file.
        format: layout of the file.
        n_events: rows in the file.
        n_usable: rows that reach the view.
        columns: columns of the file as read; the truth label is not among them.
        features: columns of the view beside the mass.
        dropped: events left out, by reason.
        mended: events that stayed with a mended value, by reason.
        n_duplicates: usable events that repeat another one.
        label_stripped: the reader never hands out a truth label, whether the file has one or not.
        mass_range_gev: smallest and largest invariant mass in the view.
        blinding: what code may see; under ``staged`` columns, features and masses describe the
            explored fraction alone, the counts all events.
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
