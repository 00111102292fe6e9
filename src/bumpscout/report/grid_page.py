"""What a report says of a grid: its spectra, its plan, and how its leaders fare with each order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bumpscout.words import mass_tev
from bumpscout_tools.plots.grid import (
    HINT_Z,
    grid_course_figure,
    grid_map_figure,
    grid_overview_figure,
    grid_spectra_figure,
)
from bumpscout_tools.scan.outcome import Cell, ScanOutcome
from bumpscout_tools.scan.plan import SearchPlan

if TYPE_CHECKING:
    from bumpscout.report.figures import Planned

__all__ = ["GridRow", "grid_figures", "grid_plan", "grid_rows", "grid_tried"]

MAX_ROWS = 12
MAX_LINES = 12
DESCRIBES_FROM_P = 0.01


@dataclass(frozen=True)
class GridRow:
    """One leading spectrum in the table: its best cell, and local z with each order."""

    spectrum: str
    mass: str
    cut: str
    counts: str
    local: str
    null: str
    orders: str


def grid_figures(outcome: ScanOutcome) -> Iterator[Planned]:
    """Yield the figures of a grid: name, what it shows in words, and what draws it."""
    if not outcome.cells:
        return
    n_points = len({cell.efficiency for cell in outcome.cells})
    yield (
        "overview",
        f"Largest local significance of {len(outcome.grid)} spectra at {n_points} working points.",
        lambda theme: grid_overview_figure(outcome, theme=theme),
    )
    if outcome.spectra:
        shown = ", ".join(cell.spectrum for cell in leaders(outcome)[:6])
        yield (
            "spectra",
            f"The most significant spectra with their background fits: {shown}.",
            lambda theme: grid_spectra_figure(outcome, theme=theme),
        )
    found = outcome.grid_map
    if found is not None:
        yield (
            "heatmap",
            f"Local significance over mass and working point in {found.spectrum}.",
            lambda theme: grid_map_figure(outcome, found, theme=theme),
        )
    yield (
        "trials",
        f"The local p of {len(outcome.cells)} tests in the order they were made, and the smallest "
        "so far.",
        lambda theme: grid_course_figure(outcome, theme=theme),
    )


def leaders(outcome: ScanOutcome) -> list[Cell]:
    """Return the best cell of each spectrum that can be believed, the largest first."""
    first: dict[tuple[int, str], Cell] = {}
    for index in outcome.ranking:
        cell = outcome.cells[index]
        first.setdefault((cell.detector_index, cell.spectrum), cell)
    return list(first.values())


def grid_rows(outcome: ScanOutcome) -> tuple[GridRow, ...]:
    """Return the most significant spectra, each with its best cell."""
    return tuple(_row(outcome, cell) for cell in leaders(outcome)[:MAX_ROWS])


def _row(outcome: ScanOutcome, cell: Cell) -> GridRow:
    cut = f"{100 * cell.efficiency:.3g}%"
    if outcome.all_events_pb is not None:
        cut = f"{cell.efficiency * outcome.all_events_pb:.3g} pb"
    orders = [
        f"{one.local_z:.1f}" if one.fit_p >= DESCRIBES_FROM_P else f"({one.local_z:.1f})"
        for one in cell.hypotheses
    ]
    low, high = cell.interval_gev
    return GridRow(
        spectrum=cell.spectrum,
        mass=f"{mass_tev((low + high) / 2)} ({low:.0f} to {high:.0f} GeV)",
        cut=cut,
        counts=f"{cell.n_observed} / {cell.n_expected:.1f}",
        local=f"{cell.local_z:.1f} (p{cell.order})",
        null=f"{cell.null_mean:.1f} ± {cell.null_width:.1f}",
        orders=" / ".join(orders),
    )


def grid_tried(outcome: ScanOutcome) -> list[str]:
    """Return in words what was tested, what could not be, and why."""
    fitted = [one for one in outcome.grid if one.reason is None]
    hints = sum(cell.believable and cell.local_z >= HINT_Z for cell in outcome.cells)
    lines = [
        f"Final scan: {len(outcome.cells)} tests, each the most significant interval of a spectrum "
        f"at a cut; spectra: {len(fitted)}, cuts: {len({c.efficiency for c in outcome.cells})}.",
        f"{hints} of them have a local z of {HINT_Z:g} or more; neighbouring cuts and spectra "
        "share events, so they come in groups.",
    ]
    doubts = Counter(_kind(cell.reason) for cell in outcome.cells if not cell.believable)
    if doubts:
        lines.append(
            f"{doubts.total()} tests cannot be believed; they claim nothing, and count as tested: "
            + "; ".join(f"{count} because of {why}" for why, count in doubts.most_common(5))
            + "."
        )
    undescribed = [one.spectrum for one in fitted if not one.described]
    if undescribed:
        lines.append(
            "From no start of the fit described at their loosest cut: "
            f"{_listed(undescribed)}; their fits begin at the fullest bin."
        )
    left_out = [one for one in outcome.grid if one.reason is not None]
    lines += [f"{one.spectrum} was not scanned: {one.reason}." for one in left_out[:MAX_LINES]]
    if len(left_out) > MAX_LINES:
        rest = _listed([one.spectrum for one in left_out[MAX_LINES:]])
        lines.append(f"Not scanned for like reasons: {rest}.")
    return lines


def _kind(reason: str | None) -> str:
    """Return a reason without its own numbers, so that equal reasons are counted together."""
    words = (reason or "no reason given").split(";")[0]
    return re.sub(r"deviance .* at order .*", "a deviance of too small a probability", words).split(
        ": p ="
    )[0]


def _listed(names: list[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def grid_plan(plan: SearchPlan) -> list[tuple[str, str]]:
    """Return the plan of a grid as names and values."""
    points = plan.working_points
    orders = ", ".join(f"p{order}" for order in plan.background.orders)
    starts = ", ".join(sorted({one.start for one in plan.spectra}))
    widths = sorted({one.bin_log_width for one in plan.spectra if not one.edges_gev})
    bins = ", ".join(f"{100 * width:.3g}%" for width in widths)
    kinds = [f"{bins} of the mass"] if widths else []
    kinds += ["explicit edges"] if any(one.edges_gev for one in plan.spectra) else []
    asked = len(points.cross_sections_pb)
    return [
        ("Detectors", ", ".join(f"{d.name} ({', '.join(d.features)})" for d in plan.detectors)),
        ("Spectra", f"{len(plan.spectra)}: {_listed([one.name for one in plan.spectra], 100)}"),
        ("Bins", " and ".join(kinds)),
        ("Start of the fits", f"{starts}, on the loosest cut"),
        (
            "Working points",
            f"{len(points.efficiencies)}, from {100 * points.efficiencies[0]:.3g}% to "
            f"{100 * points.efficiencies[-1]:.3g}% of the events"
            + (f"; {asked} visible cross sections were asked for" if asked else ""),
        ),
        ("Bumps", f"{plan.bump_bins[0]} to {plan.bump_bins[1]} bins wide"),
        (
            "Background",
            f"dijet family {orders}, next order at p < {plan.background.alpha:g}; every test also "
            "with each of p2 to p6",
        ),
        ("Toys and replays", f"{plan.toys} toys, {plan.replays.n} replays at most"),
        ("Blinding", plan.blinding),
    ]
