"""The events of a grid: bins of every spectrum, the cuts that each event passes, working points.

A *column* is one spectrum with the score of one detector. Its bins begin a little below its fullest
bin, so that toys can choose the start of the fit as the data did; everything lies on grids that no
event decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.fixed import FixedScores, fixed_scores
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.events.spectra import ALL_EVENTS, SpectraTable
from bumpscout_tools.events.view import MASS, View
from bumpscout_tools.inference import EventToys, levels_by_rank
from bumpscout_tools.inference.grid import EVENTS_PER_PARAMETER, MIN_EVENTS
from bumpscout_tools.scan.cross_sections import FB_PER_PB, Resolved
from bumpscout_tools.scan.grid_plan import MIN_BINS, GridSpectrumPlan
from bumpscout_tools.scan.layout import GRID_ORIGIN_GEV
from bumpscout_tools.scan.plan import SearchPlan

__all__ = [
    "Grid",
    "GridColumn",
    "GridEvents",
    "LeftOut",
    "grid_events",
    "grid_scores",
    "make_grid",
    "resolve_grid",
    "spectrum_mass",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MODE_MARGIN_BINS = 5
"""Bins kept below the fullest one: in toys the fullest bin may be another."""
MAX_OF_SQRT_S = 0.98


@dataclass(frozen=True)
class GridEvents:
    """The events that a grid scans.

    Attributes:
        view: n events; those that a detector learned from are gone.
        scores: of each detector (n,), higher is more anomalous.
        share: share of the luminosity of the file that they stand for.
    """

    view: View
    scores: tuple[FloatArray, ...]
    share: float


@dataclass(frozen=True)
class GridColumn:
    """One spectrum with one detector's score; `edges` (b + 1,) GeV of its bins."""

    detector: int
    spectrum: GridSpectrumPlan
    edges: FloatArray


@dataclass(frozen=True)
class LeftOut:
    """A spectrum that cannot be scanned, and why."""

    detector: int
    spectrum: str
    n_events: int
    reason: str


@dataclass(frozen=True)
class Grid:
    """The columns of a grid with the cells of its events.

    Attributes:
        columns: in the order of detectors and spectra.
        left_out: spectra that cannot be scanned.
        efficiencies: falling; `n_selected` events pass each.
        n_selected: events.
        n_events: all that were scored.
        cells: of the events, in the bins of the columns.
    """

    columns: tuple[GridColumn, ...]
    left_out: tuple[LeftOut, ...]
    efficiencies: tuple[float, ...]
    n_selected: tuple[int, ...]
    n_events: int
    cells: EventToys


def grid_scores(
    plan: SearchPlan, view: View, seed: int, n_jobs: int = 1
) -> tuple[FixedScores, ...]:
    """Score the events with each detector of a plan.

    Raises:
        ConfigurationError: if the data lack a score column, mass or category of the plan.
        DetectorError: if a training fails.
    """
    wanted = list(dict.fromkeys(name for d in plan.detectors for name in d.features))
    unknown = [name for name in wanted if name not in view.feature_names]
    if unknown:
        raise ConfigurationError(
            f"The plan asks for columns {unknown}; the data offer {list(view.feature_names)}."
        )
    nothing = view.select(np.zeros(len(view), dtype=np.bool_))
    for spectrum in plan.spectra:
        spectrum_mass(nothing, spectrum)
    return tuple(fixed_scores(detector, view, seed, n_jobs) for detector in plan.detectors)


def grid_events(view: View, found: Sequence[FixedScores]) -> GridEvents:
    """Return the events to be scanned: those that no detector learned from.

    Raises:
        InputDataError: if none is left.
    """
    scanned = ~np.logical_or.reduce([one.trained_on for one in found])
    if not scanned.any():
        raise InputDataError(
            "The detectors learned from every event; none is left to scan. Lower `train_share`."
        )
    scores = tuple(one.score[scanned] for one in found)
    thinned = np.logical_or.reduce([one.thinned for one in found])
    return GridEvents(view.select(scanned), scores, float(1.0 - thinned.mean()))


