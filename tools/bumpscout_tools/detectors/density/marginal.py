"""The marginal of one feature: an atom at its lower end, and a smooth map to normal scores.

A feature with ``x > 0`` is taken as ``log x``, so that no sample is ever negative. The map is
monotone and known at some 50 quantiles only: a sample cannot land on a training value because the
map remembers it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtri

from bumpscout_tools.errors import DetectorError

__all__ = ["Marginal", "fit_marginal", "mass_basis"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_KNOT_STEP = 0.15  # in normal score
_TABLE = 4001
_REACH = 8.0  # the table ends here, beyond any draw of a normal
_BEYOND_LAST_KNOT = 12  # events
_ATOM_WIDTH = 1e-5  # in standard deviations
_ATOM_EVENTS = 3


def mass_basis(log_mass: FloatArray, centre: float, half_width: float, degree: int) -> FloatArray:
    """Return Legendre polynomials of the scaled log mass, (n, degree + 1).

    The scaled mass is held at +-1.6 outside the bulk, where a polynomial would run away.

    Args:
        log_mass: (n,) logarithm of the mass in GeV.
        centre: log mass that becomes 0.
        half_width: distance in log mass that becomes 1.
        degree: highest power.
    """
    scaled = np.clip((log_mass - centre) / half_width, -1.6, 1.6)
    return np.asarray(np.polynomial.legendre.legvander(scaled, degree), dtype=np.float64)


@dataclass(frozen=True)
class Marginal:
    """One feature's distribution as a reference for the conditional model.

    Attributes:
        atom: value that repeats at the lower end; NaN if none.
        atom_edge: values up to here belong to the atom; -inf if none.
        logarithmic: whether the smooth part is handled as ``log x``.
        table: (4001,) smooth part (or its log) at normal scores evenly spaced in [-8, 8].
        location: (degree + 1,) mean of the score on the mass basis.
        log_scale: (degree + 1,) log width of the score on the mass basis.
    """

    atom: float
    atom_edge: float
    logarithmic: bool
    table: FloatArray
    location: FloatArray
    log_scale: FloatArray

    def is_atom(self, values: FloatArray) -> BoolArray:
        """Return which values (n,) belong to the atom."""
        return values <= self.atom_edge

    def score(self, values: FloatArray, basis: FloatArray) -> FloatArray:
        """Return the score (n,) of values (n,) at the masses of `basis`; 0 for atoms."""
        atom = self.is_atom(values)
        smooth = np.where(atom, 1.0, values)
        if self.logarithmic:
            smooth = np.log(np.maximum(smooth, np.finfo(float).tiny))
        raw = np.interp(smooth, self.table, np.linspace(-_REACH, _REACH, _TABLE))
        score = (raw - basis @ self.location) * np.exp(-(basis @ self.log_scale))
        return np.where(atom, 0.0, score)

    def value(self, score: FloatArray, basis: FloatArray) -> FloatArray:
        """Return the values (n,) of scores (n,) at the masses of `basis`, without the atom."""
        raw = score * np.exp(basis @ self.log_scale) + basis @ self.location
        smooth = np.interp(raw, np.linspace(-_REACH, _REACH, _TABLE), self.table)
        return np.exp(smooth) if self.logarithmic else smooth


def fit_marginal(values: FloatArray, weights: FloatArray, basis: FloatArray, name: str) -> Marginal:
    """Fit the marginal of one feature.

    Args:
        values: (n,) feature.
        weights: (n,) positive event weights.
        basis: (n, degree + 1) from `mass_basis`.
        name: what to call the feature in errors.

    Raises:
        DetectorError: if the feature is (nearly) constant.
    """
    low = float(values.min())
    edge = low + _ATOM_WIDTH * float(values.std())
    in_atom = values <= edge
    # One zero is enough for an atom: the logarithm could not take it.
    if in_atom.sum() >= _ATOM_EVENTS or abs(low) <= edge - low:
        atom, atom_edge = float(np.median(values[in_atom])), edge
        values, weights, basis = values[~in_atom], weights[~in_atom], basis[~in_atom]
    else:
        atom, atom_edge = float("nan"), -float("inf")
    if len(values) < 500 or len(np.unique(values)) < 250:
        raise DetectorError(
            f"Feature {name} has {len(np.unique(values))} different values in {len(values)} "
            "events above its lowest one: too few for a density. Leave it out of the features."
        )
    logarithmic = bool(values.min() > 0)
    smooth = np.log(values) if logarithmic else values
    table = _quantile_table(smooth, weights)
    zero = np.zeros(basis.shape[1])
    flat = Marginal(atom, atom_edge, logarithmic, table, zero, zero)
    score = flat.score(values, basis)
    location = _least_squares(basis, score, weights)
    width = np.log(np.abs(score - basis @ location) + 1e-3)
    log_scale = _least_squares(basis, width, weights)
    # The mean of log|z| of a unit normal is -0.635.
    log_scale[0] += 0.635
    return Marginal(atom, atom_edge, logarithmic, table, location, log_scale)


def _least_squares(basis: FloatArray, values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the coefficients (degree + 1,) of the values' (n,) weighted mean on the basis."""
    root = np.sqrt(weights)
    fitted = np.linalg.lstsq(basis * root[:, None], values * root, rcond=None)[0]
    return np.asarray(fitted, dtype=np.float64)


def _quantile_table(smooth: FloatArray, weights: FloatArray) -> FloatArray:
    """Tabulate the quantile function over normal scores, with straight tails."""
    order = np.argsort(smooth, kind="stable")
    smooth, weights = smooth[order], weights[order]
    share = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    last = -float(ndtri(_BEYOND_LAST_KNOT / len(smooth)))
    count = max(int(2 * last / _KNOT_STEP), 8)
    scores = ndtri(share)
    knots = np.linspace(-last, last, count + 1)
    # A knot is the mean over its cell: one event moves it little.
    nearby = np.linspace(-0.3 * _KNOT_STEP, 0.3 * _KNOT_STEP, 7)
    at = np.interp(knots[:, None] + nearby, scores, smooth).mean(axis=1)
    at = np.maximum.accumulate(at) + np.arange(len(at)) * 1e-12 * (smooth[-1] - smooth[0])
    grid = np.linspace(-_REACH, _REACH, _TABLE)
    table = PchipInterpolator(knots, at, extrapolate=False)(grid)
    # Tail slopes from the events beyond the last knot, at least a tenth of the slope before it.
    for side, end in ((-1, 0), (1, -1)):
        beyond = scores * side > last
        distance = np.abs(scores[beyond]) - last
        inside = abs(at[end] - at[end + 3 * (-side)]) / (3 * _KNOT_STEP)
        slope = float(np.sum(distance * np.abs(smooth[beyond] - at[end])) / np.sum(distance**2))
        slope = max(slope, 0.1 * inside, 1e-12)
        tail = grid * side > last
        table[tail] = at[end] + side * slope * (np.abs(grid[tail]) - last)
    return np.asarray(table, dtype=np.float64)
