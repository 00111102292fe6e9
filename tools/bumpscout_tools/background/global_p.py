"""The bump hunt on one spectrum with its global p-value from toys.

Every toy is a Poisson fluctuation of the null and is treated as the data were: fitted anew, with
the order chosen anew where it was chosen, and searched in the same windows. No toy is dropped,
whatever its fit did. Two things make the p-value uniform where few events fix the background:

- **The null has one order more than the fit** where the order was chosen: see `Model.null`.
- **The fast double bootstrap** (R. Davidson, J. MacKinnon, Comput. Stat. Data Anal. 51 (2007)
  3259). Toys of a fit reach lower than toys of the truth do, the more so the less the data
  determine it. How much lower is measured: one toy of each toy's own null, treated alike, reaches
  lower once more, by about as much. The z that a toy must reach is lowered by that map, z' = m2 +
  (z - m1) s2 / s1 with the medians m and upper half widths s of toys (1) and their toys (2), and
  never raised.
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
_QUANTILES = (0.5, 0.8413447460685429)


@dataclass(frozen=True, slots=True)
class GlobalHunt:
    """The most significant window of a spectrum and how often background alone does as well.

    Bins `start` to `stop` (exclusive) hold `n_observed` events where `n_expected` are expected;
    start = stop = 0 with z minus infinity where the side bands forbid every window. `expected`
    (b,) is the background, `toy_z` (n,) the largest z of each toy; `threshold_z` is what a toy must
    reach to count, at most `local_z`; `method` says in words how the toys were made.
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
    threshold_z: float


def recalibrated(z: float, first: FloatArray, second: FloatArray) -> float:
    """Return the z that toys must reach, from z of toys (n,) and of the toys of their nulls (n,).

    `z` itself where either has no spread or reaches minus infinity too often.
    """
    (m1, top1), (m2, top2) = (np.quantile(x, _QUANTILES, method="higher") for x in (first, second))
    if not (math.isfinite(z) and math.isfinite(m1) and math.isfinite(m2) and top1 > m1):
        return z
    return min(z, float(m2 + (z - m1) * (top2 - m2) / (top1 - m1)))


def _moved(
    toys: FloatArray, mean: FloatArray, means: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Turn toys (t, b) of one mean (b,) into toys of others (t, b), changing as few as can be.

    Thinning and adding keep the counts Poisson, and what toys of both kinds share cancels in their
    comparison. `means` must not depend on the toys of the same row.
    """
    kept = np.clip(means / np.where(mean > 0, mean, 1.0), 0.0, 1.0)
    moved = rng.binomial(toys.astype(np.int64), kept) + rng.poisson(np.maximum(means - mean, 0.0))
    return moved.astype(np.float64)


def _method(model: Model, refit: bool, n_toys: int) -> str:
    if not model.fitted:
        return f"{n_toys} Poisson toys of the given background"
    if not refit:
        return f"{n_toys} Poisson toys of the fit ({model.name}), not refitted"
    chosen = len(model.orders) > 1
    source = f"{model.name}, one order above the chosen one" if chosen else model.name
    choice = ", the order chosen anew in each" if chosen else ""
    return (
        f"{n_toys} Poisson toys of the fit ({source}), each refitted{choice}; recalibrated with "
        "one toy of each toy's fit"
    )


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
    fitted = model.fit(n)
    expected = fitted.expected
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
    again = refit and model.fitted
    null = model.null(n, fitted)[0] if again else expected[0]
    toy_z, second_z = np.empty(n_toys), np.empty(n_toys if again else 0)
    streams = np.random.SeedSequence(seed).spawn(math.ceil(n_toys / _CHUNK))
    for chunk, stream in enumerate(streams):
        first = chunk * _CHUNK
        part = slice(first, min(first + _CHUNK, n_toys))
        rng = np.random.default_rng(stream)
        toys = rng.poisson(null, (part.stop - first, n.shape[1])).astype(np.float64)
        if again:
            refitted = model.fit(toys)
            toy_z[part], _ = best(toys, refitted.expected)
            second = _moved(np.roll(toys, 1, axis=0), null, model.null(toys, refitted), rng)
            second_z[part], _ = best(second, model.fit(second).expected)
        else:
            toy_z[part], _ = best(toys, expected)
        if progress is not None:
            progress(part.stop, n_toys)
    threshold = recalibrated(observed_z, toy_z, second_z) if again else observed_z
    # The same spectrum can be summed in another order: rounding is no difference.
    reached = int(np.count_nonzero(toy_z >= threshold - 1e-9 * max(1.0, abs(threshold))))
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
        threshold_z=threshold,
    )
