"""Events of a file as every reader gives them: columns with units, and particles of each event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError

__all__ = ["EventTable", "Particles"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Particles:
    """Particles of one kind in all events, event after event.

    Attributes:
        offsets: (n + 1,) event i has the rows ``offsets[i]:offsets[i + 1]``.
        pt: (m,) GeV.
        eta: (m,) pseudorapidity.
        phi: (m,) rad.
        mass: (m,) GeV.
        extra: further columns (m,) by name, such as ``btag``.
    """

    offsets: IntArray
    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    mass: FloatArray
    extra: Mapping[str, FloatArray] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            InputDataError: if the columns do not fit together.
        """
        columns = {"pt": self.pt, "eta": self.eta, "phi": self.phi, "mass": self.mass, **self.extra}
        rising = self.offsets.ndim == 1 and len(self.offsets) > 0 and self.offsets[0] == 0
        if not rising or (np.diff(self.offsets) < 0).any():
            raise InputDataError("The numbers of particles of the events are damaged.")
        wrong = [name for name, x in columns.items() if x.shape != (int(self.offsets[-1]),)]
        if wrong:
            raise InputDataError(
                f"The particle columns {', '.join(wrong)} do not hold {self.offsets[-1]} values, "
                "one a particle."
            )

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> IntArray:
        """Number of particles of each event, (n,)."""
        return np.diff(self.offsets)

    @property
    def event(self) -> IntArray:
        """Row of the event of each particle, (m,)."""
        return np.repeat(np.arange(self.n_events), self.counts)


@dataclass(frozen=True)
class EventTable:
    """All that a reader took from a file, without truth label; every part has the same n events.

    Attributes:
        columns: one float64 value an event, (n,).
        format: name of the layout.
        units: ``GeV``, ``TeV``, ``rad``, or empty; of the columns that have one.
        particles: by kind: ``jets``, ``fatjets``, ``electrons``, ``muons``, ``photons``,
            ``constituents``, as far as the file has them.
        triggers: (n,) decisions by name.
        weight: (n,) event weights; None for unweighted events.
    """

    columns: Mapping[str, FloatArray]
    format: str
    units: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    particles: Mapping[str, Particles] = field(default_factory=lambda: MappingProxyType({}))
    triggers: Mapping[str, BoolArray] = field(default_factory=lambda: MappingProxyType({}))
    weight: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check that all parts have the same number of events.

        Raises:
            InputDataError: if they differ, or there is none.
        """
        lengths = {len(values) for values in (*self.columns.values(), *self.triggers.values())}
        lengths |= {kind.n_events for kind in self.particles.values()}
        if self.weight is not None:
            lengths.add(len(self.weight))
        if len(lengths) != 1:
            found = f"{sorted(lengths)} events" if lengths else "no column at all"
            raise InputDataError(f"The parts of an event table must agree in length; got {found}.")

    @property
    def n_events(self) -> int:
        """Return the number of events."""
        if self.columns:
            return len(next(iter(self.columns.values())))
        if self.particles:
            return next(iter(self.particles.values())).n_events
        return len(next(iter(self.triggers.values())))
