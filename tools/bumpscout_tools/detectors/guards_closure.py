"""Closure of a background template against the side bands, early in the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import DetectorError

if TYPE_CHECKING:
    from bumpscout_tools.detectors.density import ConditionalDensity

__all__ = ["check_closure"]

FloatArray = npt.NDArray[np.float64]

MAX_AUC = 0.57
MAX_EVENTS = 3000
N_ERRORS = 3.0


def check_closure(
    density: ConditionalDensity, features: FloatArray, mass: FloatArray, seed: int
) -> float:
    """Refuse a density that does not describe the events that it was fitted to.

    A classifier, cross-fitted in 5 folds, is to tell events outside the window from generated ones
    of their masses; an area under its curve above 0.57 by three errors ends the training. At most
    3000 events are used, evenly over the rows. What fails here fails inside the window too; what
    passes may still be interpolated wrongly, which the null replays of a search measure.

    Args:
        density: fitted outside the window.
        features: (n, k) of events outside.
        mass: (n,) GeV.
        seed: draws the generated events and the folds.

    Returns:
        The area; 0.5 is perfect.

    Raises:
        DetectorError: if the template does not close.
    """
    rows = slice(None, None, -(-len(mass) // MAX_EVENTS))
    found = density.closure(features[rows], mass[rows], np.random.default_rng((seed, 9)))
    if found.auc > MAX_AUC + N_ERRORS * found.auc_error:
        raise DetectorError(
            "The background template does not describe the side bands: a classifier tells events "
            "outside the window from generated ones with an area under the curve of "
            f"{found.auc:.3f} (0.5 is perfect), so it would find the difference inside the window "
            "too. Raise degree or steps, or leave out features with jumps or few values."
        )
    return found.auc
