"""Copies of events: the same event under several identifiers would choose itself across folds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

__all__ = ["refuse_copies"]

CHANCE_FACTOR, CHANCE_SIGMA = 1.5, 5.0


def refuse_copies(view: View, fold: npt.NDArray[np.int64]) -> None:
    """Refuse events that occur in more than one fold.

    Two rows are copies where mass and all features are equal to the last bit. Where values are
    rounded, that happens by chance: among pairs of equal mass as often as among all pairs, or as
    among those of neighbouring masses if features follow the mass. Half as many again, and five
    standard deviations more, are let pass; where nothing is rounded, not a single copy is.

    Args:
        view: n events.
        fold: (n,) fold of each; copies within a fold do no harm.

    Raises:
        DetectorError: if there are more copies than chance makes.
    """
    mass = _hash(view.mass[:, None])
    features = _hash(view.features)
    both = mass * np.uint64(0x9E3779B97F4A7C15) + features
    by_fold = both * np.uint64(0xD1342543DE82EF95) + fold.astype(np.uint64)
    across = _pairs(both) - _pairs(by_fold)
    if across == 0:
        return
    n = len(view)
    pairs = 0.5 * n * (n - 1)
    apart = 1.0 - _pairs(fold.astype(np.uint64)) / pairs
    anywhere = _pairs(features) / pairs
    chance = _pairs(mass) * max(anywhere, _equal_neighbours(view.mass, features)) * apart
    if across > CHANCE_FACTOR * chance + CHANCE_SIGMA * np.sqrt(chance):
        _, counts = np.unique(both, return_counts=True)
        repeated = int(counts[counts > 1].sum())
        raise DetectorError(
            f"{repeated} of {n} events have copies with the same mass and features under other "
            "event ids, in other folds: they would be scored by models that were trained on their "
            "copies, which makes fake bumps. Remove the copies from the file, or give copies one "
            "event id."
        )


def _equal_neighbours(mass: npt.NDArray[np.float64], keys: npt.NDArray[np.uint64]) -> float:
    """Return how often events of neighbouring but different masses have equal keys."""
    order = np.argsort(mass, kind="stable")
    lag = max(1, round(len(mass) / len(np.unique(mass))))
    other = mass[order][lag:] > mass[order][:-lag]
    equal = keys[order][lag:] == keys[order][:-lag]
    return float((equal & other).sum()) / max(1, int(other.sum()))


def _pairs(keys: npt.NDArray[np.uint64]) -> float:
    """Return the number of pairs of equal keys."""
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    counts = np.diff(np.append(starts, len(ordered))).astype(float)
    return float((counts * (counts - 1)).sum()) / 2.0


def _hash(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Hash each row of (n, k), 64 bits; 0.0 and -0.0 are equal."""
    bits = np.ascontiguousarray(columns + 0.0).view(np.uint64)
    state = np.zeros(len(columns), dtype=np.uint64)
    for column in bits.T:
        state = (state ^ column) * np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(29)
    return state
