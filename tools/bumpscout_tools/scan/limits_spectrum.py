"""Limits on Gaussian signals in one spectrum behind several cuts.

A limit is set by a fit of signal plus background to all bins. The order of the background is
chosen by the plan's rule with the signal window left out, as the scan chose it, so that a signal in
the window does not drive the choice; where that fit cannot be believed no limit is quoted and the
reason stands in its place. Nuisances of each limit are the spurious signal and, for cuts trained on
these events, the fluctuation of the training beyond Poisson, which replays measured. The spurious
signal is the larger of two: what the fit calls signal in the expectation of the next larger order
(`inference.spurious_signal`), and what the choice of the order adds to the error of the signal,
from toys of that larger order that choose theirs anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.background import fit_batch, select_order, select_order_batch
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import FitError
from bumpscout_tools.inference import (
    TOYS_BELOW_EVENTS,
    Nuisances,
    PeakGrid,
    PeakLimits,
    PeakModel,
    background_under,
    peak_grid,
    scan_peaks,
    spurious_signal,
)
from bumpscout_tools.inference.extra_bins import PartGrid
from bumpscout_tools.inference.piece_limits import limits_of, spurious_of
from bumpscout_tools.inference.pieces import Piece
from bumpscout_tools.scan.limits_plan import LimitPlan

__all__ = ["CutLimits", "CutSpectrum", "LimitRow", "cut_limits", "limit_masses"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Five = tuple[float, float, float, float, float]

LEAST_INSIDE = 0.5
"""Share of a signal that must lie inside the spectrum."""
DIGITS = 6
ORDER_TOYS = 60
ONE_SIGMA = 0.6827
MAX_EFFICIENCY_ERROR = 0.9


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LimitRow(_Record):
    """One signal: events are those of its whole peak that pass the cut.

    `observed` and `expected` (at -2, -1, 0, 1, 2 standard deviations) are None where the fit cannot
    be believed, with the `reason`. `signal` and `error` are of the best fit, `spurious` and
    `training` the nuisances in events, `background` the events under the peak. `believable` False
    beside a limit tells a fit of signal plus background that did not converge.
    """

    mass_gev: float
    width: float
    sigma_gev: float
    observed: float | None = None
    expected: Five | None = None
    signal: float | None = None
    error: float | None = None
    local_z: float | None = None
    spurious: float | None = None
    training: float | None = None
    background: float | None = None
    method: Literal["asymptotic", "toys"] | None = None
    reason: str | None = None


class CutLimits(_Record):
    """Limits on all signals in the spectrum of one cut, with the background that was chosen."""

    n_selected: int
    order: int
    fit_p: float
    believable: bool
    reason: str | None
    n_by_toys: int
    n_toys_wanted: int
    rows: tuple[LimitRow, ...]


@dataclass(frozen=True)
class CutSpectrum:
    """The spectrum behind one cut.

    Attributes:
        counts: (b,) events that pass.
        mask: (b,) True where the choice of the order leaves bins out, or None.
        null_width: width of local z that replays of the retrained cut show, in units of that of
            fixed scores; 1 for a cut that does not depend on these events.
        efficiency_error: relative, of the signal efficiency; 0 for a limit on visible events.
        reason: why its fit is known not to be believable, or None.
    """

    counts: FloatArray
    mask: BoolArray | None = None
    null_width: float = 1.0
    reason: str | None = None
    efficiency_error: float = 0.0


class _Choice(NamedTuple):
    """The orders of a background, the level of the choice among them, and the chosen one."""

    orders: tuple[int, ...]
    alpha: float
    order: int


def limit_masses(edges_gev: FloatArray, resolution: float) -> FloatArray:
    """Return masses one resolution apart all over a spectrum, two from its ends, (m,) GeV."""
    low, high = float(edges_gev[0]), float(edges_gev[-1])
    first, last = low * (1.0 + 2.0 * resolution), high / (1.0 + 2.0 * resolution)
    if last <= first:
        return np.array([math.sqrt(low * high)])
    n = int(np.log(last / first) / resolution + 1e-9) + 1
    masses: FloatArray = first * np.exp(resolution * np.arange(n))
    return masses


def cut_limits(
    spectrum: CutSpectrum,
    basis: LogLinearBasis,
    orders: Sequence[int],
    alpha: float,
    settings: LimitPlan,
    masses_gev: FloatArray,
    rng: np.random.Generator,
    max_by_toys: int = 0,
) -> CutLimits:
    """Set limits on signals of every mass and width behind one cut.

    Args:
        spectrum: counts behind the cut.
        basis: background family on the bins; with one order more than the largest of `orders` it
            also gives the spurious signal of that one.
        orders: from which the order is chosen.
        alpha: of that choice.
        settings: widths, resolution, level, toys.
        masses_gev: (m,) GeV; signals by more than half outside the spectrum are left out.
        rng: of all toys.
        max_by_toys: most limits by toys; the others over few events are asymptotic.
    """
    counts = np.ascontiguousarray(spectrum.counts, dtype=np.float64)
    choice = select_order(counts, basis, orders, alpha, spectrum.mask)
    reason = spectrum.reason or ("; ".join(choice.reasons) or None)
    peaks = _inside(peak_grid(masses_gev, settings.widths, settings.resolution), basis)
    about = {"n_selected": int(counts.sum()), "order": choice.order, "fit_p": choice.fit_p}
    if reason is None and peaks.size:
        try:
            chosen = _Choice(tuple(orders), alpha, choice.order)
            rows, by_toys, wanted = _rows(
                spectrum, counts, basis, chosen, peaks, settings, rng, max_by_toys
            )
            return CutLimits.model_validate(
                {
                    **about,
                    "believable": True,
                    "reason": None,
                    "n_by_toys": by_toys,
                    "n_toys_wanted": wanted,
                    "rows": rows,
                }
            )
        except FitError as error:
            reason = str(error)
    return CutLimits.model_validate(
        {
            **about,
            "believable": False,
            "reason": reason or "no signal lies inside the spectrum",
            "n_by_toys": 0,
            "n_toys_wanted": 0,
            "rows": tuple(
                LimitRow(
                    mass_gev=float(peaks.mass_gev[h]),
                    width=float(peaks.width[h]),
                    sigma_gev=float(peaks.sigma_gev[h]),
                    reason=reason,
                )
                for h in range(peaks.size)
            ),
        }
    )


def _inside(peaks: PeakGrid, basis: LogLinearBasis) -> PeakGrid:
    seen = peaks.templates(basis.edges_gev).sum(axis=1) >= LEAST_INSIDE
    return PeakGrid(peaks.mass_gev[seen], peaks.width[seen], peaks.sigma_gev[seen])


def _rows(
    spectrum: CutSpectrum,
    counts: FloatArray,
    basis: LogLinearBasis,
    choice: _Choice,
    peaks: PeakGrid,
    settings: LimitPlan,
    rng: np.random.Generator,
    max_by_toys: int,
) -> tuple[tuple[LimitRow, ...], int, int]:
    order = choice.order
    alone = fit_batch(np.atleast_2d(counts).copy(), basis, order, spectrum.mask)
    rival = None
    if order + 1 <= basis.max_order:
        richer = fit_batch(np.atleast_2d(counts).copy(), basis, order + 1)
        rival = richer.expected[0] if richer.converged[0] else None
    every = np.arange(peaks.size)
    piece = Piece(
        basis, order, (order,), counts, PartGrid.of(peaks, every, basis), every, every, rival
    )
    spurious, _ = spurious_of((piece,))
    error = spurious_signal(alone.expected, basis, order, peaks).error[0]
    error = np.where(np.isfinite(error), error, 0.0)
    spurious = np.maximum(
        spurious, _order_error(counts, basis, choice, spectrum.mask, peaks, error, rng)
    )
    training = error * math.sqrt(max(spectrum.null_width**2 - 1.0, 0.0))
    unsure = np.hypot(spurious, training)
    under = background_under(peaks.templates(basis.edges_gev), alone.expected[0])
    few = under < TOYS_BELOW_EVENTS
    chosen = np.zeros(peaks.size, dtype=np.bool_)
    if settings.toys:
        chosen[np.flatnonzero(few)[:max_by_toys]] = True
    found: list[tuple[NDArray[np.int64], PeakLimits]] = []
    parts: tuple[tuple[NDArray[np.int64], np.random.Generator | None], ...] = (
        (np.flatnonzero(chosen), rng),
        (np.flatnonzero(~chosen), None),
    )
    for which, toys in parts:
        if which.size:
            part = replace(
                piece,
                peaks=PartGrid.of(peaks, which, basis),
                index=np.arange(which.size),
                rival=None,
            )
            nuisances = Nuisances(
                spurious_signal=tuple(float(unsure[h]) for h in which),
                efficiency=min(spectrum.efficiency_error, MAX_EFFICIENCY_ERROR),
            )
            limits = limits_of(
                (part,), nuisances, settings.level, rng=toys, n_toys=max(settings.toys, 1)
            )
            found.append((which, limits))
    scan = scan_peaks(counts, basis, order, peaks)
    rows: list[LimitRow | None] = [None] * peaks.size
    for which, limits in found:
        for at, h in enumerate(which):
            rows[h] = _row(
                limits,
                at,
                signal=float(scan.signal[h]),
                error=float(scan.error[h]),
                z=float(scan.z[h]),
                spurious=float(spurious[h]),
                training=float(training[h]),
            )
    return tuple(row for row in rows if row is not None), int(chosen.sum()), int(few.sum())


def _order_error(
    counts: FloatArray,
    basis: LogLinearBasis,
    choice: _Choice,
    mask: BoolArray | None,
    peaks: PeakGrid,
    error: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Return what the choice of the order adds to the error of each signal, in events (h,).

    Toys of the next larger order fitted to the data choose their order anew and are fitted with a
    signal; two thirds of the signals found lie within the error with the choice.
    """
    larger = [order for order in choice.orders if order > choice.order]
    richer = fit_batch(
        np.atleast_2d(counts).copy(), basis, larger[0] if larger else choice.order, mask
    )
    if len(choice.orders) < 2 or not richer.converged[0]:
        return np.zeros(peaks.size)
    toys = rng.poisson(richer.expected[0], (ORDER_TOYS, counts.size)).astype(np.float64)
    orders = select_order_batch(toys, basis, choice.orders, choice.alpha, mask).order
    signal = np.empty((ORDER_TOYS, peaks.size))
    for order in np.unique(orders):
        rows = np.flatnonzero(orders == order)
        model = PeakModel(basis, int(order), peaks)
        start = model.background(toys[rows]).coefficients
        row = np.tile(np.arange(rows.size), peaks.size)
        which = np.repeat(np.arange(peaks.size), rows.size)
        found = model.fit(toys[rows], row, which, start[row])
        signal[rows] = found.signal.reshape(peaks.size, rows.size).T
    with_choice = np.quantile(np.abs(signal), ONE_SIGMA, axis=0)
    added: FloatArray = np.sqrt(np.maximum(with_choice**2 - error**2, 0.0))
    return added


def _row(
    limits: PeakLimits,
    at: int,
    *,
    signal: float,
    error: float,
    z: float,
    spurious: float,
    training: float,
) -> LimitRow:
    peaks = limits.peaks
    about = {
        "mass_gev": _short(peaks.mass_gev[at]),
        "width": float(peaks.width[at]),
        "sigma_gev": _short(peaks.sigma_gev[at]),
    }
    values = [limits.observed[at], *limits.expected[at]]
    if not (np.isfinite(values).all() and limits.converged[at]):
        return LimitRow.model_validate({**about, "reason": "the fit did not converge"})
    return LimitRow.model_validate(
        {
            **about,
            "observed": _short(values[0]),
            "expected": tuple(_short(value) for value in values[1:]),
            "signal": _short(signal) if np.isfinite(signal) else None,
            "error": _short(error) if np.isfinite(error) else None,
            "local_z": _short(z) if np.isfinite(z) else None,
            "spurious": _short(spurious),
            "training": _short(training),
            "background": _short(limits.background[at]),
            "method": limits.method[at],
        }
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
