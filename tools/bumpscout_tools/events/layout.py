"""Layouts of files with objects: which branch is which quantity, and the events made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.reader import Wish, particles_by_pt
from bumpscout_tools.events.table import EventTable, Particles

__all__ = ["Branch", "Constituents", "Fields", "Layout", "Objects", "assemble", "one_value"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_UNPHYSICAL = 1e-4
"""A squared mass below zero by more than this share of the squared energy is no rounding."""


class Fields(Protocol):
    """The branches of a range of events, read when asked for."""

    @property
    def what(self) -> str:
        """File and range of rows, for messages."""
        ...

    @property
    def n(self) -> int:
        """Number of events."""
        ...

    def scalar(self, name: str) -> npt.NDArray[Any]:
        """Return (n,) one value an event; raise ValueError for a list an event."""
        ...

    def jagged(self, name: str) -> tuple[IntArray, npt.NDArray[Any]]:
        """Return (n + 1,) offsets and (m,) or (m, k) values."""
        ...


@dataclass(frozen=True)
class Branch:
    """Where a quantity of an object comes from.

    Attributes:
        names: branches; several are added up.
        column: of a branch with several values an object; None for one value.
        bit: of an integer; None for the number itself.
        mask: bits of an integer that are the number; None for all of them.
    """

    names: tuple[str, ...]
    column: int | None = None
    bit: int | None = None
    mask: int | None = None


@dataclass(frozen=True)
class Objects:
    """Branches of one kind of particles.

    Attributes:
        pt: branch, as are eta and phi.
        mass: branch; else the mass comes from the energy, else it is `fixed_mass`.
        energy: branch, where there is no mass.
        fixed_mass: GeV.
        extra: further columns of the particles.
        joined: the same for a second collection of the same kind; its extra columns are constants
            of `constant` where it has no branch for them.
        constant: extra columns with one value for all.
    """

    pt: str
    eta: str
    phi: str
    mass: str | None = None
    energy: str | None = None
    fixed_mass: float = 0.0
    extra: Mapping[str, Branch] = field(default_factory=dict)
    constant: Mapping[str, float] = field(default_factory=dict)
    joined: Objects | None = None


@dataclass(frozen=True)
class Constituents:
    """Branches of particle-flow candidates.

    Attributes:
        particles: the candidates of the event.
        jet: branch with the fat jet of each link; None where there are no links.
        candidate: branch with the candidate of each link.
    """

    particles: Objects
    jet: str | None = None
    candidate: str | None = None


@dataclass(frozen=True)
class Layout:
    """One format: branch names by quantity, and the factor that makes GeV.

    Attributes:
        format: its name.
        kinds: branches of the particles.
        constituents: branches of the constituents.
        met: branches of missing transverse momentum and its angle; of vectors the first value.
        triggers: decisions: name of the trigger, its branch.
        trigger_list: branch with one decision of each of `trigger_names`.
        trigger_names: their names.
        weight: branch of the event weight; of vectors the first value.
        gev: factor to GeV of momenta, masses and energies.
        truth: branches that stay in the file.
        notes: what a user should know.
    """

    format: str
    kinds: Mapping[str, Objects]
    constituents: Constituents | None = None
    met: tuple[str, str] | None = None
    triggers: Mapping[str, str] = field(default_factory=dict)
    trigger_list: str | None = None
    trigger_names: tuple[str, ...] = ()
    weight: str | None = None
    gev: float = 1.0
    truth: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def branches(self) -> Iterator[str]:
        """Give the names of all branches that may be read."""
        parts = list(self.kinds.values())
        if self.constituents is not None:
            parts.append(self.constituents.particles)
            yield from (b for b in (self.constituents.jet, self.constituents.candidate) if b)
        while parts:
            part = parts.pop()
            yield from (b for b in (part.pt, part.eta, part.phi, part.mass, part.energy) if b)
            for branch in part.extra.values():
                yield from branch.names
            if part.joined is not None:
                parts.append(part.joined)
        yield from self.met or ()
        yield from self.triggers.values()
        yield from (b for b in (self.trigger_list, self.weight) if b)


def assemble(fields: Fields, layout: Layout, wish: Wish, more: Mapping[str, str]) -> EventTable:
    """Make events of the branches of a layout.

    Args:
        fields: the branches of a range of events.
        layout: which branch is what.
        wish: what is needed.
        more: event columns beside those of the layout: name, branch.

    Returns:
        Particles by falling pT, in GeV; constituents of the two leading fat jets where the file
        links them.

    Raises:
        InputDataError: if the branches of one kind do not fit together.
    """
    particles: dict[str, Particles] = {}
    orders: dict[str, IntArray] = {}
    for kind, objects in layout.kinds.items():
        needed = kind == "fatjets" and layout.constituents and wish.wants_kind("constituents")
        if wish.wants_kind(kind) or needed:
            particles[kind], orders[kind] = particles_by_pt(
                _particles(fields, kind, objects, layout.gev)
            )
    if layout.constituents is not None and wish.wants_kind("constituents"):
        particles["constituents"] = _constituents(
            fields, layout.constituents, layout.gev, particles.get("fatjets"), orders.get("fatjets")
        )
    if not wish.wants_kind("fatjets"):
        particles.pop("fatjets", None)
    columns: dict[str, FloatArray] = {}
    units: dict[str, str] = {}
    if layout.met is not None:
        for name, branch, unit in zip(
            ("met_pt", "met_phi"), layout.met, ("GeV", "rad"), strict=True
        ):
            if wish.wants_column(name):
                scale = layout.gev if unit == "GeV" else 1.0
                columns[name] = scale * _first(fields, branch, missing=0.0)
                units[name] = unit
    for name, branch in more.items():
        if wish.columns is not None and name in wish.columns:
            columns[name] = one_value(fields, branch).astype(np.float64)
    triggers: dict[str, BoolArray] = {}
    for name, branch in layout.triggers.items():
        triggers[name] = one_value(fields, branch) != 0
    if layout.trigger_list is not None:
        triggers |= _trigger_list(fields, layout.trigger_list, layout.trigger_names)
    weight = None
    if layout.weight is not None:
        weight = _first(fields, layout.weight, missing=1.0)
    return EventTable(
        columns=MappingProxyType(columns),
        format=layout.format,
        units=MappingProxyType(units),
        particles=MappingProxyType(particles),
        triggers=MappingProxyType(triggers),
        weight=weight,
    )


def _particles(fields: Fields, kind: str, objects: Objects, gev: float) -> Particles:
    offsets, raw = fields.jagged(objects.pt)
    pt = gev * _numbers(raw, fields, objects.pt)

    def aligned(branch: str) -> npt.NDArray[Any]:
        other, values = fields.jagged(branch)
        if not np.array_equal(other, offsets):
            lengths, wanted = np.diff(other), np.diff(offsets)
            row = int(np.flatnonzero(lengths != wanted)[0]) if len(lengths) == len(wanted) else 0
            raise InputDataError(
                f"{fields.what}: {branch} does not belong to {objects.pt}: it has "
                f"{lengths[row] if len(lengths) else 0} values where that has "
                f"{wanted[row] if len(wanted) else 0}, first at row {row} of these. "
                "The file is damaged."
            )
        return values

    eta = _numbers(aligned(objects.eta), fields, objects.eta)
    phi = _numbers(aligned(objects.phi), fields, objects.phi)
    # A negative momentum or one that is no number makes the particle unusable, not the file.
    pt = np.where(pt >= 0, pt, np.nan)
    if objects.mass is not None:
        mass = gev * _numbers(aligned(objects.mass), fields, objects.mass)
    elif objects.energy is not None:
        mass = _mass(gev * _numbers(aligned(objects.energy), fields, objects.energy), pt, eta)
    else:
        mass = np.full(len(pt), objects.fixed_mass)
    extra = {name: _extra(name, branch, aligned, gev) for name, branch in objects.extra.items()}
    extra |= {name: np.full(len(pt), value) for name, value in objects.constant.items()}
    first = Particles(offsets, pt, eta, phi, mass, MappingProxyType(extra))
    if objects.joined is None:
        return first
    return _interleaved(first, _particles(fields, kind, objects.joined, gev))


def _extra(name: str, branch: Branch, aligned: Any, gev: float) -> FloatArray:
    total: FloatArray | None = None
    for each in branch.names:
        raw = aligned(each)
        if branch.column is not None:
            raw = raw[:, branch.column] if raw.ndim == 2 else raw
        if branch.bit is not None:
            raw = (raw.astype(np.int64) >> branch.bit) & 1
        if branch.mask is not None:
            raw = raw.astype(np.int64) & branch.mask
        values = raw.astype(np.float64)
        total = values if total is None else total + values
    if total is None:
        raise InputDataError(f"The quantity {name} has no branch.")
    if name == "btag":
        # Taggers write -1 where they have no answer.
        return np.clip(np.nan_to_num(total, nan=0.0), 0.0, 1.0)
    return gev * total if name == "softdrop_mass" else total


def _interleaved(first: Particles, second: Particles) -> Particles:
    counts = first.counts + second.counts
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    order = np.argsort(np.concatenate([first.event, second.event]), kind="stable")

    def both(a: FloatArray, b: FloatArray) -> FloatArray:
        joined: FloatArray = np.concatenate([a, b])[order]
        return joined

    names = set(first.extra) & set(second.extra)
    return Particles(
        offsets,
        both(first.pt, second.pt),
        both(first.eta, second.eta),
        both(first.phi, second.phi),
        both(first.mass, second.mass),
        MappingProxyType({n: both(first.extra[n], second.extra[n]) for n in sorted(names)}),
    )


def _constituents(
    fields: Fields,
    wanted: Constituents,
    gev: float,
    fatjets: Particles | None,
    order: IntArray | None,
) -> Particles:
    every = _particles(fields, "constituents", wanted.particles, gev)
    if wanted.jet is None or wanted.candidate is None or fatjets is None or order is None:
        return particles_by_pt(every)[0]
    offsets, jet = fields.jagged(wanted.jet)
    same, candidate = fields.jagged(wanted.candidate)
    event = np.repeat(np.arange(fields.n), np.diff(offsets))
    fits = np.array_equal(offsets, same)
    good = fits and bool(
        ((candidate >= 0) & (candidate < every.counts[event])).all()
        and ((jet >= 0) & (jet < fatjets.counts[event])).all()
    )
    if not good:
        raise InputDataError(
            f"{fields.what}: {wanted.jet} and {wanted.candidate} point to jets or candidates that "
            "are not there. The file is damaged."
        )
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    place = rank[fatjets.offsets[event] + jet.astype(np.int64)] - fatjets.offsets[event]
    leading = place < 2
    rows = (every.offsets[event] + candidate.astype(np.int64))[leading]
    counts = np.bincount(event[leading], minlength=fields.n)
    chosen = Particles(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        every.pt[rows],
        every.eta[rows],
        every.phi[rows],
        every.mass[rows],
        MappingProxyType(
            {"fatjet": place[leading].astype(np.float64)}
            | {name: values[rows] for name, values in every.extra.items()}
        ),
    )
    return particles_by_pt(chosen)[0]


def _trigger_list(fields: Fields, branch: str, names: tuple[str, ...]) -> dict[str, BoolArray]:
    offsets, values = fields.jagged(branch)
    if (np.diff(offsets) != len(names)).any():
        raise InputDataError(
            f"{fields.what}: {branch} does not hold {len(names)} decisions in every event, as its "
            "title says."
        )
    table = values.reshape(-1, len(names)) > 0
    return {name: table[:, index].copy() for index, name in enumerate(names)}


def one_value(fields: Fields, branch: str) -> npt.NDArray[Any]:
    """Return (n,) the values of a branch.

    Raises:
        InputDataError: if it holds a list an event.
    """
    try:
        return fields.scalar(branch)
    except ValueError as error:
        raise InputDataError(
            f"{fields.what}: branch {branch[:60]!r} holds a list an event where one value is "
            "expected. The file is damaged or of another layout."
        ) from error


def _first(fields: Fields, branch: str, missing: float) -> FloatArray:
    try:
        return fields.scalar(branch).astype(np.float64)
    except ValueError:
        offsets, values = fields.jagged(branch)
    there = np.diff(offsets) > 0
    out = np.full(fields.n, missing)
    out[there] = values[offsets[:-1][there]]
    return out


def _numbers(values: npt.NDArray[Any], fields: Fields, branch: str) -> FloatArray:
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise InputDataError(f"{fields.what}: {branch} does not hold one number a particle.")
    return values.astype(np.float64)


def _mass(energy: FloatArray, pt: FloatArray, eta: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", over="ignore"):
        momentum = pt * np.cosh(eta)
        square = (energy - momentum) * (energy + momentum)
        rounding = square > -_UNPHYSICAL * energy**2
        mass: FloatArray = np.sqrt(np.maximum(square, 0.0))
    return np.where((energy >= 0) & rounding, mass, np.nan)
