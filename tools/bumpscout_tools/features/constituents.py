"""From constituents to jets: the columns of the feature layout and the substructure of two jets."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS, SUBSTRUCTURE_COLUMNS
from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.features.clustering import LeadingJets, leading_jets
from bumpscout_tools.features.substructure import BETAS, N_MAX, mass_of, soft_drop, subjettiness

__all__ = ["BETA_TAGS", "four_momenta", "jet_table", "jets_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_ENERGY_GEV = 1e6
BETA_TAGS = ("5", "1", "2")
"""What stands for the exponents 0.5, 1 and 2 in the names of columns."""


def jet_table(
    table: EventTable, *, radius: float = 1.0, jets: LeadingJets | None = None
) -> EventTable:
    """Compute the jets of the LHC Olympics feature layout, and their substructure.

    Constituents that a file assigns to the fat jets of its own (``fatjet``) are taken as they are,
    and the axes of their subjettiness are minimised, as for the values that CMS stores; others are
    clustered (anti-kt, pT above 50 GeV, |eta| < 2.5), with exclusive kt axes. A large file may be
    converted chunk by chunk, and the columns concatenated.

    Args:
        table: n events with particles of the kind ``constituents``.
        radius: R of the clustering, of the subjettiness and of soft drop (z_cut 0.1, beta 0).
        jets: what `jets_of` gave for these events and this radius, to spare its time.

    Returns:
        n events with the columns `FEATURE_COLUMNS` (j1 the harder jet; tau for beta = 1) and
        `SUBSTRUCTURE_COLUMNS`; NaN where an event has no two jets.

    Raises:
        InputDataError: if the table has no constituents.
        MissingExtraError: if jets must be clustered and FastJet is not installed.
    """
    jets = jets_of(table, radius=radius) if jets is None else jets
    given = _knows_its_jets(table)
    columns = {
        name: np.full(table.n_events, np.nan) for name in (*FEATURE_COLUMNS, *SUBSTRUCTURE_COLUMNS)
    }
    tau = subjettiness(jets.counts, jets.constituents, radius=radius, minimise=given)
    groomed = soft_drop(jets.counts, jets.constituents, radius=radius)
    tau = tau.reshape(-1, 2, N_MAX, len(BETAS))
    of_jet = {
        "px": jets.momentum[..., 0],
        "py": jets.momentum[..., 1],
        "pz": jets.momentum[..., 2],
        "m": mass_of(jets.momentum),
        "msd": mass_of(groomed).reshape(-1, 2),
        "n": jets.counts.reshape(-1, 2).astype(float),
    }
    for which, jet in enumerate(("j1", "j2")):
        for name, values in of_jet.items():
            columns[f"{name}{jet}"][jets.event] = values[:, which]
        for n in range(1, N_MAX + 1):
            for b, tag in enumerate(BETA_TAGS):
                columns[f"tau{n}{jet}_{tag}"][jets.event] = tau[:, which, n - 1, b]
            if f"tau{n}{jet}" in columns:
                columns[f"tau{n}{jet}"] = columns[f"tau{n}{jet}_1"].copy()
    units = {name: "GeV" for name in columns if not name.startswith(("tau", "n"))}
    return EventTable(
        columns=MappingProxyType(columns),
        format=table.format,
        units=MappingProxyType(units),
        triggers=table.triggers,
        weight=table.weight,
    )


def jets_of(table: EventTable, *, radius: float = 1.0) -> LeadingJets:
    """Return the two leading jets of the events that have two, with their constituents.

    Args:
        table: n events with particles of the kind ``constituents``.
        radius: R of the clustering, where the file does not say which constituent is in which jet.

    Raises:
        InputDataError: if the table has no constituents.
        MissingExtraError: if jets must be clustered and FastJet is not installed.
    """
    parts = table.particles.get("constituents")
    if parts is None:
        raise InputDataError(f"These data hold no constituents (format {table.format}).")
    counts, momentum = four_momenta(parts)
    if _knows_its_jets(table):
        return _given_jets(table.particles["fatjets"], parts, momentum)
    return leading_jets(counts, momentum, radius=radius)


def _knows_its_jets(table: EventTable) -> bool:
    parts = table.particles.get("constituents")
    return parts is not None and "fatjets" in table.particles and "fatjet" in parts.extra


def four_momenta(parts: Particles) -> tuple[IntArray, FloatArray]:
    """Return counts (n,) and four-momenta (m, 4) px, py, pz, E in GeV of usable particles.

    Particles with a value that is not finite, without transverse momentum, or with more energy than
    any collider has (1e6 GeV) are left out. A ``puppi_weight`` multiplies the four-momentum
    (arXiv:1407.6013).
    """
    good = _usable(parts)
    momentum = _cartesian(parts.pt[good], parts.eta[good], parts.phi[good], parts.mass[good])
    if "puppi_weight" in parts.extra:
        momentum *= parts.extra["puppi_weight"][good][:, None]
    return np.bincount(parts.event[good], minlength=parts.n_events), momentum


def _usable(parts: Particles) -> npt.NDArray[np.bool_]:
    with np.errstate(over="ignore", invalid="ignore"):
        energy = parts.pt * np.cosh(parts.eta) + np.abs(parts.mass)
        good = (parts.pt > 0) & (energy < MAX_ENERGY_GEV) & np.isfinite(parts.phi)
    if "puppi_weight" in parts.extra:
        good &= parts.extra["puppi_weight"] > 0
    return np.asarray(good)


def _cartesian(pt: FloatArray, eta: FloatArray, phi: FloatArray, mass: FloatArray) -> FloatArray:
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + np.maximum(mass, 0) ** 2)
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy], axis=-1)


def _given_jets(fat: Particles, parts: Particles, momentum: FloatArray) -> LeadingJets:
    good = _usable(parts)
    event, member = parts.event[good], parts.extra["fatjet"][good]
    passed = np.flatnonzero(fat.counts >= 2)
    order = np.lexsort((-fat.pt, fat.event))
    rows = np.stack([order[fat.offsets[passed] + rank] for rank in (0, 1)], axis=1)
    # Each constituent of a leading jet gets the place 2 * (event among the passed) + (0 or 1).
    place = np.full(len(event), -1, dtype=np.int64)
    position = np.full(fat.n_events, -1, dtype=np.int64)
    position[passed] = np.arange(len(passed))
    for rank in (0, 1):
        local = np.full(fat.n_events, -1, dtype=np.int64)
        local[passed] = rows[:, rank] - fat.offsets[passed]
        mine = (position[event] >= 0) & (member == local[event])
        place[mine] = 2 * position[event[mine]] + rank
    chosen = np.flatnonzero(place >= 0)
    chosen = chosen[np.argsort(place[chosen], kind="stable")]
    return LeadingJets(
        momentum=_cartesian(fat.pt[rows], fat.eta[rows], fat.phi[rows], fat.mass[rows]),
        counts=np.bincount(place[chosen], minlength=2 * len(passed)),
        constituents=momentum[chosen],
        event=passed,
    )
