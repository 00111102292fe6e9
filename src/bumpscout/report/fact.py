"""A number with its name, as reports print it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fact"]


@dataclass(frozen=True)
class Fact:
    """A number with its name and a note, for the strip below the headline and for tables."""

    name: str
    value: str
    note: str = ""
