"""The part of a plan that makes it a grid: spectra with their bins, and working points by range."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bumpscout_tools.events.spectra import ALL_EVENTS

__all__ = [
    "MIN_BINS",
    "GridSpectra",
    "GridSpectrumPlan",
    "LogRange",
    "Points",
    "expand_spectra",
]

MIN_BINS = 15
"""Fewest bins that the fit of a spectrum spans: p6 and a bump leave no fewer to judge it by."""
MAX_POINTS = 1000
MAX_SPECTRA = 10_000
_DIGITS = 6

Name = Annotated[str, Field(min_length=1, max_length=64)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LogRange(_Settings):
    """Values in equal steps of the logarithm: ``{from: 100, to: 0.001, n: 100}``, ends included."""

    first: float = Field(alias="from", gt=0)
    last: float = Field(alias="to", gt=0)
    n: int = Field(ge=2, le=MAX_POINTS)

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.first <= self.last:
            raise ValueError(f"from {self.first:g} must be above to {self.last:g}")
        return self

    def values(self) -> tuple[float, ...]:
        """Return the n values, falling, with six significant digits.

        >>> LogRange.model_validate({"from": 10, "to": 0.1, "n": 3}).values()
        (10.0, 1.0, 0.1)
        """
        step = math.log(self.last / self.first) / (self.n - 1)
        exact = (self.first * math.exp(step * i) for i in range(self.n))
        return tuple(float(f"{value:.{_DIGITS}g}") for value in exact)


def _expand_points(given: Any) -> Any:
    """Return the values of a range; anything else as it is."""
    if isinstance(given, dict):
        return LogRange.model_validate(given).values()
    return given


Points = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...],
    Field(max_length=MAX_POINTS),
    BeforeValidator(
        _expand_points, json_schema_input_type=tuple[Annotated[float, Field(gt=0)], ...] | LogRange
    ),
]


class _Bins(_Settings):
    bin_log_width: float = Field(default=0.02, gt=0.001, le=0.2)
    edges_gev: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), max_length=2001, description="explicit bins instead of the logarithmic grid"
    )
    min_gev: float | None = Field(default=None, gt=0)
    max_gev: float | None = Field(default=None, gt=0)
    start: Literal["described", "mode", "first"] = "described"

    @model_validator(mode="after")
    def _usable(self) -> Self:
        edges = self.edges_gev
        if self.min_gev is not None and self.max_gev is not None and self.min_gev >= self.max_gev:
            raise ValueError(f"min_gev {self.min_gev} is not below max_gev {self.max_gev}")
        if edges and any(low >= high for low, high in pairwise(edges)):
            raise ValueError("edges_gev must rise strictly")
        if edges and len(edges) <= MIN_BINS:
            raise ValueError(f"edges_gev must give at least {MIN_BINS} bins, not {len(edges) - 1}")
        if edges and not self.min_gev == self.max_gev is None:
            raise ValueError("edges_gev already say where the bins begin and end")
        if self.start == "first" and not edges and self.min_gev is None:
            raise ValueError("start: first needs min_gev or edges_gev")
        return self


class GridSpectrumPlan(_Bins):
    """One spectrum of a grid: an invariant mass in one event category, its bins, its fit range.

    Bins lie on a logarithmic grid that is fixed for all data (edges at 1 TeV times exp(j w)), or at
    the edges given. `start` says where the fit begins, always on the loosest working point:

    - ``described``: at the first edge, from the fullest bin on in steps of two bins, from which the
      background family describes the spectrum with p > 0.05, as a whole or without its most
      significant interval; at the fullest bin where none does;
    - ``mode``: at the fullest bin;
    - ``first``: at `min_gev`, or at the first of the edges given.
    """

    mass: Name
    category: Name = ALL_EVENTS

    @property
    def name(self) -> str:
        """How results call the spectrum: the mass, and the category unless it is all events."""
        return self.mass if self.category == ALL_EVENTS else f"{self.mass} / {self.category}"


class GridSpectra(_Bins):
    """Every mass in every category, with the same rules: 9 masses x 7 triggers in one entry."""

    masses: tuple[Name, ...] = Field(min_length=1)
    categories: tuple[Name, ...] = Field(default=(ALL_EVENTS,), min_length=1)

    def spectra(self) -> list[dict[str, Any]]:
        """Return the settings of each spectrum, category by category."""
        shared = self.model_dump(exclude={"masses", "categories"})
        return [
            {**shared, "mass": mass, "category": category}
            for category, mass in product(self.categories, self.masses)
        ]


def expand_spectra(given: Any) -> Any:
    """Return the entries of a list of spectra, with each `GridSpectra` multiplied out."""
    if not isinstance(given, list | tuple):
        return given
    found: list[Any] = []
    for entry in given:
        if isinstance(entry, dict) and "masses" in entry:
            found += GridSpectra.model_validate(entry).spectra()
        else:
            found.append(entry)
    return found
