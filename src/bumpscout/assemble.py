"""From the records of agents and gate to ``result.json`` and ``evidence.json``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bumpscout.evidence import CardSummary, Drop, Evidence, Examples
from bumpscout.result import (
    Bump,
    Dataset,
    Measured,
    PlanSummary,
    TaskSummary,
    WorkingPoint,
)
from bumpscout_sandbox.blinding import EXPLORED_SHARE

if TYPE_CHECKING:
    from bumpscout_agents.records import TaskRecord
    from bumpscout_sandbox.card import DatasetCard
    from bumpscout_tools.scan.outcome import Cell, ScanOutcome
    from bumpscout_tools.scan.plan import SearchPlan
    from bumpscout_tools.scan.significance import FinalSignificance

__all__ = [
    "assemble_evidence",
    "bumps_of",
    "card_summary",
    "dataset_of",
    "plan_summary",
    "task_summaries",
]

STATISTIC = "Largest excess of the search, in null widths"
GRID_STATISTIC = "Largest local z of the whole grid"


def dataset_of(card: DatasetCard, outcome: ScanOutcome | None) -> Dataset:
    """Return the data set as ``result.json`` names it."""
    return Dataset(
        name=card.name,
        sha256=card.sha256,
        n_events=card.n_events,
        format=card.format,
        n_searched=_n_searched(outcome) if outcome else None,
        searched_gev=outcome.fit_range_gev if outcome else None,
    )


def _n_searched(outcome: ScanOutcome) -> int:
    """Return how many events the range of the fit holds; those scored, of several spectra."""
    scanned = [one.n_events for one in outcome.grid if one.reason is None]
    return scanned[0] if len(scanned) == 1 else outcome.n_events


def card_summary(card: DatasetCard) -> CardSummary:
    """Return what the report says about the file, drops and mended events included."""
    notes = ["The truth label, if the file has one, was never read by the search."]
    if card.n_duplicates:
        notes.append(f"{card.n_duplicates} events repeat another one; copies share a fold.")
    if card.blinding == "staged":
        notes.append(
            f"Staged blinding: exploration saw {100 * EXPLORED_SHARE:.0f}% of the events, scripts "
            "were written on masses drawn from a smooth fit, and only the other events, handed out "
            "once for the frozen and approved plan, enter the claim."
        )
    return CardSummary(
        format=card.format,
        n_events=card.n_events,
        n_used=card.n_usable,
        drops=(
            *(Drop(reason=f"left out: {why}", n_events=n) for why, n in card.dropped.items()),
            *(Drop(reason=f"mended: {why}", n_events=n) for why, n in card.mended.items()),
        ),
        columns=tuple(column.name for column in card.columns),
        notes=tuple(notes),
    )


def plan_summary(plan: SearchPlan) -> PlanSummary:
    """Return the plan in short."""
    orders = ", ".join(f"p{order}" for order in plan.background.orders)
    return PlanSummary(
        sha256=plan.sha256(),
        detectors=tuple(detector.name for detector in plan.detectors),
        spectra=tuple(one.name for one in plan.spectra) or (plan.spectrum.name,),
        working_points=plan.working_points.efficiencies,
        background=f"dijet {orders}, order by likelihood ratio at {plan.background.alpha:g}",
        blinding=plan.blinding,
    )


def task_summaries(tasks: Iterable[TaskRecord]) -> tuple[TaskSummary, ...]:
    """Return the tasks, failed ones included."""
    return tuple(
        TaskSummary(
            id=task.id,
            role=f"{task.role}: {task.detector}",
            status=task.status,
            attempts=task.attempts,
            error=task.error,
            script_sha256=task.script_sha256,
        )
        for task in tasks
    )


def bumps_of(
    plan: SearchPlan, outcome: ScanOutcome, significance: FinalSignificance | None
) -> tuple[Bump, ...]:
    """Return the largest excesses whose mass intervals do not overlap, the largest first.

    Global p-values belong to the maximum of the search, so only the first bump carries them.

    Args:
        plan: the plan that was carried out.
        outcome: its cells.
        significance: scan p and procedure p, or None where the search ended before.
    """
    return tuple(
        _bump(plan, outcome, cell, significance, first=rank == 0)
        for rank, cell in enumerate(outcome.leading())
    )


def _bump(
    plan: SearchPlan,
    outcome: ScanOutcome,
    cell: Cell,
    significance: FinalSignificance | None,
    *,
    first: bool,
) -> Bump:
    visible = excess = None
    if significance is not None:
        calibration = significance.calibration
        value = calibration.standardise(cell.detector_index, cell.efficiency, cell.excess)
        excess = float(value)
    if plan.luminosity_fb is not None:
        # A window's cut selects in its own fit range; a grid's cut in all events at once.
        n = cell.efficiency * outcome.n_events if plan.spectra else cell.n_selected
        visible = n / (1000 * plan.luminosity_fb * outcome.luminosity_share)
    return Bump(
        result_id=cell.test_id,
        detector=cell.detector,
        spectrum=cell.spectrum,
        working_point=WorkingPoint(efficiency=cell.efficiency, cross_section_pb=visible),
        mass_gev=sum(cell.interval_gev) / 2,
        interval_gev=cell.interval_gev,
        n_observed=cell.n_observed,
        n_expected=cell.n_expected,
        n_signal=Measured(
            value=cell.n_observed - cell.n_expected, error=float(cell.n_observed) ** 0.5
        ),
        local_p=cell.local_p,
        local_z=cell.local_z,
        excess=excess,
        guards=outcome.guards.get(cell.test_id, ()),
        variants=outcome.variants.get(cell.test_id, ()),
        scan_p=significance.scan_p if significance and first else None,
        procedure_p=significance.procedure_p if significance and first else None,
    )


def assemble_evidence(
    card: DatasetCard,
    outcome: ScanOutcome | None,
    significance: FinalSignificance | None,
    examples: Examples | None,
) -> Evidence:
    """Return what the report draws."""
    return Evidence(
        card=card_summary(card),
        outcome=outcome,
        statistic=GRID_STATISTIC if outcome and outcome.grid else STATISTIC,
        observed_statistic=significance.observed if significance else None,
        replay_statistics=significance.replayed if significance else (),
        calibration=_calibration_lines(outcome, significance),
        examples=examples,
    )


def _calibration_lines(
    outcome: ScanOutcome | None, significance: FinalSignificance | None
) -> tuple[str, ...]:
    if significance is None:
        return ()
    if outcome is not None and outcome.grid:
        return (
            "Each toy draws the events anew on the fitted spectra; an event that lies in several "
            "spectra, or passes several cuts, does so in the toys as well.",
            "The statistic is the largest local z of all spectra and cuts; null mean and width "
            "of each test come from the same toys.",
        )
    return tuple(_calibration(significance))


def _calibration(significance: FinalSignificance) -> list[str]:
    lines: list[str] = []
    null = significance.null
    if null is not None:
        low, high = null.masked_gev
        closure = null.closure
        lines += [
            f"The null generator was fitted to these data with {low:.0f} to {high:.0f} GeV masked: "
            f"a p{null.order} spectrum of {null.expected_events:.0f} events (goodness of fit "
            f"p = {null.fit_p:.2g}) and the density of the features at each mass.",
            f"A classifier tells its events from real ones with an area under the curve of "
            f"{closure.auc:.3f} ± {closure.auc_error:.3f} (0.5 is perfect), "
            f"{closure.auc_top:.3f} ± {closure.auc_top_error:.3f} among the rarest 1%.",
        ]
    calibration = significance.calibration
    if calibration.n_replays:
        lines.append(
            "Each excess is measured from the median of the excess that "
            f"{calibration.n_replays} null replays, with the detector trained anew, show at the "
            "same cut, in units of its width there."
        )
    else:
        lines.append(
            "Scores held fixed: too few replays were run to know how the detector's own training "
            "fluctuates, so nothing is claimed."
        )
    return lines
