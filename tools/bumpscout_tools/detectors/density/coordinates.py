"""Independent coordinates of a feature table: columns that follow exactly from others are left out.

A density in ``k`` columns does not exist where one is a sum of others, as in
``mj_heavy = mj_light + mj_delta``; and a generated event that broke the relation would be told from
a real one at a glance. Such columns are recomputed from the sampled ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Coordinates", "find_coordinates"]

FloatArray = npt.NDArray[np.float64]

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Coordinates:
    """A linear map from the sampled coordinates to the features.

    Attributes:
        columns: indices of the features that are sampled, ascending, (q,).
        matrix: (q, k); ``features = features[:, columns] @ matrix``, an identity on `columns`.
    """

    columns: npt.NDArray[np.int64]
    matrix: FloatArray

    def inner(self, features: FloatArray) -> FloatArray:
        """Return the sampled coordinates (n, q) of the features (n, k)."""
        return features[:, self.columns]

    def outer(self, inner: FloatArray) -> FloatArray:
        """Return the features (n, k) of the sampled coordinates (n, q)."""
        features = np.empty((len(inner), self.matrix.shape[1]))
        features[:, self.columns] = inner
        derived = np.setdiff1d(np.arange(features.shape[1]), self.columns)
        features[:, derived] = inner @ self.matrix[:, derived]
        return features


def find_coordinates(features: FloatArray) -> Coordinates:
    """Find the features that are exact linear combinations of others.

    Where several columns of a relation could be the derived one, a column that is a combination
    with no negative coefficient is taken, so that positive features stay positive.

    Args:
        features: (n, k), any units.
    """
    scale = np.maximum(features.std(axis=0), np.finfo(float).tiny)
    scaled = features / scale
    gram = scaled.T @ scaled / len(scaled)
    kept = list(range(features.shape[1]))
    recipes: dict[int, FloatArray] = {}
    while (found := _dependent(scaled, gram, kept)) is not None:
        column, weights = found
        kept.remove(column)
        recipes[column] = weights
    columns = np.array(kept, dtype=np.int64)
    matrix = np.zeros((len(kept), features.shape[1]))
    matrix[np.arange(len(kept)), columns] = 1.0
    # A column dropped early may be built on one dropped later: resolve in reverse order.
    for column in reversed(recipes):
        matrix[:, column] = matrix @ (recipes[column] * scale[column] / scale)
    return Coordinates(columns, matrix)


def _dependent(
    scaled: FloatArray, gram: FloatArray, kept: list[int]
) -> tuple[int, FloatArray] | None:
    """Return a column that follows from the others kept, and its weights (k,) in scaled units."""
    best: tuple[int, FloatArray] | None = None
    for column in kept:
        others = [other for other in kept if other != column]
        if not others:
            return None
        # Prescreen with the normal equations; they lose half the digits.
        block = gram[np.ix_(others, others)]
        weights = np.linalg.lstsq(block, gram[others, column], rcond=None)[0]
        residual = gram[column, column] - weights @ gram[others, column]
        if residual > 1e-8 * gram[column, column]:
            continue
        weights = np.linalg.lstsq(scaled[:, others], scaled[:, column], rcond=None)[0]
        if np.abs(scaled[:, others] @ weights - scaled[:, column]).max() > _TOLERANCE:
            continue
        weights[np.abs(weights) < _TOLERANCE] = 0.0
        full = np.zeros(scaled.shape[1])
        full[others] = weights
        if (weights >= 0).all():
            return column, full
        best = best or (column, full)
    return best
