"""Guards of the side bands: what a score says about the mass where there is no signal to find."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, xlogy
from scipy.stats import chi2, rankdata

from bumpscout_tools.detectors.guards_explained import predict, regression
from bumpscout_tools.detectors.guards_report import GuardReport

__all__ = ["mass_classifier", "sculpting", "sideband_correlation"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MAX_DISTANCE_CORRELATION = 0.03
MAX_PAIRED = 2000
MAX_AUC = 0.67
MIN_SCULPTING_P = 1e-3
SCULPTING_BINS = 24
SCULPTING_DEGREE = 3
MIN_SIDEBAND_EVENTS = 200


def sideband_correlation(rank: FloatArray, mass: FloatArray) -> GuardReport:
    """Measure any dependence of the score on the mass by their distance correlation.

    The bias-corrected squared distance correlation (Szekely, Rizzo, J. Multivar. Anal. 117 (2013)
    193) of the ranks of both, on at most 2000 events evenly spread in mass: 0 for independent
    ones, and for no others; 1 for a score that is linear in the rank of the mass.

    Args:
        rank: (n,) ranks of the score in the side bands.
        mass: (n,) GeV.
    """
    if len(mass) < MIN_SIDEBAND_EVENTS:
        return _too_few("side-band correlation", len(mass))
    rows = np.argsort(mass, kind="stable")[:: -(-len(mass) // MAX_PAIRED)]
    one, other = (_centred(rankdata(values[rows])) for values in (rank, mass))
    size = np.sqrt((one * one).sum() * (other * other).sum())
    value = float((one * other).sum() / size) if size > 0 else 1.0
    return GuardReport(
        name="side-band correlation",
        fired=value > MAX_DISTANCE_CORRELATION,
        value=value,
        threshold=MAX_DISTANCE_CORRELATION,
        message=f"the squared distance correlation of score and mass beside the window is "
        f"{value:.3f}",
    )


def mass_classifier(
    rank: FloatArray, mass: FloatArray, window_gev: tuple[float, float]
) -> GuardReport:
    """Ask whether a classifier can tell from the score alone which side band an event is in.

    Boosted trees of the score, cross-fitted in two halves; the value is the area under their curve,
    0.5 where the score knows nothing of the mass.

    Args:
        rank: (n,) ranks of the score in the side bands.
        mass: (n,) GeV.
        window_gev: the window between the bands.
    """
    above = mass >= window_gev[1]
    if min(int(above.sum()), int((~above).sum())) < MIN_SIDEBAND_EVENTS:
        return _too_few("mass classifier", int(min(above.sum(), (~above).sum())))
    half = np.arange(len(mass)) % 2 == 0
    learned = np.empty(len(mass))
    for train, test in ((half, ~half), (~half, half)):
        booster = regression(
            rank[train, None], above[train].astype(np.float64), trees=20, learning_rate=0.1
        )
        found = rankdata(predict(booster, rank[test, None]))
        learned[test] = found / test.sum()
    place = rankdata(learned)
    n_above = int(above.sum())
    area = float(place[above].sum() - n_above * (n_above + 1) / 2)
    value = area / (n_above * (len(mass) - n_above))
    return GuardReport(
        name="mass classifier",
        fired=value > MAX_AUC,
        value=value,
        threshold=MAX_AUC,
        message="a classifier of the score alone tells the two side bands apart with an area under "
        f"the curve of {value:.3f}",
    )


def sculpting(selected: BoolArray, mass: FloatArray, inside: BoolArray) -> GuardReport:
    """Ask whether the cut's efficiency varies with the mass faster than a background fit follows.

    Outside the window, in 24 mass bins of equal counts, the efficiency is compared with a cubic of
    log mass (logistic regression); the value is the p-value of the deviance.

    Args:
        selected: (n,) True for the events that pass the cut.
        mass: (n,) GeV.
        inside: (n,) True in the signal window, which is left out.
    """
    kept, at = selected[~inside], np.log(mass[~inside])
    if kept.sum() < 2 * SCULPTING_BINS:
        return _too_few("sculpting", int(kept.sum()))
    order = np.argsort(at, kind="stable")
    parts = np.array_split(order, SCULPTING_BINS)
    n = np.array([len(part) for part in parts], dtype=np.float64)
    k = np.array([kept[part].sum() for part in parts], dtype=np.float64)
    x = np.array([at[part].mean() for part in parts])
    scaled = 2 * (x - x[0]) / (x[-1] - x[0]) - 1 if x[-1] > x[0] else np.zeros(len(x))
    basis = np.polynomial.legendre.legvander(scaled, SCULPTING_DEGREE)
    share = _logistic(basis, k, n)
    deviance = 2 * (xlogy(k, k / (n * share)) + xlogy(n - k, (n - k) / (n * (1 - share)))).sum()
    value = float(chi2.sf(deviance, SCULPTING_BINS - SCULPTING_DEGREE - 1))
    return GuardReport(
        name="sculpting",
        fired=value < MIN_SCULPTING_P,
        value=value,
        threshold=MIN_SCULPTING_P,
        message="outside the window the cut's efficiency is a smooth function of the mass with "
        f"p = {value:.2g}",
    )


def _logistic(basis: FloatArray, k: FloatArray, n: FloatArray) -> FloatArray:
    """Return fitted shares (b,) of k out of n by iteratively reweighted least squares."""
    start = np.log((k.sum() + 0.5) / (n.sum() - k.sum() + 0.5))
    coefficients = np.zeros(basis.shape[1])
    coefficients[0] = start
    for _ in range(30):
        share = np.clip(expit(basis @ coefficients), 1e-9, 1 - 1e-9)
        weight = n * share * (1 - share)
        step = np.linalg.lstsq(
            basis * np.sqrt(weight)[:, None], (k - n * share) / np.sqrt(weight), rcond=None
        )[0]
        coefficients = coefficients + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(np.clip(expit(basis @ coefficients), 1e-9, 1 - 1e-9), dtype=np.float64)


def _centred(values: FloatArray) -> FloatArray:
    """Return U-centred distances (n, n), 0 on the diagonal."""
    n = len(values)
    distance = np.abs(values[:, None] - values[None, :]) / n
    rows = distance.sum(axis=1)
    found = distance - rows[:, None] / (n - 2) - rows[None, :] / (n - 2)
    found += rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(found, 0.0)
    return np.asarray(found, dtype=np.float64)


def _too_few(name: str, n: int) -> GuardReport:
    return GuardReport(
        name=name,
        fired=False,
        value=None,
        threshold=None,
        message=f"{n} events beside the window are too few to ask",
    )
