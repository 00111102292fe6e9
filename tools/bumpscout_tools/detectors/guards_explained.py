"""What explains a score: the features, or their places among events of the same mass.

A detector that works in the latent space of the features given the mass (LaCATHODE) is no function
of the features alone: where they follow the mass, the same features mean something else at each
mass. Its score is a function of where each feature lies among events of the same mass. Guards that
learn a score outside a window and ask whether it holds inside take the explanation that is the
better one for events held out outside. Quantiles are polynomials of the mass that are
fitted outside the window too, so neither explanation knows anything of the masses inside: what was
done to the score there stays unexplained.
"""

from __future__ import annotations

import lightgbm
import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.quantiles import normal_given_mass, normal_ranks

__all__ = ["explained_variance", "explaining_features", "predict", "regression", "variance_outside"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MAX_FITTED = 8000
MIN_FITTED = 500
MIN_MASS_R2 = 0.002
DEGREE = 3
MAX_GIVEN = 60
"""Features, those that follow the mass most, that are taken given the mass; a third of a second
each."""


def explaining_features(
    rank: FloatArray, features: FloatArray, mass: FloatArray, near: BoolArray, inside: BoolArray
) -> FloatArray:
    """Return the features (n, k) as they are, or as normal scores given the mass.

    Args:
        rank: (m,) ranks of the score of the m events near the window.
        features: (n, k) inputs of the detector.
        mass: (n,) GeV.
        near: (n,) True for these m events.
        inside: (n,) True in the signal window.
    """
    given_mass = _given_mass(features, mass, ~inside)
    if given_mass is None:
        return features
    plain, other = (
        variance_outside(rank, inputs[near], inside[near]) for inputs in (features, given_mass)
    )
    return given_mass if other > plain else features


def variance_outside(rank: FloatArray, features: FloatArray, inside: BoolArray) -> float:
    """Return the share of the variance of ranks that features explain in held-out side bands."""
    outside = np.flatnonzero(~inside)
    train, held_out = outside[::2], outside[1::2]
    booster = regression(features[train], rank[train], trees=40, learning_rate=0.2)
    return explained_variance(rank[held_out], predict(booster, features[held_out]))


def _given_mass(features: FloatArray, mass: FloatArray, outside: BoolArray) -> FloatArray | None:
    """Return features as normal scores given the mass; None where none of them follows it."""
    rows = np.flatnonzero(outside)
    if len(rows) < MIN_FITTED:
        return None
    fitted_on = np.zeros(len(mass), dtype=np.bool_)
    fitted_on[rows[:: max(1, len(rows) // MAX_FITTED)]] = True
    follows = np.array([_follows(column, mass, rows) for column in features.T])
    least = MIN_MASS_R2 + DEGREE / len(rows)
    chosen = [i for i in np.argsort(-follows, kind="stable")[:MAX_GIVEN] if follows[i] > least]
    if not chosen:
        return None
    found = features.copy()
    for column in chosen:
        found[:, column] = normal_given_mass(features[:, column], mass, fitted_on, degree=DEGREE)
    return found


def _follows(values: FloatArray, mass: FloatArray, rows: npt.NDArray[np.int64]) -> float:
    """Return how much of the variance of place or width of the values the mass explains."""
    normal, log_mass = normal_ranks(values[rows]), np.log(mass[rows])
    span = float(np.ptp(log_mass))
    if span == 0.0:
        return 0.0
    basis = np.polynomial.legendre.legvander(2 * (log_mass - log_mass.min()) / span - 1, DEGREE)
    return max(
        explained_variance(target, basis @ np.linalg.lstsq(basis, target, rcond=None)[0])
        for target in (normal, np.abs(normal))
    )


def regression(
    features: FloatArray, target: FloatArray, *, trees: int, learning_rate: float
) -> lightgbm.Booster:
    """Train boosted trees on (n, k) features and an (n,) target, the same for the same events."""
    parameters = {
        "objective": "regression",
        "num_leaves": 31,
        "learning_rate": learning_rate,
        "min_data_in_leaf": 10,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(features, label=target, params={"verbosity": -1})
    return lightgbm.train(parameters, data, num_boost_round=trees)


def predict(booster: lightgbm.Booster, features: FloatArray) -> FloatArray:
    """Return what the trees predict, (n,)."""
    return np.asarray(booster.predict(features, num_threads=1), dtype=np.float64)


def explained_variance(true: FloatArray, predicted: FloatArray) -> float:
    """Return R^2 in [-1, 1]; 0 where nothing varies."""
    total = float(((true - true.mean()) ** 2).sum())
    return max(-1.0, 1.0 - float(((true - predicted) ** 2).sum()) / total) if total > 0 else 0.0
