"""The objects of the rapidity-mass matrix: selected, sorted by pT and counted, event by event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.features.rmm_config import (
    OBJECTS,
    QUALITY,
    RMM_MASSES,
    RmmConfig,
    parse_object,
)
from bumpscout_tools.statistics._jit import jit

__all__ = ["RmmObjects", "available_masses", "pair_mass", "rmm_masses", "select_objects"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_KINDS = ("jets", "jets", "muons", "electrons", "photons")
_NONE = np.empty(0)
MAX_GEV = 1e6
"""No collider makes more; such values are damaged."""


@dataclass(frozen=True)
class RmmObjects:
    """Selected objects of n events, event after event, type after type, the hardest first.

    Attributes:
        multiplicity: (n, 5) selected objects by type of `OBJECTS`, those beyond the maxima too.
        kept: (n, 5) objects by type that follow, at most the maxima.
        offsets: (n + 1,) event i has the rows ``offsets[i]:offsets[i + 1]``.
        momentum: (m, 5) pT, px, py, pz and mass, GeV.
        met: (n, 3) missing transverse energy and its two components, GeV; 0 below the threshold.
    """

    multiplicity: IntArray
    kept: IntArray
    offsets: IntArray
    momentum: FloatArray
    met: FloatArray

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.met)

    def find(self, name: str) -> tuple[IntArray, BoolArray]:
        """Return the row (n,) of one object such as ``"b2"``, and (n,) where an event has it.

        The row is meaningless where there is none.
        """
        kind, rank = parse_object(name)
        row = self.offsets[:-1] + self.kept[:, :kind].sum(axis=1) + rank - 1
        return row, self.kept[:, kind] >= rank

    def pt(self, name: str) -> FloatArray:
        """Return pT (n,) in GeV of one object such as ``"mu1"``; 0 where an event has none."""
        row, there = self.find(name)
        pt = np.zeros(len(self))
        pt[there] = self.momentum[row[there], 0]
        return pt


def select_objects(table: EventTable, config: RmmConfig | None = None) -> RmmObjects:
    """Select, sort and count the objects of each event.

    Objects with a value that is not finite, or beyond any collider (1e6 GeV), are none. Jets are
    b-jets from a ``btag`` of ``config.btag_min`` on; without that column all are light.

    Args:
        table: particles of the kinds ``jets``, ``muons``, ``electrons``, ``photons``, as far as
            there are any; columns ``met_pt`` (GeV) and ``met_phi`` (rad), without which no event
            has missing energy.
        config: selection and largest numbers.

    Raises:
        InputDataError: if the table holds none of these kinds.
    """
    config = RmmConfig() if config is None else config
    if not set(_KINDS) & set(table.particles):
        raise InputDataError(
            "The rapidity-mass matrix needs jets, muons, electrons or photons, and these data have "
            f"none of them (format {table.format})."
        )
    n = table.n_events
    parts = [table.particles.get(kind, _empty(n)) for kind in _KINDS]
    chosen = [_chosen(part, kind, config) for part, kind in zip(parts, _KINDS, strict=True)]
    btag = parts[0].extra.get("btag")
    tagged = np.zeros(len(parts[0].pt), dtype=bool) if btag is None else btag >= config.btag_min
    chosen[0], chosen[1] = chosen[0] & ~tagged, chosen[1] & tagged
    if config.overlap_dr > 0:
        for mine, others in ((4, (3,)), (0, (2, 3, 4)), (1, (2, 3, 4))):
            for other in others:
                a, b = parts[mine], parts[other]
                _clear(
                    *(chosen[mine], a.offsets, a.eta, a.phi),
                    *(chosen[other], b.offsets, b.eta, b.phi),
                    config.overlap_dr,
                )
    multiplicity = np.empty((n, len(OBJECTS)), dtype=np.int64)
    ranked = []
    for kind, (part, good, most) in enumerate(zip(parts, chosen, config.maxima, strict=True)):
        ranked.append(_ranked(part.offsets, part.pt, good, most, multiplicity[:, kind]))
    kept = np.minimum(multiplicity, np.array(config.maxima))
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    momentum = np.empty((int(offsets[-1]), 5))
    first = offsets[:-1].copy()
    for kind, (part, rows) in enumerate(zip(parts, ranked, strict=True)):
        _fill(momentum, first, kept[:, kind], rows, part.pt, part.eta, part.phi, part.mass)
        first += kept[:, kind]
    return RmmObjects(multiplicity, kept, offsets, momentum, _missing(table, config))


def available_masses(table: EventTable) -> tuple[str, ...]:
    """Return the names of those of `RMM_MASSES` whose objects these data can have at all."""
    kinds = {
        name
        for name, kind in zip(OBJECTS, _KINDS, strict=True)
        if kind in table.particles and (name != "b" or "btag" in table.particles[kind].extra)
    }
    return tuple(
        name
        for name, pair in RMM_MASSES.items()
        if {OBJECTS[parse_object(which)[0]] for which in pair} <= kinds
    )


def rmm_masses(objects: RmmObjects, names: tuple[str, ...] = tuple(RMM_MASSES)) -> FloatArray:
    """Compute the scanned invariant masses of the leading objects.

    Args:
        objects: selected objects of n events.
        names: some of `RMM_MASSES`.

    Returns:
        (n, k) GeV; NaN where an event lacks one of the two objects.
    """
    columns = [pair_mass(objects, *RMM_MASSES[name]) for name in names]
    return np.column_stack(columns) if columns else np.empty((len(objects), 0))


def pair_mass(objects: RmmObjects, first: str, second: str) -> FloatArray:
    """Compute the invariant mass of two objects such as ``"j1"`` and ``"mu1"``.

    m^2 = m_1^2 + m_2^2 + 2 (E_1 E_2 - p_1 p_2).

    Returns:
        (n,) GeV; NaN where an event lacks one of the two, or their mass is 0.
    """
    (row_1, has_1), (row_2, has_2) = objects.find(first), objects.find(second)
    there = has_1 & has_2
    one, two = objects.momentum[row_1[there]], objects.momentum[row_2[there]]
    energy_1, energy_2 = (np.sqrt((p[:, 1:] ** 2).sum(axis=1)) for p in (one, two))
    product = energy_1 * energy_2 - (one[:, 1:4] * two[:, 1:4]).sum(axis=1)
    mass2 = one[:, 4] ** 2 + two[:, 4] ** 2 + 2 * product
    mass = np.full(len(objects), np.nan)
    mass[there] = np.where(mass2 > 0, np.sqrt(np.maximum(mass2, 0)), np.nan)
    return mass


def _empty(n: int) -> Particles:
    return Particles(np.zeros(n + 1, dtype=np.int64), _NONE, _NONE, _NONE, _NONE)


def _chosen(part: Particles, kind: str, config: RmmConfig) -> BoolArray:
    good = (part.pt < MAX_GEV) & (part.mass < MAX_GEV) & np.isfinite(part.phi)
    good &= (part.pt > config.pt_min_gev) & (np.abs(part.eta) < config.abs_eta_max)
    if config.identified:
        for name, (low, high) in QUALITY[kind].items():
            if name in part.extra:
                good &= (part.extra[name] >= low) & (part.extra[name] <= high)
    return good


def _missing(table: EventTable, config: RmmConfig) -> FloatArray:
    met = np.zeros((table.n_events, 3))
    if "met_pt" in table.columns and "met_phi" in table.columns:
        size, phi = table.columns["met_pt"], table.columns["met_phi"]
        there = (size < MAX_GEV) & np.isfinite(phi) & (size >= config.met_min_gev)
        met[there, 0] = size[there]
        met[there, 1] = size[there] * np.cos(phi[there])
        met[there, 2] = size[there] * np.sin(phi[there])
    return met


@jit
def _ranked(
    offsets: IntArray, pt: FloatArray, good: BoolArray, most: int, count: IntArray
) -> IntArray:
    rows = np.empty((len(count), most), dtype=np.int64)
    for event in range(len(count)):
        found = 0
        for row in range(offsets[event], offsets[event + 1]):
            if not good[row]:
                continue
            place = min(found, most)
            while place > 0 and pt[rows[event, place - 1]] < pt[row]:
                if place < most:
                    rows[event, place] = rows[event, place - 1]
                place -= 1
            if place < most:
                rows[event, place] = row
            found += 1
        count[event] = found
    return rows


@jit
def _fill(
    momentum: FloatArray,
    first: IntArray,
    kept: IntArray,
    rows: IntArray,
    pt: FloatArray,
    eta: FloatArray,
    phi: FloatArray,
    mass: FloatArray,
) -> None:
    for event in range(len(kept)):
        for rank in range(kept[event]):
            row, at = rows[event, rank], first[event] + rank
            momentum[at, 0] = pt[row]
            momentum[at, 1] = pt[row] * np.cos(phi[row])
            momentum[at, 2] = pt[row] * np.sin(phi[row])
            momentum[at, 3] = pt[row] * np.sinh(eta[row])
            # Rounding makes masses of light particles slightly negative.
            momentum[at, 4] = max(mass[row], 0.0)


@jit
def _clear(
    good: BoolArray,
    offsets: IntArray,
    eta: FloatArray,
    phi: FloatArray,
    other_good: BoolArray,
    other_offsets: IntArray,
    other_eta: FloatArray,
    other_phi: FloatArray,
    radius: float,
) -> None:
    for event in range(len(offsets) - 1):
        for other in range(other_offsets[event], other_offsets[event + 1]):
            if not other_good[other]:
                continue
            for row in range(offsets[event], offsets[event + 1]):
                turn = abs(phi[row] - other_phi[other]) % (2 * np.pi)
                turn = min(turn, 2 * np.pi - turn)
                if (eta[row] - other_eta[other]) ** 2 + turn**2 < radius**2:
                    good[row] = False
