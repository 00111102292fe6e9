"""Cuts of flat efficiency: the score is taken relative to events of the same mass.

A cut at one value of a score that drifts with the mass bends the spectrum of what passes. Here each
score becomes its normal score among events of its mass: quantiles of the score are fitted as smooth
functions of the mass outside the signal window and interpolated into it, so that a cut keeps the
same share of the background at each mass (as CMS does in its search with anomaly detection,
arXiv:2412.03747). A signal inside the window is no part of the fit, and one outside of it is
narrower than what the polynomials can follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import rankdata

from bumpscout_tools.detectors.folds import order_of
from bumpscout_tools.detectors.quantiles import normal_given_mass
from bumpscout_tools.events.view import View

__all__ = ["flat_scores"]

FloatArray = npt.NDArray[np.float64]

BULK = (-1.0, 0.0, 0.7)
TAIL_SHARES = (0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001)
MIN_TAIL_EVENTS = 30
DEGREE = 2


def flat_scores(
    scores: FloatArray, view: View, windows_gev: Sequence[tuple[float, float]]
) -> FloatArray:
    """Return scores whose cuts have the same efficiency for background of each mass.

    The quantiles end where 30 events outside the window lie beyond; from there on the last one
    counts. Events of one mass keep their order; among equal scores chance decides.

    Args:
        scores: (n, n_windows), higher is more anomalous.
        view: the n events.
        windows_gev: signal windows (low, high), left out of the fits.

    Returns:
        (n, n_windows) in (0, 1); the order of the events in the view does not change them.

    Raises:
        DetectorError: if there are too few events outside a window.
    """
    order = order_of(view.event_id, view.mass)
    mass = view.mass[order]
    found = np.empty_like(scores)
    for column, (low, high) in enumerate(windows_gev):
        outside = (mass < low) | (mass >= high)
        n = int(outside.sum())
        shares = [share for share in TAIL_SHARES if share * n >= MIN_TAIL_EVENTS]
        levels = (*BULK, *(float(-ndtri(share)) for share in shares))
        normal = normal_given_mass(
            scores[order, column], mass, outside, levels=levels, degree=DEGREE
        )
        found[order, column] = (rankdata(normal) - 0.5) / len(normal)
    return found
