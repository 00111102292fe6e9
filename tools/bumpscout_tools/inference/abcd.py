"""CLs limits and significances of an ABCD measurement, asymptotic or from toys.

The model is that of `bumpscout_tools.background.abcd`, with the yield of the signal uncertain too::

    N_A ~ Poisson(b_B b_C / b_D (1 + c)^k + S (1 + u)^l)     N_R ~ Poisson(b_R + f_R S (1 + u)^l)

for R = B, C, D, with k and l standard normal nuisances. All four regions are fitted for each S. The
test statistics are those of `limits` (arXiv:1007.1727): q0 for the discovery, qtilde for the limit.
Where a region holds few events their distributions come from toys, of counts and of the constraints
of both nuisances about their fitted values; both hypotheses share their toys by weight, as in
`toy_limits`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.background.abcd import SIGNAL_IN_A, Abcd, checked_abcd
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference._roots import rising_roots
from bumpscout_tools.inference.limits import BANDS, TOYS_BELOW_EVENTS, cls_asymptotic
from bumpscout_tools.statistics import p_from_z, toy_p_value

__all__ = ["AbcdLimit", "AbcdModel", "abcd_limit"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_LEAST, _MOST = -14.0, 45.0
_ITERATIONS = 200
_LAST_FALL = 1e-9
_POINTS = 12
_EXTENSIONS = 8
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class AbcdLimit:
    """The limit on the signal in A, and the significance of its excess.

    `observed` and `expected` (5,) at -2..2 standard deviations, in events in A; `discovery_3` and
    `discovery_5` the signals whose median significance is 3 and 5 sigma; `p` of the excess with
    its 68% interval, (k + 1) / (n + 1) from toys; `method` of p and limit.
    """

    level: float
    observed: float
    expected: FloatArray
    discovery_3: float
    discovery_5: float
    p: float
    p_low: float
    p_high: float
    method: Literal["asymptotic", "toys"]
    n_toys: int


class _Fits(NamedTuple):
    """`deviance` (t,) with the constraints, `signal` (t,), `x` (t, 5) the other parameters."""

    deviance: FloatArray
    signal: FloatArray
    x: FloatArray


@dataclass(frozen=True)
class AbcdModel:
    """Signal `fractions` relative to A, and the relative uncertainties of closure and of yield."""

    fractions: Abcd = SIGNAL_IN_A
    closure: float = 0.0
    yield_uncertainty: float = 0.0

    def __post_init__(self) -> None:
        """Check.

        Raises:
            ConfigurationError: fractions that are not 1 in A and >= 0 elsewhere, or uncertainties
                outside 0..1 (of the closure: below 0).
        """
        f = np.array(self.fractions, dtype=np.float64)
        fine = f[0] == 1.0 and np.all((f >= 0) & np.isfinite(f))
        if not fine or not 0 <= self.closure < np.inf or not 0 <= self.yield_uncertainty < 1:
            raise ConfigurationError(
                "An ABCD limit needs a signal of 1 in A and >= 0 elsewhere, a closure uncertainty "
                f">= 0 and one of the yield between 0 and 1, not {self.fractions}, "
                f"{self.closure:g} and {self.yield_uncertainty:g}."
            )

    @property
    def _scales(self) -> FloatArray:
        scales: FloatArray = np.log1p(np.array([self.closure, self.yield_uncertainty]))
        return scales

    def means(self, x: FloatArray, signal: FloatArray) -> FloatArray:
        """Return means (t, 4) of A, B, C, D at parameters x (t, 5) and signals (t,)."""
        return self._background(x) + self._signal(x, signal)

    def _background(self, x: FloatArray) -> FloatArray:
        b = np.empty((x.shape[0], 4))
        b[:, 0] = x[:, 0] + x[:, 1] - x[:, 2] + self._scales[0] * x[:, 3]
        b[:, 1:] = x[:, :3]
        means: FloatArray = np.exp(np.clip(b, 3 * _LEAST, 2 * _MOST))
        return means

    def _signal(self, x: FloatArray, signal: FloatArray) -> FloatArray:
        factor = signal * np.exp(self._scales[1] * x[:, 4])
        means: FloatArray = factor[:, None] * np.array(self.fractions)
        return means

    def fit(
        self,
        counts: FloatArray,
        signal: FloatArray | None = None,
        centres: FloatArray | None = None,
    ) -> _Fits:
        """Fit many counts (t, 4) by damped Fisher scoring, with S held or with any S >= 0.

        Args:
            counts: (t, 4) events in A, B, C, D.
            signal: (t,) events at which S is held; None fits it.
            centres: (t, 2) means of the constraints of closure and yield; None for 0.
        """
        rows = counts.shape[0]
        middle = np.zeros((rows, 2)) if centres is None else centres
        x = np.zeros((rows, 5))
        held = signal is not None
        s = np.zeros(rows) if signal is None else signal.astype(np.float64)
        # Starting from what the signal leaves of the control regions.
        left = counts[:, 1:] - s[:, None] * np.array(self.fractions)[1:]
        x[:, :3] = np.log(np.maximum(left, 0.3))
        x[:, 3:] = middle
        if not held:
            naive = np.exp(np.clip(x[:, 0] + x[:, 1] - x[:, 2], None, _MOST))
            s = np.maximum(counts[:, 0] - naive, 0.0)
        deviance = self._deviance(counts, x, s, middle)
        damping = np.full(rows, 1e-3)
        active = np.ones(rows, dtype=np.bool_)
        for _ in range(_ITERATIONS):
            at = np.flatnonzero(active)
            if at.size == 0:
                break
            step = self._step(counts[at], x[at], s[at], middle[at], damping[at], held)
            y = np.clip(x[at] + step[:, :5], _LEAST, _MOST)
            s_new = np.maximum(s[at] + step[:, 5], 0.0)
            new = self._deviance(counts[at], y, s_new, middle[at])
            better = new < deviance[at]
            fall = np.where(better, deviance[at] - new, np.inf)
            take = at[better]
            x[take], s[take], deviance[take] = y[better], s_new[better], new[better]
            damping[at] = np.where(better, 0.2 * damping[at], 6.0 * damping[at])
            done = np.where(better, (fall < _LAST_FALL) & (damping[at] < 1e-2), damping[at] > 1e9)
            active[at] = ~done
        return _Fits(deviance, s, x)

    def _deviance(
        self, n: FloatArray, x: FloatArray, signal: FloatArray, centres: FloatArray
    ) -> FloatArray:
        mu = np.maximum(self.means(x, signal), 1e-300)
        terms = mu - n + special.xlogy(n, np.where(n > 0, n, 1.0) / mu)
        total: FloatArray = 2.0 * terms.sum(axis=1) + ((x[:, 3:] - centres) ** 2).sum(axis=1)
        return total

    def _step(
        self,
        n: FloatArray,
        x: FloatArray,
        signal: FloatArray,
        centres: FloatArray,
        damping: FloatArray,
        held: bool,
    ) -> FloatArray:
        """Return the steps (t, 6) of the five parameters and of S (Levenberg, Marquardt)."""
        b, y = self._background(x), self._signal(x, signal)
        mu = np.maximum(b + y, 1e-300)
        slopes = np.zeros((n.shape[0], 6, 4))
        for j, sign in enumerate((1.0, 1.0, -1.0)):
            slopes[:, j, 0] = sign * b[:, 0]
            slopes[:, j, 1 + j] = b[:, 1 + j]
        slopes[:, 3, 0] = self._scales[0] * b[:, 0]
        slopes[:, 4] = self._scales[1] * y
        slopes[:, 5] = np.exp(self._scales[1] * x[:, 4])[:, None] * np.array(self.fractions)
        score = (slopes * ((n - mu) / mu)[:, None, :]).sum(axis=2)
        score[:, 3:5] -= x[:, 3:] - centres
        fisher = (slopes / mu[:, None, :]) @ slopes.transpose(0, 2, 1)
        fisher[:, 3, 3] += 1.0
        fisher[:, 4, 4] += 1.0
        fixed = np.ones(n.shape[0], dtype=np.bool_) if held else (signal <= 0) & (score[:, 5] <= 0)
        fisher[fixed, 5, :] = 0.0
        fisher[fixed, :, 5] = 0.0
        fisher[fixed, 5, 5] = 1.0
        score[fixed, 5] = 0.0
        diagonal = np.einsum("tii->ti", fisher)
        diagonal += damping[:, None] * diagonal + 1e-12
        step: FloatArray = np.linalg.solve(fisher, score[:, :, None])[:, :, 0]
        step[:, :5] = np.clip(step[:, :5], -3.0, 3.0)
        return step


def abcd_limit(
    counts: Abcd,
    model: AbcdModel,
    level: float = 0.95,
    *,
    rng: np.random.Generator | None = None,
    n_toys: int = 10_000,
) -> AbcdLimit:
    """Set an upper limit on the signal in A, and measure the significance of its excess.

    Args:
        counts: events in A, B, C and D.
        model: signal and uncertainties.
        level: confidence level of the limit.
        rng: random numbers for toys, which are used where fewer than 5 events are expected in A or
            observed in B, C or D; None uses the asymptotic formulae everywhere.
        n_toys: toys of each hypothesis.

    Raises:
        ConfigurationError: a level outside 0.5..1.
        InputDataError: counts that are no whole numbers, or nothing in B, C and D.
    """
    if not 0.5 <= level < 1:
        raise ConfigurationError(f"A confidence level lies between 0.5 and 1, not {level}.")
    n = checked_abcd(counts)[None, :]
    alpha = 1.0 - level
    null = model.fit(n, np.zeros(1))
    free = model.fit(n)
    asimov = model.means(null.x, np.zeros(1))
    centres = null.x[:, 3:]
    scale = np.array([math.sqrt(float(n.sum()) + 1.0)])

    def q_of(signal: FloatArray) -> FloatArray:
        q = np.maximum(model.fit(n, signal).deviance - free.deviance, 0.0)
        return np.where(free.signal > signal, 0.0, q)

    def q_asimov(signal: FloatArray) -> FloatArray:
        return np.maximum(model.fit(asimov, signal, centres).deviance, 0.0)

    def excluded(signal: FloatArray) -> FloatArray:
        cls = cls_asymptotic(q_of(signal), q_asimov(signal))
        return math.log(alpha) - np.log(np.maximum(cls, 1e-300))

    def needed_for(z: float) -> float:
        return float(rising_roots(lambda s: np.sqrt(q_asimov(s)) - z, np.zeros(1), z * scale)[0])

    def discovery(z: float) -> float:
        def short(signal: FloatArray) -> FloatArray:
            toys = model.means(null.x, signal)
            return np.sqrt(np.maximum(model.fit(toys, 0 * signal, centres).deviance, 0.0)) - z

        return float(rising_roots(short, np.zeros(1), z * scale)[0])

    observed = float(rising_roots(excluded, free.signal, free.signal + 2.0 * scale)[0])
    expected = np.array(
        [needed_for(N - float(special.ndtri(alpha * float(special.ndtr(N))))) for N in BANDS]
    )
    q0 = max(float(null.deviance[0] - free.deviance[0]), 0.0)
    p = float(p_from_z(math.sqrt(q0)))
    p_low = p_high = p
    few = min(float(asimov[0, 0]), float(n[0, 1:].min())) < TOYS_BELOW_EVENTS
    used = rng is not None and few
    if rng is not None and used:
        background = _Toys(rng, model, null.x[0], 0.0, n_toys)
        reached = int(np.count_nonzero(background.q0() >= q0 - _SAME))
        p, p_low, p_high = toy_p_value(reached, n_toys)
        observed, expected = _toy_limit(rng, model, n, free, background, alpha, observed, expected)
    return AbcdLimit(
        level=level,
        observed=observed,
        expected=expected,
        discovery_3=discovery(3.0),
        discovery_5=discovery(5.0),
        p=p,
        p_low=p_low,
        p_high=p_high,
        method="toys" if used else "asymptotic",
        n_toys=n_toys if used else 0,
    )


class _Toys:
    """Toys of one hypothesis, counts and constraints, with their fits."""

    def __init__(
        self, rng: np.random.Generator, model: AbcdModel, x: FloatArray, signal: float, n: int
    ) -> None:
        self._model = model
        self.mean = model.means(x[None, :], np.array([signal]))[0]
        self.centre = x[3:]
        self.active = np.array([model.closure, model.yield_uncertainty]) > 0
        self.counts = rng.poisson(self.mean, (n, 4)).astype(np.float64)
        self.centres = self.centre + rng.standard_normal((n, 2)) * self.active
        self._free = model.fit(self.counts, None, self.centres)

    def q0(self) -> FloatArray:
        """Return q0 of each toy."""
        q: FloatArray = np.maximum(self._held(0.0) - self._free.deviance, 0.0)
        return q

    def q_tilde(self, signal: float) -> FloatArray:
        """Return qtilde of each toy at one signal."""
        q = np.maximum(self._held(signal) - self._free.deviance, 0.0)
        return np.where(self._free.signal > signal, 0.0, q)

    def _held(self, signal: float) -> FloatArray:
        at = np.full(self.counts.shape[0], signal)
        return self._model.fit(self.counts, at, self.centres).deviance

    def log_ratio(self, of: _Toys, to: _Toys) -> FloatArray:
        """Return ln P(toy | of) - ln P(toy | to) for the toys of this object."""
        counts = self.counts @ np.log(of.mean / to.mean) - float((of.mean - to.mean).sum())
        far = (self.centres - of.centre) ** 2 - (self.centres - to.centre) ** 2
        ratio: FloatArray = counts - 0.5 * (far * self.active).sum(axis=1)
        return ratio


def _toy_limit(
    rng: np.random.Generator,
    model: AbcdModel,
    n: FloatArray,
    free: _Fits,
    background: _Toys,
    alpha: float,
    observed: float,
    expected: FloatArray,
) -> tuple[float, FloatArray]:
    """Return the observed and the expected limits (5,) where CLs from toys crosses the level."""
    n_toys = background.counts.shape[0]
    low = 0.3 * min(observed, float(expected[0]), -math.log(alpha))
    high = 1.4 * max(observed, float(expected[-1]), -math.log(alpha))
    tails = 1.0 - special.ndtr(np.array(BANDS, dtype=np.float64))
    points, table = [0.0], [np.zeros(1 + len(BANDS))]

    def look(signal: float) -> None:
        held = model.fit(n, np.array([signal]))
        both = _Toys(rng, model, held.x[0], signal, n_toys)
        without = background.q_tilde(signal)
        q_toys = np.concatenate([both.q_tilde(signal), without])
        ratio = np.concatenate([toys.log_ratio(both, background) for toys in (both, background)])
        seen = max(float(held.deviance[0] - free.deviance[0]), 0.0)
        q_data = 0.0 if float(free.signal[0]) > signal else seen
        q = np.append(q_data, np.quantile(without, tails, method="inverted_cdf"))
        reached = q_toys >= q[:, None] - _SAME
        top, bottom = reached @ special.expit(ratio), reached @ special.expit(-ratio)
        points.append(signal)
        table.append(np.log(np.maximum(top, 1e-12) / np.maximum(bottom, 1e-12)))

    for signal in np.geomspace(low, high, _POINTS):
        look(float(signal))
    for _ in range(_EXTENSIONS):
        if np.all(table[-1] < math.log(alpha)):
            break
        look(points[-1] * 1.5)
    # Counting makes CLs fall unevenly: the limit is where it has crossed the level for good.
    fall = np.maximum.accumulate(np.array(table)[::-1], axis=0)[::-1]
    at = np.array([_crossing(np.array(points), column, math.log(alpha)) for column in fall.T])
    # Bands that lie closer than the toys resolve keep their order.
    return float(at[0]), np.maximum.accumulate(at[1:])


def _crossing(points: FloatArray, values: FloatArray, level: float) -> float:
    below = np.flatnonzero(values < level)
    if below.size == 0:
        return float(points[-1])
    k = int(below[0])
    part = (level - values[k - 1]) / (values[k] - values[k - 1])
    return float(points[k - 1] + part * (points[k] - points[k - 1]))