def spectrum_mass(view: View, spectrum: GridSpectrumPlan) -> FloatArray:
    """Return (n,) GeV of a spectrum, NaN for events that are not in it.

    The mass `m_jj` is the view's own where its further spectra have none of this name.

    Raises:
        ConfigurationError: if the data offer no such mass or category.
    """
    spectra = view.spectra
    if spectra is not None and not (spectrum.mass == MASS and MASS not in spectra.mass_names):
        return spectra.mass(spectrum.mass, spectrum.category)
    if spectrum.mass == MASS and spectrum.category == ALL_EVENTS:
        return view.mass
    if spectra is not None:
        own = SpectraTable(view.mass[:, None], (MASS,), spectra.categories, spectra.category_names)
        return own.mass(MASS, spectrum.category)
    raise ConfigurationError(
        f"The data offer the mass {MASS} of all events alone; the plan asks for {spectrum.name}. "
        f"Give a file of particles, or a plan of {MASS}."
    )


def resolve_grid(plan: SearchPlan, events: GridEvents) -> Resolved:
    """Return the plan with working points as efficiencies that select at least 20 of the events.

    A visible cross section selects as many events as it gives in the luminosity of the scanned
    events. Cross sections of more than all events are one working point, that of all events.

    Raises:
        ConfigurationError: if no working point is left.
    """
    n, points = len(events.view), plan.working_points
    understood: list[str] = []
    if points.cross_sections_pb and plan.luminosity_fb is not None:
        per_pb = FB_PER_PB * plan.luminosity_fb * events.share
        numbers = [value * per_pb for value in points.cross_sections_pb]
        understood.append(
            f"Visible cross sections: all {n} scanned events are {n / per_pb:.3g} pb, and "
            f"{MIN_EVENTS} events {MIN_EVENTS / per_pb:.3g} pb."
        )
    else:
        numbers = [value * n for value in points.efficiencies]
    kept = sorted({min(n, round(value)) for value in numbers if round(value) >= MIN_EVENTS})
    if not kept:
        raise ConfigurationError(
            f"Every working point of the plan selects fewer than {MIN_EVENTS} of the {n} scanned "
            "events: loosen working_points."
        )
    few = sum(round(value) < MIN_EVENTS for value in numbers)
    many = sum(value > n for value in numbers)
    words = []
    if few:
        words.append(f"{few} working points select fewer than {MIN_EVENTS} events: left out")
    if many:
        words.append(f"{many} working points select more than all {n} events: all events, once")
    efficiencies = tuple(float(f"{value / n:.9g}") for value in reversed(kept))
    resolved = plan.model_copy(
        update={"working_points": points.model_copy(update={"efficiencies": efficiencies})}
    )
    return Resolved(resolved, tuple(understood), tuple(f"{word}." for word in words))


def make_grid(plan: SearchPlan, events: GridEvents) -> Grid:
    """Put the events into the bins of every spectrum and the slices between working points.

    Args:
        plan: of a grid, its working points as efficiencies.
        events: scored.

    Raises:
        ConfigurationError: if the data offer no such mass or category.
        InputDataError: if no spectrum can be scanned; the message names each with its reason.
    """
    n = len(events.view)
    efficiencies = plan.working_points.efficiencies
    n_selected = tuple(max(1, round(value * n)) for value in efficiencies)
    columns: list[GridColumn] = []
    left_out: list[LeftOut] = []
    bins: list[npt.NDArray[np.int16]] = []
    levels: list[npt.NDArray[np.int16]] = []
    for detector, score in enumerate(events.scores):
        level = levels_by_rank(score, n_selected).astype(np.int16)
        for spectrum in plan.spectra:
            mass = spectrum_mass(events.view, spectrum)
            found = _edges(plan, spectrum, mass[level >= 0])
            if isinstance(found, LeftOut):
                left_out.append(LeftOut(detector, found.spectrum, found.n_events, found.reason))
                continue
            columns.append(GridColumn(detector, spectrum, found))
            bins.append(_bins(mass, found))
            levels.append(level)
    if not columns:
        reasons = "; ".join(f"{one.spectrum}: {one.reason}" for one in left_out[:10])
        raise InputDataError(f"No spectrum of the plan can be scanned. {reasons}.")
    sizes = [len(column.edges) - 1 for column in columns]
    shared = len(events.scores) == 1
    cells = EventToys.from_events(
        np.stack(bins, axis=1),
        levels[0] if shared else np.stack(levels, axis=1),
        sizes,
        len(n_selected),
    )
    return Grid(tuple(columns), tuple(left_out), efficiencies, n_selected, n, cells)


