"""CLs limits from toys, for peaks over so few events that the asymptotic formulae fail.

For some signals S toys of both hypotheses are drawn from the fits to the data, with the constraints
of the nuisances drawn about their fitted values, and fitted as the data are. All toys serve both
hypotheses, weighted by P(toy | hypothesis) over the mean of the two (the balance heuristic of E.
Veach, L. Guibas, SIGGRAPH 1995), so that a tail of the one is known from the toys of the other.
CLs is interpolated to the level in its logarithm.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.inference._kernels import N_NUISANCES
from bumpscout_tools.inference.likelihood import PeakLikelihood

__all__ = ["toy_limit"]

FloatArray = NDArray[np.float64]

_BANDS = (-2, -1, 0, 1, 2)
_POINTS = 9
_MAX_EXTENSIONS = 6
_SAME = 1e-6


def toy_limit(
    rng: np.random.Generator,
    likelihood: PeakLikelihood,
    peak: int,
    alpha: float,
    observed: float,
    expected: FloatArray,
    n_toys: int,
) -> tuple[float, FloatArray]:
    """Return the observed limit and the expected ones (5,) on one peak, in events.

    Args:
        rng: random numbers.
        likelihood: fits to the data.
        peak: index of the hypothesis.
        alpha: 1 - confidence level.
        observed: the asymptotic limit, which says where to look.
        expected: (5,) the asymptotic ones.
        n_toys: toys of each hypothesis and signal.
    """
    acceptance = max(float(likelihood.model.templates()[peak].sum()), 1e-3)
    # No limit lies below that of no event on no background.
    least = -math.log(alpha) / acceptance
    low = 0.4 * min(observed, float(expected[0]), least)
    high = 1.3 * max(observed, float(expected[-1]), least)
    background = _Toys(rng, likelihood, peak, likelihood.null.parameters[peak], n_toys)
    points: list[float] = []
    table: list[FloatArray] = []
    for extension in range(_MAX_EXTENSIONS):
        top = high * 1.6**extension
        new = np.linspace(low, high, _POINTS) if extension == 0 else np.array([top])
        for signal in new:
            points.append(float(signal))
            table.append(_log_cls(rng, likelihood, peak, float(signal), background, n_toys))
        if np.all(table[-1] < math.log(alpha)):
            break
    # Counting makes CLs fall unevenly: the limit is where it has crossed the level for good.
    fall = np.maximum.accumulate(np.array(table)[::-1], axis=0)[::-1]
    found = np.array([_crossing(np.array(points), column, math.log(alpha)) for column in fall.T])
    return float(found[0]), found[1:]


def _crossing(points: FloatArray, values: FloatArray, level: float) -> float:
    """Return where falling values cross a level; the last point where they do not."""
    below = np.flatnonzero(values < level)
    if below.size == 0:
        return float(points[-1])
    at = int(below[0])
    left = (0.0, 0.0) if at == 0 else (float(points[at - 1]), float(values[at - 1]))
    part = (level - left[1]) / (float(values[at]) - left[1])
    return left[0] + part * (float(points[at]) - left[0])


class _Toys:
    """Toys of one hypothesis: counts, constraints, and their fits with S free and S = 0."""

    def __init__(
        self,
        rng: np.random.Generator,
        likelihood: PeakLikelihood,
        peak: int,
        parameters: FloatArray,
        n: int,
    ) -> None:
        self._model = likelihood.model
        k = self._model.order
        every = likelihood.null.parameters.copy()
        every[peak] = parameters
        self.mean = likelihood.means(every)[peak]
        self.counts: FloatArray = rng.poisson(self.mean, (n, self.mean.size)).astype(np.float64)
        self._row = np.arange(n)
        self._which = np.full(n, peak)
        self._start = np.tile(parameters, (n, 1))
        self.active = self._model.nuisances.spreads(self._model.peaks.size)[peak] > 0
        self.centre = parameters[k : k + N_NUISANCES]
        self.centres = self.centre + rng.standard_normal((n, N_NUISANCES)) * self.active
        free = self._model.fit(
            self.counts, self._row, self._which, self._start, centres=self.centres
        )
        self._best = free.signal
        self._lowest = np.where(free.signal > 0, free.deviance, self._held(0.0))

    def _held(self, signal: float) -> FloatArray:
        at = np.full(self._row.size, signal)
        return self._model.fit(
            self.counts, self._row, self._which, self._start, signal=at, centres=self.centres
        ).deviance

    def q_tilde(self, signal: float) -> FloatArray:
        """Return qtilde of each toy at one signal."""
        q = np.maximum(self._held(signal) - self._lowest, 0.0)
        return np.where(self._best > signal, 0.0, q)

    def log_ratio(self, of: _Toys, to: _Toys) -> FloatArray:
        """Return ln P(toy | of) - ln P(toy | to) for the toys of this object."""
        counts = self.counts @ np.log(of.mean / to.mean) - float((of.mean - to.mean).sum())
        far = (self.centres - of.centre) ** 2 - (self.centres - to.centre) ** 2
        ratio: FloatArray = counts - 0.5 * (far * self.active).sum(axis=1)
        return ratio


def _log_cls(
    rng: np.random.Generator,
    likelihood: PeakLikelihood,
    peak: int,
    signal: float,
    background: _Toys,
    n: int,
) -> FloatArray:
    """Return ln CLs of the data and of the expected bands, (6,)."""
    held = likelihood.model.fit(
        likelihood.counts,
        np.zeros(1, dtype=np.int64),
        np.array([peak]),
        likelihood.null.parameters[peak : peak + 1],
        signal=np.array([signal]),
    )
    both = _Toys(rng, likelihood, peak, held.parameters[0], n)
    without = background.q_tilde(signal)
    q_toys = np.concatenate([both.q_tilde(signal), without])
    ratio = np.concatenate([toys.log_ratio(both, background) for toys in (both, background)])
    weight_signal, weight_background = special.expit(ratio), special.expit(-ratio)
    signals = np.zeros(likelihood.model.peaks.size)
    signals[peak] = signal
    observed = float(likelihood.q_tilde(signals)[peak])
    # A background that fluctuates up by N sigma is less signal-unlike: a smaller q.
    tails = 1.0 - special.ndtr(np.array(_BANDS, dtype=np.float64))
    q = np.concatenate([[observed], np.quantile(without, tails, method="inverted_cdf")])
    reached = q_toys >= q[:, None] - _SAME
    top = reached @ weight_signal
    low = reached @ weight_background
    # Data beyond every toy are as extreme as the most extreme of them.
    out: FloatArray = np.log(np.maximum(top, 1e-12) / np.maximum(low, 1e-12))
    return out
