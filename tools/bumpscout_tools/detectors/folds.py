"""Folds by a hash of the original event, and ranks within folds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

__all__ = ["fold_of", "order_of", "rank_within_folds", "set_aside"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def fold_of(event_id: npt.NDArray[np.uint64], folds: int, seed: int) -> IntArray:
    """Assign each event to a fold; copies of one event always share theirs.

    The identifier is mixed with the seed by the finaliser of splitmix64 (Steele et al., OOPSLA
    2014), so consecutive identifiers spread evenly.

    Args:
        event_id: (n,) identifier of the original event.
        folds: number of folds.
        seed: another seed gives another assignment.

    Returns:
        (n,) fold number in 0..folds-1.
    """
    return (_mixed(event_id, seed) % np.uint64(folds)).astype(np.int64)


def set_aside(event_id: npt.NDArray[np.uint64], share: float, seed: int) -> BoolArray:
    """Choose a share of the events by a hash of the original event; copies go together.

    Args:
        event_id: (n,) identifier of the original event.
        share: of the events to choose, in (0, 1).
        seed: another seed gives another choice.

    Returns:
        (n,) True for the chosen events.
    """
    return (_mixed(event_id, seed) >> np.uint64(11)) < np.uint64(int(share * 2**53))


def order_of(event_id: npt.NDArray[np.uint64], mass: FloatArray) -> IntArray:
    """Return the rows (n,) in an order that does not depend on that of the file."""
    return np.lexsort((mass, event_id))


def _mixed(event_id: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    offset = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    z = event_id.astype(np.uint64) + offset
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def rank_within_folds(score: FloatArray, fold: IntArray) -> FloatArray:
    """Replace scores by their rank fraction among the events of the same fold.

    Models of different folds have different score scales; ranks have one. Ties share their mean.

    Args:
        score: (n,) raw scores, higher is more anomalous.
        fold: (n,) fold number of each event.

    Returns:
        (n,) ranks in (0, 1), the most anomalous event of each fold nearest to 1.
    """
    ranks = np.empty_like(score)
    for number in np.unique(fold):
        rows = fold == number
        ranks[rows] = (rankdata(score[rows]) - 0.5) / rows.sum()
    return ranks
