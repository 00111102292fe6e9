"""Events whose masses say nothing: for code that is still being written under staged blinding."""

from __future__ import annotations

import numpy as np

from bumpscout_tools.background import select_order
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.execute import Prepared
from bumpscout_tools.scan.null import cumulative_spectrum
from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["with_smooth_masses"]


def with_smooth_masses(plan: SearchPlan, prepared: Prepared, rng: np.random.Generator) -> View:
    """Return the events with masses drawn from a smooth fit of their spectrum.

    Features keep their distribution but know nothing of the new masses, so code that runs on these
    events finds its errors and no bump. Copies of one event get the same mass.

    Args:
        plan: the search plan, for its background family.
        prepared: layout and view.
        rng: draws the masses.

    Raises:
        FitError: if the spectrum cannot be fitted.
    """
    layout, view = prepared.layout, prepared.view
    counts = layout.histogram(view.mass)
    fitted = select_order(counts, layout.basis, plan.background.orders, plan.background.alpha).fit
    masses, cumulative = cumulative_spectrum(layout.basis, fitted.coefficients)
    unique, original = np.unique(view.event_id, return_inverse=True)
    drawn = np.interp(rng.random(len(unique)), cumulative, masses)
    return View(view.event_id, drawn[original], view.features, view.feature_names)
