"""Explains the selection of one bump: shifts of its events, and what their score is made of."""

from __future__ import annotations

from collections.abc import Sequence

import lightgbm
import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.boosting import BoostedEnsemble
from bumpscout_tools.detectors.explain import (
    BASELINES,
    MAX_EVENTS,
    MIN_EVENTS,
    Anomalous,
    Method,
    differences,
    integrated_gradients,
    surrogate_contributions,
    tree_contributions,
)
from bumpscout_tools.detectors.fixed import DetectorChoice
from bumpscout_tools.detectors.folds import fold_of, order_of
from bumpscout_tools.detectors.make import make_detector
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

__all__ = ["explain_bump"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

EXPLAINED_AGAIN = ("cwola", "autoencoder")
"""Detectors whose training is cheap enough to be repeated for the explanation."""


def explain_bump(
    names: Sequence[str],
    view: View,
    score: FloatArray,
    selected: BoolArray,
    window_gev: tuple[float, float],
    *,
    mass: FloatArray | None = None,
    detector: DetectorChoice | None = None,
    seed: int = 0,
) -> Anomalous:
    """Compare the selected events of a window with its others, and attribute their score.

    Of CWoLa's trees and the autoencoder one fold is trained again, and what its trees (exact
    Shapley values) or its network (integrated gradients with events of the window that were not
    selected as baselines) say of the events of that fold is given. Every other score is attributed
    by trees that learn it from the features, with the share that they explain.

    Args:
        names: of at most 64 features among those of the view.
        view: n events.
        score: (n,) higher is more anomalous.
        selected: (n,) True for those that pass the cut.
        window_gev: whose events are compared.
        mass: (n,) GeV where it is another than the view's; not finite outside the spectrum.
        detector: what made the score, where that was the vetted detector alone.
        seed: of the training.
    """
    mass = view.mass if mass is None else mass
    columns = [view.feature_names.index(name) for name in names]
    inside = np.flatnonzero((mass >= window_gev[0]) & (mass < window_gev[1]))
    chosen = selected[inside]
    features = np.ascontiguousarray(view.features[:, columns])
    n_selected = int(chosen.sum())
    n_typical = len(inside) - n_selected
    if min(n_selected, n_typical) < MIN_EVENTS:
        return Anomalous(n_selected=n_selected, n_typical=n_typical)
    found = None
    if (
        detector is not None
        and detector.name in EXPLAINED_AGAIN
        and tuple(detector.features) == tuple(names)
    ):
        found = _by_its_model(detector, view, inside, chosen, window_gev, seed)
    if found is None:
        rows = _some(inside, chosen)
        values, explained = surrogate_contributions(score, features, rows)
        method: Method = "surrogate tree contributions"
    else:
        (method, rows, values), explained = found, None
    attributed = np.full((len(inside), len(names)), np.nan)
    attributed[np.searchsorted(inside, rows)] = values
    return Anomalous(
        n_selected=n_selected,
        n_typical=n_typical,
        method=method,
        explained=explained,
        features=differences(names, features[inside], mass[inside], chosen, attributed),
    )


def _some(inside: IntArray, chosen: BoolArray) -> IntArray:
    """Return at most `MAX_EVENTS` rows of each kind, in rising order."""
    kinds = (inside[chosen], inside[~chosen])
    return np.sort(np.concatenate([rows[:: max(1, -(-len(rows) // MAX_EVENTS))] for rows in kinds]))


def _by_its_model(
    choice: DetectorChoice,
    view: View,
    inside: IntArray,
    chosen: BoolArray,
    window_gev: tuple[float, float],
    seed: int,
) -> tuple[Method, IntArray, FloatArray] | None:
    """Train one fold again and attribute its events; None where that cannot be done."""
    detector = make_detector(choice.name, choice.settings.model_dump())
    order = order_of(view.event_id, view.mass)
    columns = [view.feature_names.index(name) for name in choice.features]
    inputs = np.ascontiguousarray(view.features[:, columns])
    fold = fold_of(view.event_id, detector.folds, seed)
    train = order[fold[order] != 0]
    rows = _some(inside[fold[inside] == 0], chosen[fold[inside] == 0])
    if not len(rows):
        return None
    window = window_gev if detector.uses_window else None
    try:
        fitted = detector.fit(inputs[train], view.mass[train], window, seed % 2**31)
    except DetectorError:
        return None
    boosters = _trees(fitted)
    if boosters:
        return "tree contributions", rows, tree_contributions(boosters, inputs[rows])
    slopes = getattr(fitted, "slopes", None)
    if slopes is None:
        return None
    typical = inside[~chosen]
    spread = np.linspace(0, len(typical) - 1, min(BASELINES, len(typical))).astype(np.int64)
    values = integrated_gradients(slopes, inputs[rows], inputs[typical[spread]])
    return "integrated gradients", rows, values


def _trees(fitted: object) -> list[lightgbm.Booster]:
    """Return the boosters of a fitted detector whose score is their mean alone."""
    classifier = getattr(fitted, "classifier", getattr(fitted, "ensemble", None))
    ensembles = getattr(classifier, "ensembles", (classifier,))
    if len(ensembles) == 1 and isinstance(ensembles[0], BoostedEnsemble):
        return list(ensembles[0].boosters)
    return []
