"""Compiled kernels of the signal-plus-background fits.

The mean of bin i is mu_i = B_i(theta) + y t_i(a) with B_i = sum_q w_qi exp(theta . N_qi) and

    y = S exp(k a_0) + c a_3,    t_i = Gaussian of mean M (1 + s a_1), width G exp(r a_2) in bin i

where a are nuisances with a Gaussian constraint of unit width. Fisher scoring moves theta, a and S
together; S is the last parameter, so that the last pivot of the Cholesky decomposition is 1 / error
of S. A trial step with a mean that is not above 0 is halved, so that S may be negative as far as
the total allows. Nodes are laid out as in the kernels of the background fits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.statistics._jit import jit, jit_fast

__all__ = ["CONVERGED", "EXHAUSTED", "N_NUISANCES", "fill_template", "fit_rows"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

CONVERGED, EXHAUSTED = 0, 2
N_NUISANCES = 4

_MAX_ETA = 600.0
_MAX_ITERATIONS = 200
_MAX_HALVINGS = 60
_LAST_STEP = 2e-6
_SMALL_FALL = 1e-3
# A background that the signal replaces falls to nothing: its steps grow without bound.
_MAX_CHANGE = 5.0
_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0
_ROOT2 = math.sqrt(2.0)
_ROOT2PI = math.sqrt(2.0 * math.pi)


@jit
def _exp_many(x: FloatArray, powers: FloatArray, bits: IntArray) -> None:
    """Replace x by exp(x), |x| <= 600; as in the background kernels, see `_jit.jit`."""
    size = x.size
    for i in range(size):
        powers[i] = x[i] * _LOG2_E + _ROUND
    for i in range(size):
        k = powers[i] - _ROUND
        r = (x[i] - k * _LN2_HIGH) - k * _LN2_LOW
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        x[i] = p * r + 1.0
    for i in range(size):
        bits[i] = (bits[i] + 1023) << 52
    for i in range(size):
        x[i] *= powers[i]


@jit_fast
def _background(
    p: FloatArray,
    k: int,
    nodes: FloatArray,
    weights: FloatArray,
    e: FloatArray,
    powers: FloatArray,
    bits: IntArray,
    out: FloatArray,
) -> None:
    """Fill `e` (4 b,) with weighted densities at the nodes and `out` (b,) with their sums."""
    size = e.size
    n_bins = out.size
    for i in range(size):
        e[i] = p[0] * nodes[0, i]
    for j in range(1, k):
        for i in range(size):
            e[i] += p[j] * nodes[j, i]
    for i in range(size):
        e[i] = min(max(e[i], -_MAX_ETA), _MAX_ETA)
    _exp_many(e, powers, bits)
    for i in range(size):
        e[i] *= weights[i]
    for i in range(n_bins):
        out[i] = (e[i] + e[n_bins + i]) + (e[2 * n_bins + i] + e[3 * n_bins + i])


@jit_fast
def _longest(step: FloatArray, k: int, nodes: FloatArray, change: FloatArray) -> float:
    """Return the largest change of ln B at any node; `change` is work space."""
    for i in range(change.size):
        change[i] = step[0] * nodes[0, i]
    for j in range(1, k):
        for i in range(change.size):
            change[i] += step[j] * nodes[j, i]
    longest = 0.0
    for i in range(change.size):
        longest = max(longest, abs(change[i]))
    return longest


@jit
def fill_template(edges: FloatArray, mass: float, sigma: float, signal: FloatArray) -> None:
    """Fill `signal` (3, b): bin integrals of a Gaussian, derivatives by mass and by ln sigma.

    Differences of the smaller tails: no cancellation far from the peak.
    """
    for i in range(signal.shape[1]):
        a = (edges[i] - mass) / sigma
        b = (edges[i + 1] - mass) / sigma
        if a > 0.0:
            signal[0, i] = 0.5 * (math.erfc(a / _ROOT2) - math.erfc(b / _ROOT2))
        else:
            signal[0, i] = 0.5 * (math.erfc(-b / _ROOT2) - math.erfc(-a / _ROOT2))
        at_a = math.exp(-0.5 * a * a) / _ROOT2PI
        at_b = math.exp(-0.5 * b * b) / _ROOT2PI
        signal[1, i] = (at_a - at_b) / sigma
        signal[2, i] = a * at_a - b * at_b


@jit_fast
def _deviance(n: FloatArray, mu: FloatArray) -> float:
    """Return the Poisson deviance; infinite where a mean is not above 0."""
    total = 0.0
    for i in range(n.size):
        if mu[i] <= 0.0:
            return math.inf
        term = mu[i] - n[i]
        if n[i] > 0.0:
            term += n[i] * math.log(n[i] / mu[i])
        total += term
    return 2.0 * max(total, 0.0)


@jit_fast
def _decompose(fisher: FloatArray, score: FloatArray, m: int, step: FloatArray) -> float:
    """Solve fisher . step = score by Cholesky; return the last pivot (1 / error of the last)."""
    root = 0.0
    for j in range(m):
        pivot = fisher[j, j]
        smallest = 1e-14 * pivot + 1e-290
        for i in range(j):
            pivot -= fisher[j, i] * fisher[j, i]
        root = math.sqrt(max(pivot, smallest))
        fisher[j, j] = root
        for i in range(j + 1, m):
            value = fisher[i, j]
            for q in range(j):
                value -= fisher[i, q] * fisher[j, q]
            fisher[i, j] = value / root
    for j in range(m):
        value = score[j]
        for i in range(j):
            value -= fisher[j, i] * step[i]
        step[j] = value / fisher[j, j]
    for j in range(m - 1, -1, -1):
        value = step[j]
        for i in range(j + 1, m):
            value -= fisher[i, j] * step[i]
        step[j] = value / fisher[j, j]
    return root


@jit_fast
def _information(
    n: FloatArray,
    k: int,
    m: int,
    nodes: FloatArray,
    e: FloatArray,
    mu: FloatArray,
    slopes: FloatArray,
    scaled: FloatArray,
    score: FloatArray,
    fisher: FloatArray,
) -> None:
    """Fill score (m,) and expected information; slopes beyond the k of the background are given."""
    n_bins = mu.size
    for j in range(k):
        for i in range(n_bins):
            slopes[j, i] = (e[i] * nodes[j, i] + e[n_bins + i] * nodes[j, n_bins + i]) + (
                e[2 * n_bins + i] * nodes[j, 2 * n_bins + i]
                + e[3 * n_bins + i] * nodes[j, 3 * n_bins + i]
            )
    for j in range(m):
        total = 0.0
        for i in range(n_bins):
            scaled[i] = slopes[j, i] / mu[i]
            total += scaled[i] * (n[i] - mu[i])
        score[j] = total
        for q in range(j + 1):
            total = 0.0
            for i in range(n_bins):
                total += scaled[i] * slopes[q, i]
            fisher[j, q] = total


@jit
def _signal(
    p: FloatArray,
    k: int,
    peak: FloatArray,
    spread: FloatArray,
    edges: FloatArray,
    signal: FloatArray,
) -> float:
    """Fill `signal` (3, b): t and its derivatives by a_1 and a_2; return the yield y.

    `p` is (theta, a_0..a_3, S), `peak` is (M, G) and `spread` (k, s, r, c). A template that no
    nuisance changes is filled once, by the caller.
    """
    if spread[1] > 0.0 or spread[2] > 0.0:
        mass = peak[0] * max(1.0 + spread[1] * p[k + 1], 0.01)
        sigma = peak[1] * math.exp(min(max(spread[2] * p[k + 2], -20.0), 20.0))
        fill_template(edges, mass, sigma, signal)
        for i in range(signal.shape[1]):
            signal[1, i] *= peak[0] * spread[1]
            signal[2, i] *= spread[2]
    factor = math.exp(min(max(spread[0] * p[k], -20.0), 20.0))
    return float(p[k + 4] * factor + spread[3] * p[k + 3])


@jit
def _total(
    p: FloatArray,
    n: FloatArray,
    k: int,
    bins: tuple[FloatArray, FloatArray, FloatArray],
    peak: FloatArray,
    spread: FloatArray,
    centre: FloatArray,
    by_node: FloatArray,
    bits: IntArray,
    by_bin: FloatArray,
    signal: FloatArray,
) -> tuple[float, float]:
    """Fill the means at `p`; return the constrained deviance and the yield."""
    nodes, weights, edges = bins
    mu, base = by_bin[0], by_bin[2]
    _background(p, k, nodes, weights, by_node[0], by_node[1], bits, base)
    y = _signal(p, k, peak, spread, edges, signal)
    for i in range(n.size):
        mu[i] = base[i] + y * signal[0, i]
    deviance = _deviance(n, mu)
    for j in range(N_NUISANCES):
        deviance += (p[k + j] - centre[j]) ** 2
    return deviance, y


@jit
def _ascend(
    n: FloatArray,
    k: int,
    bins: tuple[FloatArray, FloatArray, FloatArray],
    p: FloatArray,
    fixed: bool,
    peak: FloatArray,
    spread: FloatArray,
    centre: FloatArray,
    by_node: FloatArray,
    bits: IntArray,
    by_bin: FloatArray,
    by_column: FloatArray,
    fisher: FloatArray,
    signal: FloatArray,
) -> tuple[float, float, int]:
    """Move `p` (k + 5,) to the optimum; return the constrained deviance, error of S, status.

    `centre` (4,) are the means of the constraints. Nuisances whose spread is 0 stay at them.
    """
    mu, scaled, slopes = by_bin[0], by_bin[1], by_bin[3:]
    trial, score, step = by_column[0], by_column[1], by_column[2]
    free = np.empty(k + 5, dtype=np.int64)
    m = 0
    for j in range(k + 5):
        if j < k or (j < k + 4 and spread[j - k] > 0.0) or (j == k + 4 and not fixed):
            free[m] = j
            m += 1
    rounding = 1e-9 + 1e-15 * np.sum(n)
    deviance, y = _total(p, n, k, bins, peak, spread, centre, by_node, bits, by_bin, signal)
    error = math.inf
    for _ in range(_MAX_ITERATIONS):
        factor = math.exp(min(max(spread[0] * p[k], -20.0), 20.0))
        for at in range(k, m):
            j = free[at] - k
            if j == 0:
                slopes[at] = (p[k + 4] * factor * spread[0]) * signal[0]
            elif j == 3:
                slopes[at] = spread[3] * signal[0]
            elif j == 4:
                slopes[at] = factor * signal[0]
            else:
                slopes[at] = y * signal[j]
        _information(n, k, m, bins[0], by_node[0], mu, slopes, scaled, score, fisher)
        for at in range(k, m):
            if free[at] < k + 4:
                score[at] -= p[free[at]] - centre[free[at] - k]
                fisher[at, at] += 1.0
        pivot = _decompose(fisher, score, m, step)
        if not fixed:
            error = 1.0 / pivot
        fall = 0.0
        for at in range(m):
            fall += step[at] * score[at]
        scale = _MAX_CHANGE / max(_longest(step, k, bins[0], by_node[1]), _MAX_CHANGE)
        fall *= scale
        new = math.inf
        for _ in range(_MAX_HALVINGS):
            trial[:] = p
            for at in range(m):
                trial[free[at]] += scale * step[at]
            new, y = _total(trial, n, k, bins, peak, spread, centre, by_node, bits, by_bin, signal)
            if new <= deviance + rounding:
                break
            scale *= 0.5
        if not new <= deviance + rounding:
            return deviance, error, CONVERGED if fall < _SMALL_FALL else EXHAUSTED
        p[:] = trial
        deviance = new
        if fall < _LAST_STEP:
            return deviance, error, CONVERGED
    return deviance, error, EXHAUSTED


@jit
def fit_rows(
    counts: FloatArray,
    row: IntArray,
    bins: tuple[FloatArray, FloatArray, FloatArray],
    peaks: FloatArray,
    which: IntArray,
    spreads: FloatArray,
    centres: FloatArray,
    fixed: bool,
    p: FloatArray,
    deviance: FloatArray,
    error: FloatArray,
    status: IntArray,
) -> None:
    """Fit rows of `counts` (t, b) with `peaks` (h, 2) and their `spreads` (h, 4) of nuisances.

    Fit r takes counts `row[r]` and peak `which[r]`; `p` (r, k + 5) starts, then ends, and `centres`
    (r, 4) or (1, 4) are the means of its constraints; `fixed` holds S where it starts. `bins` are
    nodes (k, 4 b), weights (4 b,) and edges (b + 1,).
    """
    k = bins[0].shape[0]
    n_bins = counts.shape[1]
    by_node = np.empty((2, bins[1].size))
    bits = by_node[1].view(np.int64)
    by_bin = np.empty((k + 8, n_bins))
    by_column = np.empty((3, k + 5))
    fisher = np.empty((k + 5, k + 5))
    signal = np.empty((3, n_bins))
    filled = -1
    for r in range(row.size):
        h = which[r]
        if h != filled:
            fill_template(bins[2], peaks[h, 0], peaks[h, 1], signal)
            filled = h if spreads[h, 1] == 0.0 and spreads[h, 2] == 0.0 else -1
        deviance[r], error[r], status[r] = _ascend(
            counts[row[r]],
            k,
            bins,
            p[r],
            fixed,
            peaks[h],
            spreads[h],
            centres[r if centres.shape[0] > 1 else 0],
            by_node,
            bits,
            by_bin,
            by_column,
            fisher,
            signal,
        )
