"""From the events of any file to the view of a search: mass, features, spectra, categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.lhco import FEATURE_COLUMNS
from bumpscout_tools.events.spectra import ALL_EVENTS, MAX_CATEGORIES, SpectraTable
from bumpscout_tools.events.table import EventTable, Particles
from bumpscout_tools.events.view import EVENT_ID, MASS, View
from bumpscout_tools.features.catalogue import Inputs, tau_name
from bumpscout_tools.features.categories import object_triggers
from bumpscout_tools.features.constituents import BETA_TAGS, jet_table, jets_of
from bumpscout_tools.features.dijet import DropReport, pair_view, tau_ratio
from bumpscout_tools.features.jet_constituents import (
    DELTA_ETA,
    constituent_names,
    constituents_of,
    delta_eta,
)
from bumpscout_tools.features.rmm import rmm, rmm_columns
from bumpscout_tools.features.rmm_config import RMM_MASSES, RmmConfig
from bumpscout_tools.features.rmm_objects import (
    RmmObjects,
    available_masses,
    pair_mass,
    rmm_masses,
    select_objects,
)
from bumpscout_tools.features.substructure import BETAS, N_MAX

__all__ = ["constituent_table", "constituents_view", "rmm_view", "spectra_of", "view_of"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Pair = tuple[FloatArray, FloatArray]

CLEAN_FORMATS = ("adfilter",)
"""Formats (by their first word) whose objects do not overlap any more."""
OVERLAP_DR = 0.4
_JET_COLUMNS = (
    ("softdrop_mass", "msd", 1e-3),
    ("btag", "btag", 1.0),
    ("n_constituents", "n", 1.0),
)
FATJET_RADIUS = 0.8
"""R of the fat jets that files bring along (CMS), by which their subjettiness is normalised."""
MIN_PAIRED = 0.5
"""Fat jets make the dijet if at least this share of the events has two; else the jets do."""


def view_of(table: EventTable, inputs: Inputs = "dijet") -> tuple[View, DropReport]:
    """Make the view of a search from the events of a file.

    With ``inputs="rmm"`` the features of events with objects are the rapidity-mass matrix
    (`rmm_view`); with ``inputs="constituents"`` those of `constituents_view` come in addition; else

    - LHC Olympics feature columns: m_jj and features of the two jets (`pair_view`), and further
      ones from the columns of `SUBSTRUCTURE_COLUMNS` that there are;
    - constituents alone: the same after clustering (`jet_table`);
    - particles: the same of the two hardest fat jets, or jets where few events have two fat jets;
      the masses of `RMM_MASSES` and the triggers as categories where there are jets;
    - a column ``m_jj``: all other columns of numbers are features.

    Args:
        table: n events; GeV.
        inputs: features of two jets, the matrix of all objects, or features and constituents of
            two jets.

    Returns:
        The view, in the order of the file with the row number as ``event_id``, and what was
        dropped and mended.

    Raises:
        InputDataError: if the data hold none of these, or no event is usable.
        MissingExtraError: if jets must be clustered and FastJet is not installed.
    """
    if inputs == "rmm" and {"jets", "muons", "electrons", "photons"} & set(table.particles):
        return rmm_view(table)
    if inputs == "constituents":
        return constituents_view(table)
    return _view_of(table)


def constituents_view(table: EventTable) -> tuple[View, DropReport]:
    """Make the view of `view_of` with the constituents of the two jets as further features.

    These are the columns of `constituents_of` and |delta eta| of the jets (``deta_jj``).

    Args:
        table: n events with constituents; of fat jets, or of the whole event (then clustered), or
            as columns that `constituent_table` has made.

    Returns:
        The view, in the order of the file with the row number as ``event_id``, and what was
        dropped and mended. It takes 8 bytes a column: 5 GB for a million events.

    Raises:
        InputDataError: if the events have no constituents, or no event is usable.
        MissingExtraError: if jets must be clustered and FastJet is not installed.
    """
    if "constituents" in table.particles:
        table = constituent_table(table)
    added = (DELTA_ETA, *constituent_names())
    if not set(added) <= set(table.columns):
        found = ", ".join([*table.particles, *table.columns][:10])
        raise InputDataError(
            f"These data hold no constituents of jets (format {table.format}; found {found}), so "
            "no plan can use the features [constituents] with them. Give a file with the particles "
            "of the events (raw LHC Olympics events, PFNano), or other features."
        )
    base, report = _view_of(table)
    rows = base.event_id.astype(np.int64)
    there = np.isfinite(table.columns[DELTA_ETA][rows])
    if not there.any():
        raise InputDataError("No event has two jets with constituents.")
    kept, old = rows[there], len(base.feature_names)
    values = np.empty((len(kept), old + len(added)))
    values[:, :old] = base.features[there]
    for column, name in enumerate(added, start=old):
        values[:, column] = table.columns[name][kept]
    view = View(
        event_id=base.event_id[there],
        mass=base.mass[there],
        features=values,
        feature_names=(*base.feature_names, *added),
        spectra=None if base.spectra is None else base.spectra.select(there),
    )
    lost = int((~there).sum())
    if lost:
        dropped = {**report.dropped, "fewer than two jets with constituents": lost}
        report = report.model_copy(update={"n_kept": len(view), "dropped": dropped})
    return view, report


def constituent_table(table: EventTable) -> EventTable:
    """Add the columns of `constituents_of` and ``deta_jj``; NaN where an event has no two jets.

    Events of particles alone get the columns of `jet_table` too, and lose the particles: a large
    file may be converted chunk by chunk. They take 5 kB an event.

    Args:
        table: n events with constituents.

    Raises:
        InputDataError: if the events have no constituents.
        MissingExtraError: if jets must be clustered and FastJet is not installed.
    """
    jets = jets_of(table)
    alone = not {"jets", "fatjets"} & set(table.particles)
    base = jet_table(table, jets=jets) if alone else table
    values = np.full((table.n_events, 1 + len(constituent_names())), np.nan)
    values[jets.event, 0] = delta_eta(jets)
    values[jets.event, 1:] = constituents_of(jets)
    names = (DELTA_ETA, *constituent_names())
    columns = {name: values[:, column] for column, name in enumerate(names)}
    return replace(base, columns=MappingProxyType({**base.columns, **columns}))


def _view_of(table: EventTable) -> tuple[View, DropReport]:
    """Return the view of two jets."""
    if set(FEATURE_COLUMNS) <= set(table.columns):
        return _layout(table)
    if "constituents" in table.particles and not {"jets", "fatjets"} & set(table.particles):
        return _layout(jet_table(table))
    if {"jets", "fatjets"} & set(table.particles):
        view, report = _dijets(table)
        spectra = spectra_of(table)
        if spectra is not None:
            view = replace(view, spectra=spectra.select(view.event_id.astype(np.int64)))
        return view, report
    if MASS in table.columns:
        return _flat(table)
    found = ", ".join([*table.particles, *table.columns][:10])
    raise InputDataError(
        "No dijet mass can be made from these data: they hold neither two jets an event nor a "
        f"column {MASS} (format {table.format}; found {found})."
    )


def rmm_view(table: EventTable, config: RmmConfig | None = None) -> tuple[View, DropReport]:
    """Make a view whose features are the rapidity-mass matrix, without the scanned masses.

    Events with at least one scanned mass are kept. ``m_jj`` is that of the two hardest light jets
    and 0, which no spectrum holds, for events that have only other masses.

    Args:
        table: n events with jets, leptons or photons.
        config: objects and blinding; by default the 1287 inputs of PRL 132 (2024) 081801, with the
            selection of `spectra_of`.

    Returns:
        The view with its spectra, in the order of the file with the row number as ``event_id``, and
        what was dropped. It takes 8 bytes a cell: 10 GB for a million events.

    Raises:
        InputDataError: if no event has a scanned mass.
    """
    config = _standard(table) if config is None else config
    objects = select_objects(table, config)
    spectra = _spectra(table, objects)
    if spectra is None or not np.isfinite(spectra.masses).any():
        raise InputDataError(
            f"None of the {table.n_events} events has two objects whose mass is scanned "
            f"({', '.join(RMM_MASSES)})."
        )
    keep = np.flatnonzero(np.isfinite(spectra.masses).any(axis=1))
    mass = pair_mass(objects, *RMM_MASSES[MASS])
    view = View(
        event_id=keep.astype(np.uint64),
        mass=np.nan_to_num(mass[keep]),
        features=rmm(objects, config)[keep].astype(np.float64),
        feature_names=tuple(column.name for column in rmm_columns(config)),
        spectra=spectra.select(keep),
    )
    n_lost = table.n_events - len(keep)
    dropped = {"no two objects whose mass is scanned": n_lost} if n_lost else {}
    return view, DropReport(n_read=table.n_events, n_kept=len(keep), dropped=dropped, mended={})


def spectra_of(table: EventTable, config: RmmConfig | None = None) -> SpectraTable | None:
    """Compute the scanned masses and the categories of all events.

    Categories are the triggers of the file, then those of `TRIGGERS` from the objects, unless the
    file has one of the same name. Of more than 64 the file's that fire least often are left out.

    Args:
        table: n events.
        config: selection of the objects; by default that of `RmmConfig` for identified objects,
            with jets closer than 0.4 to an electron, muon or photon left out where the format does
            not say that they are clean already.

    Returns:
        The spectra of n events; None if the data have no two types of objects with a mass.
    """
    if not available_masses(table):
        return None
    return _spectra(table, select_objects(table, _standard(table) if config is None else config))


def _spectra(table: EventTable, objects: RmmObjects) -> SpectraTable | None:
    names = available_masses(table)
    if not names:
        return None
    own = {
        name: fired
        for name, fired in object_triggers(objects).items()
        if name not in table.triggers
    }
    masses = rmm_masses(objects, names)
    room = MAX_CATEGORIES - len(own)
    given = {
        name: fired
        for name, fired in table.triggers.items()
        if name not in names and name != ALL_EVENTS
    }
    often = sorted(given, key=lambda name: (-int(given[name].sum()), name))[:room]
    fired_by = {name: fired for name, fired in given.items() if name in often} | own
    categories = np.zeros(table.n_events, dtype=np.uint64)
    for bit, fired in enumerate(fired_by.values()):
        categories |= fired.astype(np.uint64) << np.uint64(bit)
    return SpectraTable(masses, names, categories, tuple(fired_by))


def _standard(table: EventTable) -> RmmConfig:
    clean = table.format.startswith(CLEAN_FORMATS)
    return RmmConfig(identified=True, overlap_dr=0.0 if clean else OVERLAP_DR)


def _layout(table: EventTable) -> tuple[View, DropReport]:
    columns = {name: table.columns[name] for name in FEATURE_COLUMNS}
    kinematics = [columns[f"{name}{jet}"] for jet in ("j1", "j2") for name in ("px", "py", "m")]
    return pair_view(
        columns,
        paired=np.asarray(~np.isnan(kinematics).all(axis=0)),
        more=_substructure(table.columns),
    )


def _substructure(columns: Mapping[str, FloatArray]) -> dict[str, Pair]:
    """Return further features, of j1 and of j2, from what there is of `SUBSTRUCTURE_COLUMNS`."""

    def pair(pattern: str) -> Pair | None:
        names = pattern.format("j1"), pattern.format("j2")
        if not set(names) <= set(columns):
            return None
        return columns[names[0]], columns[names[1]]

    found: dict[str, Pair | None] = {}
    for beta, tag in zip(BETAS, BETA_TAGS, strict=True):
        for n in range(1, N_MAX + 1):
            found[tau_name(n, beta, "")[:-1]] = pair(f"tau{n}{{}}_{tag}")
    for n in (3, 4):
        upper, lower = pair(f"tau{n + 1}{{}}_1"), pair(f"tau{n}{{}}_1")
        if upper is not None and lower is not None:
            found[f"tau{n + 1}{n}"] = tau_ratio(upper[0], lower[0]), tau_ratio(upper[1], lower[1])
    groomed = pair("msd{}")
    if groomed is not None:
        found["msd"] = groomed[0] / 1000.0, groomed[1] / 1000.0
    found["n"] = pair("n{}")
    return {name: values for name, values in found.items() if values is not None}


def _dijets(table: EventTable) -> tuple[View, DropReport]:
    fat = table.particles.get("fatjets")
    jets = table.particles.get("jets")
    if jets is None or (fat is not None and float((fat.counts >= 2).mean()) >= MIN_PAIRED):
        jets = fat
    if jets is None:
        raise InputDataError(f"These data hold no jets (format {table.format}).")
    paired = jets.counts >= 2
    rows = _leading_rows(jets)
    columns: dict[str, FloatArray] = {}
    for name, row in zip(("j1", "j2"), rows, strict=True):
        pt, eta, phi, mass = (
            _taken(values, row, paired) for values in (jets.pt, jets.eta, jets.phi, jets.mass)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            columns |= {
                f"px{name}": pt * np.cos(phi),
                f"py{name}": pt * np.sin(phi),
                f"pz{name}": pt * np.sinh(eta),
                f"m{name}": mass,
            }
        for tau in ("tau1", "tau2", "tau3"):
            if tau in jets.extra:
                columns[f"{tau}{name}"] = _taken(jets.extra[tau], row, paired)
    more: dict[str, Pair] = {}
    for key, name, scale in _JET_COLUMNS:
        if key in jets.extra:
            values = [scale * _taken(jets.extra[key], row, paired) for row in rows]
            more[name] = (values[0], values[1])
    if {"tau3", "tau4"} <= set(jets.extra):
        upper, lower = (
            [_taken(jets.extra[key], row, paired) for row in rows] for key in ("tau4", "tau3")
        )
        more["tau43"] = tau_ratio(upper[0], lower[0]), tau_ratio(upper[1], lower[1])
    parts = table.particles.get("constituents")
    if jets is fat and parts is not None and "fatjet" in parts.extra:
        more |= _substructure(jet_table(table, radius=FATJET_RADIUS).columns)
    return pair_view(columns, paired=paired, more=more)


def _leading_rows(particles: Particles) -> list[npt.NDArray[np.int64]]:
    """Return the row (n,) of the hardest and of the second particle; 0 where there is none."""
    order = np.lexsort((-particles.pt, particles.event))
    rows = []
    for rank in (0, 1):
        inside = particles.counts > rank
        row = np.zeros(particles.n_events, dtype=np.int64)
        row[inside] = order[particles.offsets[:-1][inside] + rank]
        rows.append(row)
    return rows


def _taken(values: FloatArray, rows: npt.NDArray[np.int64], there: BoolArray) -> FloatArray:
    out = np.zeros(len(rows))
    out[there] = values[rows[there]]
    return out


def _flat(table: EventTable) -> tuple[View, DropReport]:
    scale = 1000.0 if table.units.get(MASS) == "TeV" else 1.0
    mass = scale * np.asarray(table.columns[MASS], dtype=np.float64)
    usable = {
        name: values
        for name, values in table.columns.items()
        if name not in (MASS, EVENT_ID) and np.isfinite(values).any()
    }
    good = np.isfinite(mass) & (mass > 0)
    finite = np.isfinite(np.column_stack([mass, *usable.values()])).all(axis=1)
    keep = good & finite
    dropped = {
        "m_jj not positive": int((~good).sum()),
        "a feature not finite": int((good & ~finite).sum()),
    }
    if not keep.any():
        raise InputDataError(f"None of the {table.n_events} events is usable: {dropped}.")
    features = [values[keep] for values in usable.values()]
    view = View(
        event_id=np.flatnonzero(keep).astype(np.uint64),
        mass=mass[keep],
        features=np.column_stack(features) if features else np.empty((int(keep.sum()), 0)),
        feature_names=tuple(usable),
    )
    mended = {
        f"column {name} left out, no number in it": table.n_events
        for name in table.columns
        if name not in (MASS, EVENT_ID) and name not in usable
    }
    dropped = {name: count for name, count in dropped.items() if count}
    return view, DropReport(n_read=table.n_events, n_kept=len(view), dropped=dropped, mended=mended)
