"""The catalogue of public data sets: where they are, how large, under what licence, how to cite.

It lists only records that exist. A checksum that could not be verified is absent, never invented:
``download.fetch_file`` then keeps the one of the first download.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bumpscout_tools.errors import ConfigurationError

__all__ = ["DataFile", "DataSet", "catalogue", "data_set"]

_SOURCE = "catalogue.json"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataFile(_Entry):
    """One file of a data set.

    Attributes:
        name: file name, in the record and in the cache.
        url: where it is downloaded from.
        about: what is in it.
        bytes: its exact size; None where it is not known.
        approximate_mb: its size in MB as the record states it, where the exact one is not known.
        checksum: ``md5:...`` or ``sha256:...``; None where it is not known.
        default: fetched when no file is named.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    url: Annotated[str, Field(pattern=r"^https?://")]
    about: str
    bytes: Annotated[int, Field(gt=0)] | None = None
    approximate_mb: Annotated[float, Field(gt=0)] | None = None
    checksum: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = (
        None
    )
    default: bool

    def size_text(self) -> str:
        """Say the size."""
        if self.bytes is not None:
            return _megabytes(self.bytes / 1e6)
        if self.approximate_mb is not None:
            return f"about {_megabytes(self.approximate_mb)}"
        return "size unknown"


class DataSet(_Entry):
    """One entry of the catalogue.

    Attributes:
        name: how `bumpscout data fetch` calls it.
        title: what it is.
        format: layout of its files.
        record: page of the record.
        doi: of the record.
        licence: SPDX name; None where it could not be verified and the record has to be read.
        citation: what to cite.
        files: its files.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    title: str
    format: str
    record: str
    doi: str
    licence: str | None
    citation: str
    files: Annotated[tuple[DataFile, ...], Field(min_length=1)]

    def chosen(self, names: tuple[str, ...], *, everything: bool = False) -> tuple[DataFile, ...]:
        """Choose files by name.

        Args:
            names: file names; empty for the default ones.
            everything: all files.

        Raises:
            ConfigurationError: the data set has no such file.
        """
        if everything:
            return self.files
        if not names:
            return tuple(file for file in self.files if file.default)
        known = {file.name: file for file in self.files}
        for name in names:
            if name not in known:
                shown = ", ".join(list(known)[:6]) + (", ..." if len(known) > 6 else "")
                raise ConfigurationError(
                    f"{self.name} has no file {name!r}. Its files: {shown}; "
                    f"`bumpscout data list {self.name}` lists all."
                )
        return tuple(known[name] for name in dict.fromkeys(names))


@cache
def catalogue() -> tuple[DataSet, ...]:
    """Return all data sets."""
    text = resources.files("bumpscout_tools.events").joinpath(_SOURCE).read_text("utf-8")
    return TypeAdapter(tuple[DataSet, ...]).validate_python(json.loads(text))


def data_set(name: str) -> DataSet:
    """Return a data set by its name.

    Raises:
        ConfigurationError: there is none of this name.
    """
    for entry in catalogue():
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in catalogue())
    raise ConfigurationError(f"There is no data set {name[:80]!r} in the catalogue: {known}.")


def _megabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.3g} MB"
