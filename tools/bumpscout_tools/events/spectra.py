"""Many invariant masses and event categories of the same events: what a grid of spectra scans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import ConfigurationError, InputDataError

__all__ = ["ALL_EVENTS", "MAX_CATEGORIES", "SpectraTable"]

ALL_EVENTS = "all"
"""The category that every event belongs to."""
MAX_CATEGORIES = 64

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SpectraTable:
    """Masses and categories of n events; a *spectrum* is one mass in one category.

    Attributes:
        masses: (n, k) GeV; NaN where the event has no such mass.
        mass_names: names of the k masses.
        categories: (n,) bit c is set where the event belongs to category c.
        category_names: names of at most 64 categories (triggers or event classes), without the
            one of all events, which needs no bit.
    """

    masses: FloatArray
    mass_names: tuple[str, ...]
    categories: npt.NDArray[np.uint64]
    category_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the shapes and values.

        Raises:
            InputDataError: if they do not fit together, or a mass is infinite or not positive.
        """
        n = len(self.categories)
        if self.masses.shape != (n, len(self.mass_names)) or self.categories.shape != (n,):
            raise InputDataError(
                f"Masses of shape {self.masses.shape} and categories of shape "
                f"{self.categories.shape} are no spectra of {len(self.mass_names)} masses."
            )
        names = (*self.mass_names, *self.category_names)
        if len(set(names)) != len(names) or not self.mass_names or ALL_EVENTS in names:
            raise InputDataError(
                f"The names of masses and categories must differ and not be {ALL_EVENTS!r}: {names}"
            )
        if len(self.category_names) > MAX_CATEGORIES:
            raise InputDataError(
                f"{len(self.category_names)} event categories; at most {MAX_CATEGORIES} can be "
                "scanned in one grid."
            )
        if np.isinf(self.masses).any() or (self.masses <= 0).any():
            raise InputDataError("An invariant mass is infinite or not positive.")

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.categories)

    def mass(self, mass: str, category: str = ALL_EVENTS) -> FloatArray:
        """Return (n,) GeV of one spectrum, NaN for events that are not in it.

        Raises:
            ConfigurationError: if the data offer no such mass or category.
        """
        if mass not in self.mass_names:
            raise ConfigurationError(
                f"The data offer no mass {mass!r}; they offer {', '.join(self.mass_names)}."
            )
        values = self.masses[:, self.mass_names.index(mass)]
        if category == ALL_EVENTS:
            return values
        if category not in self.category_names:
            raise ConfigurationError(
                f"The data offer no event category {category!r}; they offer "
                f"{', '.join((ALL_EVENTS, *self.category_names))}."
            )
        bit = np.uint64(self.category_names.index(category))
        inside = (self.categories >> bit) & np.uint64(1)
        return np.where(inside == 1, values, np.nan)

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> SpectraTable:
        """Return the spectra of the selected events."""
        return SpectraTable(
            self.masses[rows], self.mass_names, self.categories[rows], self.category_names
        )