def _edges(plan: SearchPlan, spectrum: GridSpectrumPlan, mass: FloatArray) -> FloatArray | LeftOut:
    """Return the edges of the bins of a spectrum, from the masses that pass the loosest cut."""

    def out(reason: str) -> LeftOut:
        return LeftOut(0, spectrum.name, len(mass), reason)

    sqrt_s = plan.background.sqrt_s_gev
    mass = mass[np.isfinite(mass)]
    if spectrum.edges_gev:
        edges = np.array(spectrum.edges_gev)
        if edges[-1] >= sqrt_s:
            raise ConfigurationError(
                f"{spectrum.name}: the last edge, {edges[-1]:g} GeV, is not below sqrt(s)."
            )
        mass = mass[(mass >= edges[0]) & (mass < edges[-1])]
    else:
        low, high = spectrum.min_gev or 0.0, spectrum.max_gev or np.inf
        mass = mass[(mass >= low) & (mass < min(high, MAX_OF_SQRT_S * sqrt_s))]
    needed = EVENTS_PER_PARAMETER * plan.background.orders[-1]
    if len(mass) < needed:
        return out(
            f"{len(mass)} events pass the loosest cut, a fit needs {needed}"
            if len(mass)
            else "no event passes the loosest cut"
        )
    if not spectrum.edges_gev:
        edges = _log_edges(spectrum, mass, sqrt_s)
    counts = np.histogram(mass, edges)[0]
    mode = int(np.argmax(counts / np.log(edges[1:] / edges[:-1])))
    first = 0 if spectrum.start == "first" else max(0, mode - MODE_MARGIN_BINS)
    if len(edges) - 1 - (0 if spectrum.start == "first" else mode) < MIN_BINS:
        return out(f"its bins above the fullest one are fewer than {MIN_BINS}")
    return edges[first:]


def _log_edges(spectrum: GridSpectrumPlan, mass: FloatArray, sqrt_s: float) -> FloatArray:
    width = spectrum.bin_log_width
    first, last = np.log(np.array([mass.min(), mass.max()]) / GRID_ORIGIN_GEV) / width
    low, high = int(np.floor(first + 1e-9)), int(np.floor(last + 1e-9)) + 1
    if spectrum.min_gev is not None:
        lowest = int(np.ceil(np.log(spectrum.min_gev / GRID_ORIGIN_GEV) / width - 1e-9))
        low = lowest if spectrum.start == "first" else max(low, lowest)
    high = min(high, int(np.ceil(np.log(sqrt_s / GRID_ORIGIN_GEV) / width)) - 1)
    if spectrum.max_gev is not None:
        high = min(high, int(np.floor(np.log(spectrum.max_gev / GRID_ORIGIN_GEV) / width + 1e-9)))
    edges: FloatArray = GRID_ORIGIN_GEV * np.exp(width * np.arange(low, max(high, low + 1) + 1))
    return edges


def _bins(mass: FloatArray, edges: FloatArray) -> npt.NDArray[np.int16]:
    found = np.searchsorted(edges, mass, side="right") - 1
    outside = (found >= len(edges) - 1) | ~np.isfinite(mass)
    return np.where(outside, -1, found).astype(np.int16)
