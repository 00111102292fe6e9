"""The density outside a signal window, which several detectors interpolate into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.guards_closure import check_closure
from bumpscout_tools.detectors.protocol import Progress, Stop, check_stop
from bumpscout_tools.errors import DetectorError

if TYPE_CHECKING:
    from bumpscout_tools.detectors.density import ConditionalDensity

__all__ = ["fit_outside", "inside_window", "watched"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def inside_window(
    detector: str, mass: FloatArray, window_gev: tuple[float, float] | None, least: int
) -> BoolArray:
    """Return which events (n,) lie inside the window.

    Args:
        detector: its name, for messages.
        mass: (n,) GeV.
        window_gev: signal window (low, high).
        least: fewest events inside.

    Raises:
        DetectorError: if there is no window, too few events inside, or none on either side.
    """
    if window_gev is None:
        raise DetectorError(f"{detector} needs a signal window.")
    low, high = window_gev
    inside = (mass >= low) & (mass < high)
    n = int(inside.sum())
    if n < least or not (mass < low).any() or not (mass >= high).any():
        raise DetectorError(
            f"{detector} cannot be trained for the window {low:.0f}-{high:.0f} GeV: {n} events "
            f"inside (at least {least} are needed), {int((mass < low).sum())} below and "
            f"{int((mass >= high).sum())} above. Use wider windows or fewer folds."
        )
    return inside


def watched(stop: Stop | None, progress: Progress | None = None) -> Progress:
    """Return what a training calls at each epoch, so that it stops when it is told to."""

    def watch(done: int, total: int) -> None:
        check_stop(stop)
        if progress is not None:
            progress(done, total)

    check_stop(stop)
    return watch


def fit_outside(
    features: FloatArray,
    mass: FloatArray,
    inside: BoolArray,
    *,
    degree: int,
    steps: int,
    seed: int,
    stop: Stop | None,
    progress: Progress | None = None,
) -> ConditionalDensity:
    """Fit the density of the features given the mass to the events outside, in one thread.

    A classifier then asks whether it describes them (`check_closure`).

    Args:
        features: (n, k).
        mass: (n,) GeV.
        inside: (n,) True for the events of the window, which are left out.
        degree: power of log mass up to which the density varies.
        steps: gradient steps at most.
        seed: decides the result.
        stop: asked at each epoch.
        progress: told about epochs.

    Raises:
        DetectorError: if there are too few events outside, the training fails, or what is
            generated differs from the events.
        TrainingStopped: if `stop` said so.
    """
    from bumpscout_tools.detectors.density import ConditionalDensity

    density = ConditionalDensity.fit(
        features[~inside],
        mass[~inside],
        seed=seed,
        degree=degree,
        steps=steps,
        threads=1,
        progress=watched(stop, progress),
    )
    check_stop(stop)
    check_closure(density, features[~inside], mass[~inside], seed)
    return density
