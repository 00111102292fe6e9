"""What makes the most anomalous events of a bump different from typical ones of the same masses.

- `differences`: for each feature how far its mean is shifted, and how much of the score's
  difference it makes;
- `integrated_gradients`: attributions of a differentiable score;
- `tree_contributions`: exact Shapley values of boosted trees.

Attributions of an event add up to its score less the mean score of the baseline, so that the means
over selected less those over typical events share out the difference of the mean scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import lightgbm
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from bumpscout_tools.detectors.guards_explained import explained_variance, predict, regression
from bumpscout_tools.detectors.quantiles import normal_ranks

__all__ = [
    "Anomalous",
    "Difference",
    "Method",
    "differences",
    "integrated_gradients",
    "surrogate_contributions",
    "tree_contributions",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Method = Literal["integrated gradients", "tree contributions", "surrogate tree contributions"]

MAX_EVENTS = 1000
MASS_BINS = 6
STEPS = 24
BASELINES = 16
MIN_EVENTS = 20


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Difference(_Record):
    """One feature: its shift in standard deviations of typical events, its part of the score.

    `share` is the part of the difference between the mean scores of selected and typical events
    that is attributed to the feature; those of all features add up to 1.
    """

    feature: str
    shift: float
    shift_error: float = Field(ge=0)
    share: float | None = None
    share_error: float | None = Field(default=None, ge=0)


class Anomalous(_Record):
    """Events of the bump's window that pass its cut, against those that do not."""

    n_selected: int = Field(ge=0)
    n_typical: int = Field(ge=0)
    method: Method | None = Field(default=None, description="how the score was attributed")
    explained: float | None = Field(
        default=None,
        description="of surrogate trees: share of the variance of the score's normal rank that "
        "they explain in events they did not learn from",
    )
    features: tuple[Difference, ...] = Field(default=(), max_length=64)


def differences(
    names: Sequence[str],
    features: FloatArray,
    mass: FloatArray,
    selected: BoolArray,
    attributed: FloatArray | None = None,
) -> tuple[Difference, ...]:
    """Compare selected with other events, which are weighted to the masses of the selected.

    Shifts are (mean of selected - mean of typical) / (standard deviation of typical), with the
    error of both means.

    Args:
        names: of the k features.
        features: (n, k) of all events of a window.
        mass: (n,) GeV.
        selected: (n,) True for those that pass the cut.
        attributed: (n, k) attributions of the score, or None; rows of NaN were not attributed.
    """
    typical = ~selected
    weight = _mass_weights(mass, selected)
    found = []
    shares = None if attributed is None else _shares(attributed, selected, weight)
    for column, name in enumerate(names):
        values = features[:, column]
        mean, spread, error = _mean(values[typical], weight)
        own, own_spread, own_error = _mean(values[selected], np.ones(int(selected.sum())))
        scale = spread or own_spread or 1.0
        share = share_error = None
        if shares is not None:
            share, share_error = float(shares[0][column]), float(shares[1][column])
        found.append(
            Difference(
                feature=name,
                shift=(own - mean) / scale,
                shift_error=float(np.hypot(error, own_error)) / scale,
                share=share,
                share_error=share_error,
            )
        )
    return tuple(found)


def integrated_gradients(
    slopes: Callable[[FloatArray], FloatArray],
    features: FloatArray,
    baselines: FloatArray,
    steps: int = STEPS,
) -> FloatArray:
    """Attribute a differentiable score, averaged over baselines of background events.

    Integrated gradients (Sundararajan, Taly, Yan, ICML 2017), ``(x - b) int_0^1 grad f(b + a (x -
    b)) da``, by the midpoint rule, and their mean over baselines b (expected gradients, Erion et
    al., Nat. Mach. Intell. 3 (2021) 620). They add up to f(x) less the mean of f(b).

    Args:
        slopes: gradient (m, k) of the score at (m, k) features.
        features: (n, k) events to explain.
        baselines: (b, k) background events.
        steps: of the midpoint rule.

    Returns:
        (n, k) attributions.
    """
    total = np.zeros_like(features)
    for baseline in baselines:
        path = features - baseline
        slope = np.zeros_like(features)
        for step in range(steps):
            slope += slopes(baseline + (step + 0.5) / steps * path)
        total += path * slope / steps
    return total / len(baselines)


