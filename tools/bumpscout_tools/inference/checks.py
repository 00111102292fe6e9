"""Validation of a background model for peaks: spurious signal, linearity of injections, coverage.

What to use when, before a limit or a claim is believed:

- `spurious_signal`: does the function bend into peaks where there are none? ATLAS and CMS require
  |S| < 0.2 to 0.5 sigma on templates of background only, else S becomes a nuisance;
- `injection_linearity`: is an injected signal found back without bias, with the error that is
  quoted?
- `coverage`: does the true signal lie in the 68% interval, and below the limit, as often as it
  should?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.inference.fits import PeakModel, checked_spectra
from bumpscout_tools.inference.limits import cls_asymptotic
from bumpscout_tools.inference.peaks import PeakGrid

__all__ = [
    "MAX_SPURIOUS",
    "Coverage",
    "Linearity",
    "SpuriousSignal",
    "coverage",
    "injection_linearity",
    "spurious_signal",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MAX_SPURIOUS = 0.5
"""Largest |S| / sigma_S on templates of background only at which a function passes."""


@dataclass(frozen=True, slots=True)
class SpuriousSignal:
    """Signals fitted to templates of background only, in events.

    `signal` and `error` (m, h) for m templates; `ratio` = signal / error; `largest` (h,) the
    largest |signal| over the templates, to be carried as a nuisance; `passed` (h,): every |ratio|
    below the requirement.
    """

    signal: FloatArray
    error: FloatArray
    ratio: FloatArray
    largest: FloatArray
    passed: BoolArray


@dataclass(frozen=True, slots=True)
class Linearity:
    """Pulls of injected signals; arrays (h, k) for k strengths.

    The pull is sign(S_hat - S) sqrt(D(S) - D(S_hat)): (S_hat - S) / error where there are many
    events, and meaningful where S_hat lies at the edge of what the counts allow.

    `injected` events, `mean` and `width` of the pulls, `mean_error` and `width_error` from the
    number of toys.
    """

    injected: FloatArray
    mean: FloatArray
    width: FloatArray
    mean_error: FloatArray
    width_error: FloatArray


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the true signal was covered; arrays (h, k) for k strengths.

    `injected` events; `interval` by the 68.3% profile-likelihood interval, `limit` by the upper
    limit, whose CLs covers more than its level where the signal is weak.
    """

    injected: FloatArray
    interval: FloatArray
    limit: FloatArray


def spurious_signal(
    templates: ArrayLike,
    basis: LogLinearBasis,
    order: int,
    peaks: PeakGrid,
    max_ratio: float = MAX_SPURIOUS,
) -> SpuriousSignal:
    """Fit signal plus background to background-only templates.

    The templates have many more events than the data before they are scaled to them (simulation, a
    control region, or another function fitted to the data), so that their own noise counts little.

    Args:
        templates: (m, b) or (b,) events of background at the luminosity of the data.
        basis: the background family to be tested.
        order: number of its parameters.
        peaks: the hypotheses.
        max_ratio: required |S| / sigma_S.

    Raises:
        InputDataError: templates that do not belong to the bins.
    """
    n = checked_spectra(templates, basis.n_bins)
    model = PeakModel(basis, order, peaks)
    start = model.background(n).coefficients
    row = np.tile(np.arange(n.shape[0]), peaks.size)
    which = np.repeat(np.arange(peaks.size), n.shape[0])
    fits = model.fit(n, row, which, start[row])
    signal = np.ascontiguousarray(fits.signal.reshape(peaks.size, n.shape[0]).T)
    error = np.ascontiguousarray(fits.error.reshape(peaks.size, n.shape[0]).T)
    ratio = signal / error
    return SpuriousSignal(
        signal=signal,
        error=error,
        ratio=ratio,
        largest=np.abs(signal).max(axis=0),
        passed=np.all(np.abs(ratio) < max_ratio, axis=0),
    )


def _injections(
    expected: ArrayLike, basis: LogLinearBasis, order: int, peaks: PeakGrid, sigmas: Sequence[float]
) -> tuple[PeakModel, FloatArray, FloatArray]:
    """Return the model, means (h, k, b) with injected signals, and these in events (h, k)."""
    mu = checked_spectra(expected, basis.n_bins)
    error = spurious_signal(mu, basis, order, peaks).error[0]
    injected = error[:, None] * np.asarray(sigmas, dtype=np.float64)
    model = PeakModel(basis, order, peaks)
    return model, mu[0] + injected[:, :, None] * model.templates()[:, None, :], injected


def injection_linearity(
    rng: np.random.Generator,
    expected: ArrayLike,
    basis: LogLinearBasis,
    order: int,
    peaks: PeakGrid,
    sigmas: Sequence[float] = (0.0, 2.0, 5.0),
    n_toys: int = 500,
) -> Linearity:
    """Inject signals into toys of a background and fit them back.

    Args:
        rng: random numbers.
        expected: (b,) the true background, of the family or of another origin.
        basis: the background family that is fitted.
        order: number of its parameters.
        peaks: the hypotheses, each injected and fitted at its own mass and width.
        sigmas: strengths, in units of the error without signal.
        n_toys: toys of each.
    """
    model, means, injected = _injections(expected, basis, order, peaks, sigmas)
    mean, width = np.empty(injected.shape), np.empty(injected.shape)
    for h, k in np.ndindex(*injected.shape):
        n = rng.poisson(means[h, k], (n_toys, basis.n_bins)).astype(np.float64)
        start = model.background(n).coefficients
        fits = model.fit(n, np.arange(n_toys), np.full(n_toys, h), start)
        true = np.full(n_toys, injected[h, k])
        held = model.fit(n, np.arange(n_toys), np.full(n_toys, h), start, signal=true)
        root = np.sqrt(np.maximum(held.deviance - fits.deviance, 0.0))
        pull = np.sign(fits.signal - true) * root
        mean[h, k], width[h, k] = pull.mean(), pull.std(ddof=1)
    share = 1.0 / np.sqrt(n_toys)
    return Linearity(injected, mean, width, width * share, width * share / np.sqrt(2.0))


def coverage(
    rng: np.random.Generator,
    expected: ArrayLike,
    basis: LogLinearBasis,
    order: int,
    peaks: PeakGrid,
    sigmas: Sequence[float] = (1.0, 3.0),
    level: float = 0.95,
    n_toys: int = 500,
) -> Coverage:
    """Count how often the true signal is covered by the interval and by the CLs limit.

    The limit is the asymptotic one without nuisances; arguments as `injection_linearity`.
    """
    model, means, injected = _injections(expected, basis, order, peaks, sigmas)
    interval, limit = np.empty(injected.shape), np.empty(injected.shape)
    row = np.arange(n_toys)
    for h, k in np.ndindex(*injected.shape):
        n = rng.poisson(means[h, k], (n_toys, basis.n_bins)).astype(np.float64)
        null = model.background(n)
        which, true = np.full(n_toys, h), np.full(n_toys, injected[h, k])
        free = model.fit(n, row, which, null.coefficients)
        held = model.fit(n, row, which, null.coefficients, signal=true).deviance
        interval[h, k] = np.mean(held - free.deviance <= 1.0)
        lowest = np.where(free.signal > 0, free.deviance, null.deviance)
        q = np.where(free.signal > true, 0.0, np.maximum(held - lowest, 0.0))
        asimov = model.fit(null.expected, row, which, null.coefficients, signal=true).deviance
        limit[h, k] = np.mean(cls_asymptotic(q, asimov) >= 1.0 - level)
    return Coverage(injected, interval, limit)
