"""Scans, global significance, spurious signals and limits of peaks in `pieces` of a spectrum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.inference.checks import spurious_signal
from bumpscout_tools.inference.field import GaussianField, check_size, score_vectors
from bumpscout_tools.inference.fits import Nuisances, PeakModel
from bumpscout_tools.inference.limits import PeakLimits, nuisance_impacts, peak_limits
from bumpscout_tools.inference.lookelsewhere import (
    FIELD_FROM_EVENTS,
    TAIL_FROM_Z,
    GlobalP,
    global_p,
)
from bumpscout_tools.inference.peaks import background_under
from bumpscout_tools.inference.pieces import Piece, gather, peaks_of
from bumpscout_tools.inference.scan import PeakScan, scan_peaks, scan_peaks_batch
from bumpscout_tools.statistics import toy_p_value

__all__ = ["Scanned", "impacts_of", "limits_of", "scan_of", "spurious_of"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_TOYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Scanned:
    """Scan of all peaks, arrays (h,), and the global significance of the largest z.

    `signal` and `error` in events.
    """

    z: FloatArray
    signal: FloatArray
    error: FloatArray
    converged: BoolArray
    found: GlobalP

    @property
    def best(self) -> int:
        """Index of the most significant excess."""
        return int(np.argmax(self.z))


def spurious_of(pieces: Sequence[Piece]) -> tuple[FloatArray, bool]:
    """Return the signal (h,), events, that each piece fits to its rival; and if all have one.

    It is 0 where a piece has no rival.
    """
    found = [
        np.zeros(piece.peaks.size)
        if piece.rival is None
        else spurious_signal(piece.rival, piece.basis, piece.order, piece.peaks).largest
        for piece in pieces
    ]
    return gather(pieces, found), all(piece.rival is not None for piece in pieces)


def scan_of(
    pieces: Sequence[Piece],
    expected: FloatArray,
    rng: np.random.Generator,
    n_toys: int = 2000,
) -> Scanned:
    """Fit every peak, and say how often background alone has one as significant as the largest.

    One piece is the business of `global_p`. For several the z of all peaks are a Gaussian field
    where every window expects 50 events; else the toys are spectra of the background, refitted in
    every window. These cannot show a p below one in their number.

    Args:
        pieces: that hold every peak once.
        expected: (b,) the background that toys of several pieces are drawn from.
        rng: random numbers.
        n_toys: refit toys, where the method takes any.
    """
    scans = [scan_peaks(one.counts, one.basis, one.order, one.peaks) for one in pieces]
    z = gather(pieces, [scan.z for scan in scans])
    found = (
        global_p(rng, scans[0], pieces[0].basis, pieces[0].orders, n_toys=n_toys)
        if len(pieces) == 1
        else _global_of(pieces, scans, float(z.max()), expected, rng, n_toys)
    )
    converged: BoolArray = gather(
        pieces, [scan.converged.astype(np.float64) for scan in scans]
    ).astype(np.bool_)
    return Scanned(
        z=z,
        signal=gather(pieces, [scan.signal for scan in scans]),
        error=gather(pieces, [scan.error for scan in scans]),
        converged=converged,
        found=found,
    )


def _global_of(
    pieces: Sequence[Piece],
    scans: Sequence[PeakScan],
    z: float,
    expected: FloatArray,
    rng: np.random.Generator,
    n_toys: int,
    n_samples: int = 200_000,
) -> GlobalP:
    templates = [piece.peaks.templates(piece.basis.edges_gev) for piece in pieces]
    least = min(
        float(background_under(t, scan.expected).min())
        for t, scan in zip(templates, scans, strict=True)
    )
    if least >= FIELD_FROM_EVENTS:
        check_size(sum(piece.peaks.size for piece in pieces))
        rows: list[FloatArray] = []
        for piece, scan, t in zip(pieces, scans, templates, strict=True):
            vectors = score_vectors(piece.basis, scan.coefficients, scan.expected, t)
            row = np.zeros((piece.peaks.size, expected.size))
            row[:, piece.bins] = (vectors * np.sqrt(scan.expected))[:, piece.data]
            rows.append(row)
        field = GaussianField(np.concatenate(rows))
        if z >= TAIL_FROM_Z:
            bound = float(field.tail_bound(z))
            return GlobalP(z, bound, bound, bound, "gaussian field, tail bound", 0)
        p = field.p_value(z, rng, n_samples)
        return GlobalP(z, p.value, p.low, p.high, "gaussian field", n_samples)
    reached = 0
    for first in range(0, n_toys, _TOYS_AT_ONCE):
        size = min(_TOYS_AT_ONCE, n_toys - first)
        toys = rng.poisson(expected, (size, expected.size)).astype(np.float64)
        largest = np.full(size, -np.inf)
        for piece in pieces:
            counts = piece.of_spectrum(toys)
            found = scan_peaks_batch(counts, piece.basis, piece.order, piece.peaks)
            largest = np.maximum(largest, found.best())
        reached += int(np.count_nonzero(largest >= z))
    p = toy_p_value(reached, n_toys)
    return GlobalP(z, p.value, p.low, p.high, "refit toys", n_toys)


def limits_of(
    pieces: Sequence[Piece],
    nuisances: Nuisances,
    level: float,
    *,
    rng: np.random.Generator | None = None,
    n_toys: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> PeakLimits:
    """Set limits on every peak in its piece; arguments as `peak_limits`, progress piece by piece.

    Raises:
        FitError: a piece without events, which fixes no background.
    """
    found: list[PeakLimits] = []
    for piece in pieces:
        model = PeakModel(piece.basis, piece.order, piece.peaks, _part(nuisances, piece))
        found.append(
            peak_limits(piece.counts, model, level, rng=rng, n_toys=n_toys, progress=progress)
        )
    toys = gather(pieces, [np.array([m == "toys" for m in one.method], float) for one in found])
    return PeakLimits(
        peaks=peaks_of(pieces),
        level=level,
        observed=gather(pieces, [one.observed for one in found]),
        # Bands that lie closer than their toys resolve keep their order.
        expected=np.maximum.accumulate(gather(pieces, [one.expected for one in found]), axis=1),
        discovery_3=gather(pieces, [one.discovery_3 for one in found]),
        discovery_5=gather(pieces, [one.discovery_5 for one in found]),
        background=gather(pieces, [one.background for one in found]),
        method=tuple("toys" if one else "asymptotic" for one in toys),
        converged=gather(pieces, [one.converged.astype(np.float64) for one in found]).astype(
            np.bool_
        ),
    )


def impacts_of(pieces: Sequence[Piece], nuisances: Nuisances, level: float) -> dict[str, float]:
    """Return the largest relative effect of each nuisance on a median limit of any peak."""
    out: dict[str, float] = {}
    for piece in pieces:
        model = PeakModel(piece.basis, piece.order, piece.peaks, _part(nuisances, piece))
        for name, values in nuisance_impacts(piece.counts, model, level=level).items():
            out[name] = max(out.get(name, -np.inf), float(np.max(values)))
    return out


def _part(nuisances: Nuisances, piece: Piece) -> Nuisances:
    """Return the nuisances of the peaks of one piece."""
    spurious = nuisances.spurious_signal
    if not isinstance(spurious, tuple):
        return nuisances
    return nuisances.model_copy(update={"spurious_signal": tuple(spurious[h] for h in piece.index)})
