"""The joint Gaussian field of many spectra and nested working points.

Scores of the same events are correlated: for scores a and b in any spectra and working points

    Cov = v_a^T Sigma_ab v_b

with v the projected score vectors (`field.score_vectors`, P and W in one) and Sigma_ab the matrix
of expected events that bin i of the one and bin j of the other share. It is found in one pass over
the cells of the events, at the means of the null, so that it is positive and every score has
variance 1.

The field holds where every peak expects 50 events or more; `joint_scan.joint_p` keeps to that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.inference.event_toys import EventToys
from bumpscout_tools.inference.field import GaussianField, check_size

__all__ = ["joint_field"]

FloatArray = NDArray[np.float64]

_NEGLIGIBLE = 1e-7


def joint_field(null: EventToys, vectors: Sequence[Sequence[FloatArray]]) -> GaussianField:
    """Return the field of all scores, ordered by spectrum, working point, hypothesis.

    Args:
        null: cells at the means of the null, from `EventToys.on_null`.
        vectors: for each spectrum and working point the score vectors (h, b) of its hypotheses,
            from `score_vectors` at the same means; h may differ, and may be 0.

    Raises:
        InputDataError: vectors that do not belong to the cells.
        ConfigurationError: more hypotheses than a covariance can hold.
    """
    n_levels = null.n_levels
    if [len(one) for one in vectors] != [n_levels] * len(null.n_bins):
        raise InputDataError(
            f"The field of {len(null.n_bins)} spectra at {n_levels} working points needs score "
            f"vectors for each; got {[len(one) for one in vectors]} of them."
        )
    for s, one in enumerate(vectors):
        for w, v in enumerate(one):
            if v.ndim != 2 or v.shape[1] != null.n_bins[s]:
                raise InputDataError(
                    f"Score vectors of spectrum {s}, working point {w}, have shape {v.shape}, not "
                    f"(hypotheses, {null.n_bins[s]})."
                )
    sizes = np.array([[v.shape[0] for v in one] for one in vectors])
    ends = np.cumsum(sizes).reshape(sizes.shape)
    starts = ends - sizes
    total = int(sizes.sum())
    check_size(total)
    covariance = np.empty((total, total))
    for a in range(len(vectors)):
        for b in range(a, len(vectors)):
            shared = null.shared(a, b)
            for w, v in enumerate(vectors[a]):
                rows = slice(starts[a, w], ends[a, w])
                for x, u in enumerate(vectors[b]):
                    columns = slice(starts[b, x], ends[b, x])
                    block = v @ shared[w, x] @ u.T
                    covariance[rows, columns] = block
                    covariance[columns, rows] = block.T
    return GaussianField(_root(covariance))


def _root(covariance: FloatArray) -> FloatArray:
    """Return a root with rows of length 1, without directions that hold nothing."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _NEGLIGIBLE * values[-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    unit: FloatArray = root / np.linalg.norm(root, axis=1)[:, None]
    return unit