def tree_contributions(boosters: Sequence[lightgbm.Booster], features: FloatArray) -> FloatArray:
    """Return exact Shapley values (n, k) of the mean raw score of boosted trees (TreeSHAP).

    Lundberg et al., Nat. Mach. Intell. 2 (2020) 56, as LightGBM computes them; they add up to the
    score less its mean over the training events.

    Args:
        boosters: whose scores are averaged.
        features: (n, k) events to explain.
    """
    total = np.zeros_like(features)
    for booster in boosters:
        found = np.asarray(booster.predict(features, pred_contrib=True, num_threads=1))
        total += found[:, :-1]
    return total / len(boosters)


def surrogate_contributions(
    score: FloatArray, features: FloatArray, rows: npt.NDArray[np.int64]
) -> tuple[FloatArray, float]:
    """Attribute any score by trees that learn it from the features.

    They learn the normal rank of the score in two halves of the events, each explained by the trees
    of the other.

    Args:
        score: (n,) higher is more anomalous.
        features: (n, k) inputs of the detector.
        rows: (m,) events to explain.

    Returns:
        (m, k) attributions, and the share of the variance that the trees explain in the events
        that they did not learn from.
    """
    target = normal_ranks(score)
    half = np.arange(len(score)) % 2 == 0
    contributions = np.empty((len(rows), features.shape[1]))
    learned = np.empty(len(score))
    for train, test in ((half, ~half), (~half, half)):
        booster = regression(features[train], target[train], trees=100, learning_rate=0.1)
        learned[test] = predict(booster, features[test])
        mine = test[rows]
        if mine.any():
            contributions[mine] = tree_contributions([booster], features[rows[mine]])
    return contributions, explained_variance(target, learned)


def _mass_weights(mass: FloatArray, selected: BoolArray) -> FloatArray:
    """Return weights of the typical events that give them the masses of the selected."""
    typical = ~selected
    if not selected.any() or not typical.any():
        return np.ones(int(typical.sum()))
    edges = np.quantile(mass, np.linspace(0, 1, MASS_BINS + 1)[1:-1])
    place = np.digitize(mass, edges)
    wanted = np.bincount(place[selected], minlength=MASS_BINS)
    there = np.bincount(place[typical], minlength=MASS_BINS)
    return np.asarray((wanted / np.maximum(there, 1))[place[typical]], dtype=np.float64)


def _mean(values: FloatArray, weight: FloatArray) -> tuple[float, float, float]:
    """Return weighted mean, standard deviation, and the error of the mean."""
    if not weight.sum() > 0:
        return 0.0, 0.0, 0.0
    mean = float(np.average(values, weights=weight))
    spread = float(np.sqrt(np.average((values - mean) ** 2, weights=weight)))
    return mean, spread, spread * float(np.sqrt((weight**2).sum())) / float(weight.sum())


def _shares(
    attributed: FloatArray, selected: BoolArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Return each feature's share (k,) of the difference of the mean scores, and its error (k,)."""
    known: BoolArray = np.logical_and.reduce(np.isfinite(attributed), axis=1)
    own, other = attributed[selected & known], attributed[~selected & known]
    weight = weight[known[~selected]]
    if min(len(own), len(other)) < 2 or not weight.sum() > 0:
        return None
    gain = own.mean(axis=0) - np.average(other, axis=0, weights=weight)
    total = float(gain.sum())
    if total <= 0:
        return None
    variance = own.var(axis=0, ddof=1) / len(own) + other.var(axis=0, ddof=1) / len(other)
    return gain / total, np.sqrt(variance) / total
