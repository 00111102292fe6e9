"""Guards: when the scores of a detector must not be used for a bump hunt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import rankdata

from bumpscout_tools.detectors.guards_explained import (
    explained_variance,
    explaining_features,
    predict,
    regression,
)
from bumpscout_tools.detectors.guards_mass import (
    mass_classifier,
    sculpting,
    sideband_correlation,
)
from bumpscout_tools.detectors.guards_report import GuardReport
from bumpscout_tools.events.view import View

__all__ = [
    "GuardReport",
    "feature_consistency",
    "guard_score",
    "local_lift",
    "mass_dependence",
    "selection_consistency",
    "selection_symmetry",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MASS_BIN_EVENTS = 50
MAX_MASS_R2 = 0.05
MIN_FEATURE_R2 = 0.2
MIN_R2_RATIO = 0.5
MIN_SHARE = 0.6
MAX_ASYMMETRY = 3.5
MAX_LIFT = 4.0
MIN_REST_EVENTS = 50


def guard_score(
    score: FloatArray,
    view: View,
    window_gev: tuple[float, float],
    interval_gev: tuple[float, float],
    efficiency: float,
    n_expected: float,
) -> tuple[GuardReport, ...]:
    """Run all guards on the score behind one bump.

    Where the features follow the mass, what explains the score may be their places among events of
    the same mass instead (`guards_explained`).

    Args:
        score: (n,) higher is more anomalous.
        view: the n events.
        window_gev: the signal window; side bands of its own width are used beside it.
        interval_gev: where the bump is, inside the window.
        efficiency: fraction of the events that the working point keeps.
        n_expected: events that the background fit expects in the interval.
    """
    low, high = window_gev
    near = (view.mass >= low * low / high) & (view.mass < high * high / low)
    inside = (view.mass >= low) & (view.mass < high)
    side = near & ~inside
    bump = (view.mass >= interval_gev[0]) & (view.mass < interval_gev[1])
    rank = rankdata(score[near]) / near.sum()
    features = explaining_features(rank, view.features, view.mass, near, inside)
    selected, again = _selections(score, features, inside, efficiency)
    return (
        mass_dependence(rank, view.mass[near]),
        feature_consistency(rank, features[near], inside[near]),
        selection_consistency(selected, again, bump, n_expected),
        selection_symmetry(selected, again, inside, bump),
        local_lift(score, features, near, inside, bump),
        sideband_correlation(score[side], view.mass[side]),
        mass_classifier(rankdata(score[side]), view.mass[side], window_gev),
        sculpting(selected, view.mass, inside),
    )


def mass_dependence(rank: FloatArray, mass: FloatArray) -> GuardReport:
    """Ask how much of the score is a function of the mass.

    The fraction of the variance of the rank that is explained by its mean in fine bins of the mass
    (50 events each), corrected for the number of bins (adjusted R^2). A score that is a function of
    the mass has 1, a score that ignores it 0.

    Args:
        rank: (n,) ranks of the score.
        mass: (n,) GeV.
    """
    n_bins = max(2, len(mass) // MASS_BIN_EVENTS)
    ordered = rank[np.argsort(mass, kind="stable")]
    within = sum(
        float(((part - part.mean()) ** 2).sum()) for part in np.array_split(ordered, n_bins)
    )
    total = float(((rank - rank.mean()) ** 2).sum())
    value = 1.0
    if total > 0:
        value = 1.0 - (within / (len(rank) - n_bins)) / (total / (len(rank) - 1))
    share = max(value, 0.0)
    return GuardReport(
        name="mass dependence",
        fired=value > MAX_MASS_R2,
        value=value,
        threshold=MAX_MASS_R2,
        message=f"the mass alone explains {share:.1%} of the variance of the score's rank",
    )


def feature_consistency(rank: FloatArray, features: FloatArray, inside: BoolArray) -> GuardReport:
    """Ask whether the score is the same function of the features inside and outside the window.

    Boosted trees learn the rank from the features in the side bands and predict it inside the
    window. A detector that looks at features alone is predicted about as well there as in held-out
    side bands; a score made from the mass or from the identity of events is not.

    Args:
        rank: (n,) ranks of the score.
        features: (n, k) inputs of the detector.
        inside: (n,) True in the signal window.
    """
    outside = np.flatnonzero(~inside)
    train, held_out = outside[::2], outside[1::2]
    booster = regression(features[train], rank[train], trees=40, learning_rate=0.2)
    r2_out = explained_variance(rank[held_out], predict(booster, features[held_out]))
    r2_in = explained_variance(rank[inside], predict(booster, features[inside]))
    ratio = r2_in / r2_out if r2_out > 0 else 0.0
    fired = r2_out < MIN_FEATURE_R2 or ratio < MIN_R2_RATIO
    return GuardReport(
        name="feature consistency",
        fired=bool(fired),
        value=ratio,
        threshold=MIN_R2_RATIO,
        message=(
            f"what the features explain of the score's rank outside the window ({r2_out:.0%}) "
            f"holds inside it by a factor {ratio:.2f}"
        ),
    )


def selection_consistency(
    selected: BoolArray, again: BoolArray, bump: BoolArray, n_expected: float
) -> GuardReport:
    """Ask whether the features alone select the events of the bump.

    A selection learned from the features of the events outside the window finds about the same
    bump inside it if the score is a function of the features: a list of events, or a score that is
    lifted in a mass range, loses most of it. The value is the fraction of the excess that remains.

    Args:
        selected: (n,) True for the events that the working point keeps.
        again: (n,) True for those that the learned selection keeps.
        bump: (n,) True in the interval of the bump.
        n_expected: events that the background fit expects in the interval.
    """
    found = int((selected & bump).sum())
    if found - n_expected < 2.0 * np.sqrt(n_expected + 1.0):
        return GuardReport(
            name="selection consistency",
            fired=False,
            value=None,
            threshold=MIN_SHARE,
            message="there is no excess whose events could be selected again",
        )
    share = (int((again & bump).sum()) - n_expected) / (found - n_expected)
    return GuardReport(
        name="selection consistency",
        fired=share < MIN_SHARE,
        value=share,
        threshold=MIN_SHARE,
        message=(
            "a selection learned from the features outside the window finds "
            f"{share:.0%} of the excess inside it"
        ),
    )


def selection_symmetry(
    selected: BoolArray, again: BoolArray, inside: BoolArray, bump: BoolArray
) -> GuardReport:
    """Ask whether the bump holds events that the features do not explain.

    The score's selection and the one learned from the features outside the window differ in some
    events. If the score treats the bump like all other masses, events are swapped both ways there
    as in the rest of the window, where detectors that were trained on this window swap them as
    unevenly. With d = n10 - n01, the events kept by the score alone less those kept by the learned
    selection alone, and r the ratio of learned events in bump and rest, the value is
    (d_bump - r d_rest) / sqrt(n_bump + r^2 n_rest), n = n10 + n01: McNemar's statistic
    (Psychometrika 12 (1947) 153) of the bump beyond the rest. Where it is larger, that of the bump
    alone (r = 0): what was added to the bump may reach into the rest. A list of events
    shows here although most of the excess is honest.

    Args:
        selected: (n,) True for the events that the working point keeps.
        again: (n,) True for those that the learned selection keeps.
        inside: (n,) True in the signal window.
        bump: (n,) True in the interval of the bump.
    """
    rest = inside & ~bump
    ratio = (again & bump).sum() / (again & rest).sum() if (again & rest).any() else 0.0
    alone, missed = selected & ~again, again & ~selected
    gained = (alone & bump).sum() - (missed & bump).sum()
    gained_rest = (alone & rest).sum() - (missed & rest).sum()
    swapped, swapped_rest = ((selected != again) & part for part in (bump, rest))
    spread = np.sqrt(swapped.sum() + ratio**2 * swapped_rest.sum() + 1.0)
    beyond_rest = (gained - ratio * gained_rest) / spread
    value = float(max(beyond_rest, gained / np.sqrt(swapped.sum() + 1.0)))
    return GuardReport(
        name="selection symmetry",
        fired=value > MAX_ASYMMETRY,
        value=value,
        threshold=MAX_ASYMMETRY,
        message=(
            f"{(alone & bump).sum()} events of the bump are kept by the score alone and "
            f"{(missed & bump).sum()} by the features alone, {value:.1f} standard deviations more "
            "than chance or the rest of the window swaps"
        ),
    )


def local_lift(
    score: FloatArray, features: FloatArray, near: BoolArray, inside: BoolArray, bump: BoolArray
) -> GuardReport:
    """Ask whether the whole score is higher in the bump than its features say.

    Trees learn the score (as normal quantiles of its rank) from the features outside the window,
    cross-fitted in two halves. What they leave has the same mean in the bump and in the rest of the
    window if the score is one function of the features for all of it; the value is the difference
    in standard errors. Where the bump fills the window, it is compared with the bands beside it:
    there a detector that was trained on this window lies lower, never higher.

    Args:
        score: (n,) higher is more anomalous.
        features: (n, k) inputs of the detector.
        near: (n,) True in the window and in a band of its width on either side.
        inside: (n,) True in the signal window.
        bump: (n,) True in the interval of the bump.
    """
    quantile = ndtri((rankdata(score) - 0.5) / len(score))
    rows, left = np.flatnonzero(near), np.empty(len(score))
    half = np.arange(len(score)) % 2 == 0
    for train, test in ((half, ~half), (~half, half)):
        booster = regression(
            features[train & ~inside], quantile[train & ~inside], trees=150, learning_rate=0.1
        )
        scored = rows[test[rows]]
        left[scored] = quantile[scored] - predict(booster, features[scored])
    rest = inside & ~bump
    if rest.sum() < MIN_REST_EVENTS:
        rest = near & ~inside
    value = _difference(left[bump], left[rest])
    return GuardReport(
        name="local lift",
        fired=value > MAX_LIFT,
        value=value,
        threshold=MAX_LIFT,
        message=(
            f"beyond what the features say, the score is higher in the bump by {value:.1f} "
            "standard errors"
        ),
    )


def _difference(one: FloatArray, other: FloatArray) -> float:
    """Return the difference of two means in standard errors; 0 where there are too few values."""
    if min(len(one), len(other)) < 2:
        return 0.0
    error = np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))
    return float((one.mean() - other.mean()) / error) if error > 0 else 0.0


def _selections(
    score: FloatArray, features: FloatArray, inside: BoolArray, efficiency: float
) -> tuple[BoolArray, BoolArray]:
    """Return what the score selects, and what trees select that learned it outside the window.

    They learn the tail of the score from the features of all events outside, cross-fitted in two
    halves, and keep as many events there as the score does.
    """
    rank = (rankdata(score, method="ordinal") - 0.5) / len(score)
    selected = rank > 1.0 - efficiency
    tail = -np.log1p(-rank)
    half = np.arange(len(score)) % 2 == 0
    learned = np.empty(len(score))
    for train, test in ((half, ~half), (~half, half)):
        rows = train & ~inside
        booster = regression(features[rows], tail[rows], trees=80, learning_rate=0.1)
        learned[test] = predict(booster, features[test])
    n_outside = int((selected & ~inside).sum())
    threshold = np.sort(learned[~inside])[-n_outside] if n_outside else np.inf
    return selected, learned >= threshold
