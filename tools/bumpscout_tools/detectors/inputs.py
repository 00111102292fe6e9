"""The columns of a view that a detector may use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

__all__ = ["inputs_of"]

MAX_LISTED = 70
"""Most names that a message lists; more are inputs of a matrix or columns of a wide table."""


def inputs_of(view: View, features: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the named columns (n, k) of a view; the scanned mass is none of them.

    Raises:
        DetectorError: if a feature is unknown or none is named.
    """
    unknown = [name for name in features if name not in view.feature_names]
    if unknown or not features:
        raise DetectorError(
            f"Unknown features {_some(unknown)}; this view offers {_some(view.feature_names)}."
        )
    return np.ascontiguousarray(view.features[:, [view.feature_names.index(f) for f in features]])


def _some(names: Sequence[str]) -> str:
    """List names, those of a matrix not all."""
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "") or "(none)"
