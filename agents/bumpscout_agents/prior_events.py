"""Plans as they are shown to a planner: without the events of signal priors."""

from __future__ import annotations

from collections.abc import Callable

from bumpscout_tools.detectors.settings import QuakSettings
from bumpscout_tools.detectors.settings_density import SignalPrior
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

__all__ = ["with_events", "without_events"]


def without_events(plan: SearchPlan) -> SearchPlan:
    """Return the plan with the names and hashes of its priors alone."""
    return _changed(plan, lambda prior: prior.model_copy(update={"rows": ""}))


def with_events(plan: SearchPlan, known: SearchPlan) -> SearchPlan:
    """Return a planner's plan with the events of the priors that an earlier plan had.

    Args:
        plan: what the planner replied.
        known: the plan before, with the events.

    Raises:
        ValueError: if the planner names a prior that the earlier plan does not have.
    """
    events = {
        (prior.sha256, prior.features): prior
        for detector in known.detectors
        if isinstance(detector.settings, QuakSettings)
        for prior in detector.settings.priors
    }

    def found(prior: SignalPrior) -> SignalPrior:
        if (prior.sha256, prior.features) not in events:
            raise ValueError(f"there is no prior {prior.name!r} of these features in the plan")
        return events[prior.sha256, prior.features]

    return _changed(plan, found)


def _changed(plan: SearchPlan, change: Callable[[SignalPrior], SignalPrior]) -> SearchPlan:
    def detector(one: DetectorPlan) -> DetectorPlan:
        if not isinstance(one.settings, QuakSettings):
            return one
        priors = tuple(change(prior) for prior in one.settings.priors)
        settings = one.settings.model_copy(update={"priors": priors})
        return one.model_copy(update={"settings": settings})

    return plan.model_copy(update={"detectors": tuple(detector(one) for one in plan.detectors)})
