"""The hunt over any set of windows: excesses or deficits, with or without side bands.

What to use when:

- all intervals of some widths in bins: `bin_windows`;
- windows as wide as some multiples of the mass resolution: `mass_windows`;
- the most significant window of each spectrum: `hunt_batch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.statistics import _kernels
from bumpscout_tools.statistics.bumphunt import EXPECTED_FLOOR
from bumpscout_tools.statistics.poisson import z_from_p

__all__ = [
    "SIDE_BAND_P",
    "HuntBatch",
    "WindowSet",
    "bin_windows",
    "deficit_z",
    "hunt_batch",
    "mass_windows",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SIDE_BAND_P = 1e-3
"""A window counts only where each side band is at least this probable (arXiv:1101.0390)."""


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Windows of consecutive bins, `starts` to `stops` (exclusive), each (w,).

    Narrow ones come first, so that among equally significant windows the narrowest is taken.
    `complete` is (bins, smallest, largest width) of a set that holds all windows of these widths:
    such a set is searched faster.
    """

    starts: IntArray
    stops: IntArray
    complete: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self.starts.size)


@dataclass(frozen=True, slots=True)
class HuntBatch:
    """The best window of each spectrum: `z` and `index` (t,) into the window set.

    Where side bands forbid every window, z is minus infinity and the index -1.
    """

    z: FloatArray
    index: IntArray


def _window_set(pairs: set[tuple[int, int]]) -> WindowSet:
    if not pairs:
        raise ConfigurationError("No window fits into the spectrum: lower the smallest width.")
    ordered = sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair[0]))
    table = np.array(ordered, dtype=np.int64)
    return WindowSet(np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1]))


def bin_windows(
    n_bins: int, min_width: int = 2, max_width: int | None = None, step: int = 1
) -> WindowSet:
    """Return all windows of `min_width` to `max_width` bins.

    Args:
        n_bins: bins of the spectrum.
        min_width: bins of the narrowest window.
        max_width: bins of the widest; None for half the spectrum.
        step: bins between the starts of neighbouring windows.

    Raises:
        ConfigurationError: widths that no window can have.
    """
    widest = max(n_bins // 2, min_width) if max_width is None else max_width
    if not 1 <= min_width <= widest <= n_bins or step < 1:
        raise ConfigurationError(
            f"No windows of {min_width} to {widest} bins in steps of {step} fit into a spectrum of "
            f"{n_bins} bins: widths lie between 1 and {n_bins}."
        )
    widths = range(min_width, widest + 1)
    starts = [np.arange(0, n_bins - width + 1, step, dtype=np.int64) for width in widths]
    stops = [first + width for first, width in zip(starts, widths, strict=True)]
    complete = (n_bins, min_width, widest) if step == 1 else None
    return WindowSet(np.concatenate(starts), np.concatenate(stops), complete)


def mass_windows(
    edges_gev: ArrayLike, resolution: float, multiples: Sequence[float] = (1.0, 2.0, 3.0, 4.0)
) -> WindowSet:
    """Return windows whose width is a multiple of the mass resolution, as near as the bins allow.

    Each bin starts one window for each multiple; windows that would leave the spectrum are left
    out, and so are repetitions.

    Args:
        edges_gev: (b + 1,) rising edges, GeV.
        resolution: relative width of a narrow resonance, sigma / m.
        multiples: widths of the windows in units of it.

    Raises:
        ConfigurationError: a resolution or multiples that no window can have.
    """
    edges = np.asarray(edges_gev, dtype=np.float64)
    if not 0 < resolution < 1 or not multiples or min(multiples) <= 0:
        raise ConfigurationError(
            f"Windows of {list(multiples)} times a resolution of {resolution:g} do not exist: give "
            "a relative resolution between 0 and 1, and multiples above 0."
        )
    pairs: set[tuple[int, int]] = set()
    for start in range(edges.size - 1):
        for multiple in multiples:
            # A window from low to high is as wide as k sigma at its centre.
            reach = 0.5 * multiple * resolution
            if reach >= 1.0:
                continue
            high = edges[start] * (1.0 + reach) / (1.0 - reach)
            if high > edges[-1] * (1.0 + 1e-9):
                continue
            stop = int(np.argmin(np.abs(edges - high)))
            pairs.add((start, max(stop, start + 1)))
    return _window_set(pairs)


def hunt_batch(
    observed: ArrayLike,
    expected: ArrayLike,
    windows: WindowSet,
    *,
    deficits: bool = False,
    side_bands: bool = False,
    floor: float = EXPECTED_FLOOR,
) -> HuntBatch:
    """Find the most significant window of each spectrum.

    Args:
        observed: (t, b) events, whole numbers.
        expected: (t, b) events expected in each spectrum, or (b,) for all alike.
        windows: where to look.
        deficits: look for too few events instead of too many.
        side_bands: pass over a window beside which a band of half its width, at least one bin,
            has a probability of 1e-3 or less (G. Choudalakis, arXiv:1101.0390); at the ends of
            the spectrum the bands are cut.
        floor: events that a window expects at least.

    Raises:
        InputDataError: counts or expectations that are negative, infinite or of the wrong shape.
    """
    n = np.require(observed, np.float64, ["C", "W"])
    b = np.atleast_2d(np.require(expected, np.float64, ["C", "W"]))
    if n.ndim != 2 or b.shape not in {n.shape, (1, n.shape[1])}:
        raise InputDataError(
            f"Observed counts of shape {n.shape} and expected counts of shape {b.shape} do not "
            "belong together: pass (t, b) and (t, b), or (t, b) and (b,)."
        )
    if not np.all((n >= 0) & (n == np.floor(n)) & np.isfinite(n)):
        raise InputDataError("Observed counts must be whole numbers >= 0 to be hunted for bumps.")
    if not np.all((b >= 0) & np.isfinite(b)):
        raise InputDataError("Expected counts must be finite and >= 0 to be hunted for bumps.")
    if windows.stops.max() > n.shape[1]:
        raise InputDataError(f"The windows reach beyond the {n.shape[1]} bins of the spectra.")
    z = np.empty(n.shape[0])
    index = np.empty(n.shape[0], dtype=np.int64)
    if windows.complete is not None and not deficits and not side_bands:
        n_bins, low, high = windows.complete
        start, stop = np.empty_like(index), np.empty_like(index)
        _kernels.hunt_batch(n, b, 0, n_bins, low, high, floor, z, start, stop)
        width = stop - start
        before = (width - low) * (n_bins + 1) - (width * (width - 1) - low * (low - 1)) // 2
        return HuntBatch(z, before + start)
    limit = float(z_from_p(SIDE_BAND_P)) if side_bands else 0.0
    _kernels.hunt_windows(n, b, windows.starts, windows.stops, deficits, limit, floor, z, index)
    return HuntBatch(z, index)


def deficit_z(observed: ArrayLike, expected: ArrayLike) -> FloatArray:
    """Return the signed significance z of P(N <= observed | expected), elementwise.

    Args:
        observed: counts, any shape, whole numbers.
        expected: means, a shape that broadcasts, above 0.

    >>> float(deficit_z(4, 10.0).round(3))
    1.893
    """
    n, b = np.broadcast_arrays(
        np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    )
    if not np.all((n >= 0) & (n == np.floor(n)) & (b > 0) & np.isfinite(b)):
        raise InputDataError("A deficit needs whole counts >= 0 and finite expectations above 0.")
    out = np.empty(n.size)
    _kernels.z_deficit_many(np.array(n).ravel(), np.array(b).ravel(), out)
    return out.reshape(n.shape)
