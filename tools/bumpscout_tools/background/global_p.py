"""The bump hunt on one spectrum with its global p-value from toys.

Every toy is a Poisson fluctuation of the fitted background and is treated as the data were: fitted
anew, with the order chosen anew where it was chosen, and searched in the same windows. No toy is
dropped, whatever its fit did.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background.models import Model
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.statistics.bumphunt import EXPECTED_FLOOR
from bumpscout_tools.statistics.intervals import ToyP, toy_p_value
from bumpscout_tools.statistics.poisson import p_from_z
from bumpscout_tools.statistics.windows import WindowSet, hunt_batch

__all__ = ["GlobalHunt", "hunt_spectrum"]

FloatArray = NDArray[np.float64]

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class GlobalHunt:
    """The most significant window of a spectrum and how often background alone does as well.

    Bins `start` to `stop` (exclusive) hold `n_observed` events where `n_expected` are expected;
    start = stop = 0 with z minus infinity where the side bands forbid every window. `expected`
    (b,) is the background, `toy_z` (n,) the largest z of each toy; `method` says in words how the
    toys were made.
    """

    start: int
    stop: int
    n_observed: int
    n_expected: float
    local_p: float
    local_z: float
    global_p: ToyP
    n_reached: int
    n_toys: int
    method: str
    expected: FloatArray
    toy_z: FloatArray


def _method(model: Model, refit: bool, n_toys: int) -> str:
    if not model.fitted:
        return f"{n_toys} Poisson toys of the given background"
    if not refit:
        return f"{n_toys} Poisson toys of the fit ({model.name}), not refitted"
    choice = ", the order chosen anew in each" if len(model.orders) > 1 else ""
    return f"{n_toys} Poisson toys of the fit ({model.name}), each refitted{choice}"


def hunt_spectrum(
    observed: NDArray[np.float64],
    model: Model,
    windows: WindowSet,
    *,
    n_toys: int = 4000,
    refit: bool = True,
    deficits: bool = False,
    side_bands: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> GlobalHunt:
    """Hunt one spectrum, and its toys.

    Args:
        observed: (b,) events, whole numbers.
        model: the background.
        windows: where to look.
        n_toys: toys, at least 1.
        refit: fit each toy as the data were; a given background is never fitted.
        deficits: look for too few events.
        side_bands: see `hunt_batch`.
        seed: of the toys; the result depends on nothing else.
        progress: called with toys done and all toys.

    Raises:
        ConfigurationError: fewer than one toy.
        InputDataError: counts that are no whole numbers, or a background of no events.
        FitError: too few bins for the model.
    """
    if n_toys < 1:
        raise ConfigurationError(f"A global p-value needs at least one toy, not {n_toys}.")
    n = np.atleast_2d(np.asarray(observed, dtype=np.float64))
    expected = model.fit(n).expected
    if not np.all(np.isfinite(expected)) or expected.sum() <= 0:
        raise InputDataError(
            f"The background {model.name} expects no events, or infinitely many, so that there is "
            "nothing to compare to."
        )

    def best(counts: FloatArray, means: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
        found = hunt_batch(counts, means, windows, deficits=deficits, side_bands=side_bands)
        return found.z, found.index

    z, index = best(n, expected)
    observed_z = float(z[0])
    toy_z = np.empty(n_toys)
    streams = np.random.SeedSequence(seed).spawn(math.ceil(n_toys / _CHUNK))
    for chunk, stream in enumerate(streams):
        first = chunk * _CHUNK
        size = min(_CHUNK, n_toys - first)
        toys = np.random.default_rng(stream).poisson(expected[0], (size, n.shape[1]))
        counts = toys.astype(np.float64)
        means = model.fit(counts).expected if refit and model.fitted else expected
        toy_z[first : first + size], _ = best(counts, means)
        if progress is not None:
            progress(first + size, n_toys)
    # The same spectrum can be summed in another order: rounding is no difference.
    reached = int(np.count_nonzero(toy_z >= observed_z - 1e-9 * max(1.0, abs(observed_z))))
    if math.isinf(observed_z):
        reached = n_toys
    at = int(index[0])
    start, stop = (int(windows.starts[at]), int(windows.stops[at])) if at >= 0 else (0, 0)
    return GlobalHunt(
        start=start,
        stop=stop,
        n_observed=round(float(n[0, start:stop].sum())),
        n_expected=max(float(expected[0, start:stop].sum()), EXPECTED_FLOOR if stop else 0.0),
        local_p=float(np.maximum(p_from_z(observed_z), np.finfo(np.float64).tiny)),
        local_z=observed_z,
        global_p=toy_p_value(reached, n_toys),
        n_reached=reached,
        n_toys=n_toys,
        method=_method(model, refit, n_toys),
        expected=expected[0],
        toy_z=toy_z,
    )
