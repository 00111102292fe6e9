"""Example events for the report: those that pass the cut of the best bump, and typical ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bumpscout.evidence import Examples

if TYPE_CHECKING:
    from bumpscout_sandbox.vault import Vault
    from bumpscout_tools.scan.outcome import ScanOutcome
    from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["example_rows", "find_examples"]

MAX_SHOWN = 1000
MAX_FEATURES = 64


def find_examples(
    plan: SearchPlan, outcome: ScanOutcome, vault: Vault, seed: int, cache: Path
) -> Examples | None:
    """Return events of the best bump's signal window, from the scores that the gate has kept.

    Args:
        plan: the final plan.
        outcome: its scan.
        vault: the opened file.
        seed: seed of the search.
        cache: folder in which the gate keeps accepted scripts and scores.

    Returns:
        Up to a thousand events of each kind, or None where no bump or no scores are at hand.
    """
    from bumpscout_sandbox.store import ScoreStore, content_key
    from bumpscout_tools.detectors.correlation import correlate
    from bumpscout_tools.detectors.explain_bump import explain_bump
    from bumpscout_tools.scan.execute import prepare
    from bumpscout_tools.scripts import render

    best = outcome.best()
    if best is None:
        return None
    index = best.detector_index
    prepared = prepare(plan, vault.searched(), np.random.default_rng(seed))
    view, task = prepared.view, prepared.tasks[index]
    store = ScoreStore(cache)
    script = store.accepted(plan.detectors[index])
    kept = {}
    for number, detector in enumerate(plan.detectors):
        text, own = store.accepted(detector), prepared.tasks[number]
        if text is not None:
            found = store.load_scores(content_key(text, view, own), len(view), own.windows_gev)
            if found is not None:
                kept[number] = found
    scores = kept.get(index)
    if script is None or scores is None:
        return None
    window = task.windows_gev.index(best.window_gev)
    order = np.argsort(-scores[:, window], kind="stable")
    selected = np.zeros(len(view), dtype=np.bool_)
    selected[order[: best.n_selected]] = True
    low, high = best.window_gev
    inside = (view.mass >= low) & (view.mass < high)
    names = plan.detectors[index].features[:MAX_FEATURES]
    vetted = script == render(plan.detectors[index])
    return Examples(
        differences=explain_bump(
            names,
            view,
            scores[:, window],
            selected,
            best.window_gev,
            detector=plan.detectors[index] if vetted else None,
            seed=task.seed,
        ),
        correlation=correlate(
            [plan.detectors[number].name for number in kept],
            [found[:, window] for found in kept.values()],
            plan.working_points.efficiencies,
            best.window_gev,
        )
        if len(kept) > 1
        else None,
        names=view.feature_names,
        typical=example_rows(view.features[inside & ~selected]),
        anomalous=example_rows(view.features[inside & selected]),
    )


def example_rows(features: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """Return the features of at most a thousand events, with five significant digits."""
    rounded = [[float(f"{value:.5g}") for value in row] for row in features[:MAX_SHOWN]]
    return tuple(tuple(row) for row in rounded)
