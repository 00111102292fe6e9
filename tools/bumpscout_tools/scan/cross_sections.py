"""Working points given as visible cross sections, turned into efficiencies of the fitted range.

A visible cross section is N_selected / luminosity, so the efficiency that belongs to it depends on
how many events lie in the fitted mass range, which only the data tell. It is fixed once, for the
data; replays use the same efficiencies.
"""

from __future__ import annotations

from typing import NamedTuple

from bumpscout_tools.scan.plan import SearchPlan, WorkingPointPlan

__all__ = ["FB_PER_PB", "MIN_SELECTED", "Resolved", "resolve_cross_sections"]

FB_PER_PB = 1000.0
MIN_SELECTED = 10
"""Fewest events that a working point may select."""


class Resolved(NamedTuple):
    """A plan whose working points are efficiencies, and what is to be said about them."""

    plan: SearchPlan
    understood: tuple[str, ...] = ()
    not_understood: tuple[str, ...] = ()


def resolve_cross_sections(plan: SearchPlan, n_events: int) -> Resolved:
    """Return the plan with the efficiencies that its visible cross sections mean.

    Cross sections of more than all events, or of fewer than `MIN_SELECTED`, are clipped; where all
    of them lie outside on one side, the default efficiencies are used.

    Args:
        plan: the search plan; without cross sections it comes back as it is.
        n_events: events in the fitted mass range.
    """
    asked = plan.working_points.cross_sections_pb
    if not asked or plan.luminosity_fb is None:
        return Resolved(plan)
    per_pb = FB_PER_PB * plan.luminosity_fb / n_events
    tightest = min(1.0, MIN_SELECTED / n_events)
    range_words = (
        f"at {plan.luminosity_fb:g}/fb all {n_events} events of the fitted mass range are "
        f"{1.0 / per_pb:.3g} pb"
    )
    exact = [value * per_pb for value in asked]
    if max(exact) < tightest or min(exact) > 1.0:
        words = ", ".join(f"{value:g} pb" for value in asked)
        default = WorkingPointPlan(refine_rounds=plan.working_points.refine_rounds)
        return Resolved(
            plan.model_copy(update={"working_points": default}),
            not_understood=(
                f"{words}: {range_words}, and {MIN_SELECTED} events {tightest / per_pb:.3g} pb; "
                "the cuts lie outside. The default cuts are used.",
            ),
        )
    clipped = tuple(
        f"{value:g} pb is more than all events: {range_words}; clipped to all events."
        if fraction > 1.0
        else f"{value:g} pb is fewer than {MIN_SELECTED} events; clipped to {MIN_SELECTED} events, "
        f"{tightest / per_pb:.3g} pb."
        for value, fraction in zip(asked, exact, strict=True)
        if not tightest <= fraction <= 1.0
    )
    values = {float(f"{min(1.0, max(tightest, value)):.4g}") for value in exact}
    efficiencies = tuple(sorted(values, reverse=True))
    points = plan.working_points.model_copy(update={"efficiencies": efficiencies})
    listed = ", ".join(f"{100 * value:.3g}%" for value in efficiencies)
    return Resolved(
        plan.model_copy(update={"working_points": points}),
        (f"Visible cross sections: {range_words}; the cuts keep {listed} of them.",),
        clipped,
    )
