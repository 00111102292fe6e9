"""Compiled kernels of the background fits: Fisher scoring, and the choice of the order.

One spectrum needs microseconds: the mean of bin i is sum_q w_qi exp(theta . B_qi), its
derivatives follow from the same exponentials, and the information matrix is at most 6 x 6. Nodes
are laid out as (columns, 4 b) with the bins innermost, so that loops become vector instructions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.statistics._jit import jit, jit_fast

__all__ = ["AT_LIMIT", "CONVERGED", "EMPTY", "EXHAUSTED", "select_batch"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONVERGED, AT_LIMIT, EXHAUSTED, EMPTY = 0, 1, 2, 3

_MAX_ETA = 600.0
_MAX_ITERATIONS = 200
_MAX_HALVINGS = 40
# Expected fall of the deviance at which one more full step is the last: Fisher scoring converges
# nearly quadratically here, so the remaining distance is far below this.
_LAST_STEP = 1e-5
# A last step that still changes ln f by this much somewhere in the fitted bins comes from an
# optimum that is far away or at infinity: there each step gains less but is as long as the one
# before. The two are told apart by going on until the gain is this small.
_LONG_STEP = 0.25
_LAST_LONG_STEP = 1e-9

# Events in the mean bin from which a fit starts at least squares in all columns.
_MANY_EVENTS = 300.0
# Where a step had to be cut below this share of its length, the next one gets a larger ridge.
_SHORT_STEP = 1e-2
_LEAST_RIDGE, _NO_RIDGE = 1e-8, 1e-12

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
# Adding 1.5 * 2^52 rounds to a whole number, which then stands in the lowest bits.
_ROUND = 6755399441055744.0


@jit
def _exp_many(x: FloatArray, powers: FloatArray, bits: IntArray) -> None:
    """Replace x by exp(x), |x| <= 600, to 2 units in the last place; the loops are vectors.

    `powers` and `bits` are work space, two views of the same memory.
    """
    size = x.size
    for i in range(size):
        powers[i] = x[i] * _LOG2_E + _ROUND
    for i in range(size):
        k = powers[i] - _ROUND
        r = (x[i] - k * _LN2_HIGH) - k * _LN2_LOW
        # Taylor's series to order 13 for |r| < ln(2) / 2.
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
def _means(
    theta: FloatArray,
    k: int,
    nodes: FloatArray,
    weights: FloatArray,
    e: FloatArray,
    powers: FloatArray,
    bits: IntArray,
    mu: FloatArray,
) -> None:
    """Fill `e` (4 b,) with weighted densities at the nodes and `mu` (b,) with the bin means."""
    size = e.size
    n_bins = mu.size
    for i in range(size):
        e[i] = theta[0] * nodes[0, i]
    for j in range(1, k):
        for i in range(size):
            e[i] += theta[j] * nodes[j, i]
    for i in range(size):
        e[i] = min(max(e[i], -_MAX_ETA), _MAX_ETA)
    _exp_many(e, powers, bits)
    for i in range(size):
        e[i] *= weights[i]
    for i in range(n_bins):
        mu[i] = (e[i] + e[n_bins + i]) + (e[2 * n_bins + i] + e[3 * n_bins + i])


@jit_fast
def _deviance(n: FloatArray, mu: FloatArray) -> float:
    total = 0.0
    for i in range(n.size):
        term = mu[i] - n[i]
        if n[i] > 0.0:
            term += n[i] * math.log(n[i] / mu[i])
        total += term
    return 2.0 * max(total, 0.0)


@jit_fast
def _information(
    n: FloatArray,
    k: int,
    nodes: FloatArray,
    e: FloatArray,
    mu: FloatArray,
    slopes: FloatArray,
    scaled: FloatArray,
    score: FloatArray,
    fisher: FloatArray,
) -> None:
    """Fill the score (k,) and the expected information (k, k) of the log-likelihood."""
    n_bins = mu.size
    for j in range(k):
        for i in range(n_bins):
            slopes[j, i] = (e[i] * nodes[j, i] + e[n_bins + i] * nodes[j, n_bins + i]) + (
                e[2 * n_bins + i] * nodes[j, 2 * n_bins + i]
                + e[3 * n_bins + i] * nodes[j, 3 * n_bins + i]
            )
    for j in range(k):
        total = 0.0
        for i in range(n_bins):
            scaled[i] = slopes[j, i] / mu[i]
            total += scaled[i] * (n[i] - mu[i])
        score[j] = total
        for m in range(j + 1):
            total = 0.0
            for i in range(n_bins):
                total += scaled[i] * slopes[m, i]
            fisher[j, m] = total


@jit_fast
def _solve(fisher: FloatArray, score: FloatArray, k: int, step: FloatArray) -> None:
    """Solve fisher . step = score by Cholesky; overwrites the lower triangle of `fisher`."""
    for j in range(k):
        pivot = fisher[j, j]
        smallest = 1e-14 * pivot + 1e-290
        for m in range(j):
            pivot -= fisher[j, m] * fisher[j, m]
        root = math.sqrt(max(pivot, smallest))
        fisher[j, j] = root
        for i in range(j + 1, k):
            value = fisher[i, j]
            for m in range(j):
                value -= fisher[i, m] * fisher[j, m]
            fisher[i, j] = value / root
    for j in range(k):
        value = score[j]
        for m in range(j):
            value -= fisher[j, m] * step[m]
        step[j] = value / fisher[j, j]
    for j in range(k - 1, -1, -1):
        value = step[j]
        for m in range(j + 1, k):
            value -= fisher[m, j] * step[m]
        step[j] = value / fisher[j, j]


@jit_fast
def _longest(step: FloatArray, k: int, nodes: FloatArray, change: FloatArray) -> float:
    """Return the largest change of ln f at any node; `change` is work space."""
    for i in range(change.size):
        change[i] = step[0] * nodes[0, i]
    for j in range(1, k):
        for i in range(change.size):
            change[i] += step[j] * nodes[j, i]
    longest = 0.0
    for i in range(change.size):
        longest = max(longest, abs(change[i]))
    return longest


@jit_fast
def _start(
    n: FloatArray,
    k: int,
    nodes: FloatArray,
    weights: FloatArray,
    score: FloatArray,
    fisher: FloatArray,
    theta: FloatArray,
) -> None:
    """Fill `theta` with the least-squares fit to ln((n + 1/2) / width), weighted by n + 1/2."""
    n_bins = n.size
    theta[:] = 0.0
    score[:k] = 0.0
    fisher[:k, :k] = 0.0
    for i in range(n_bins):
        width = (weights[i] + weights[n_bins + i]) * 2.0
        weight = n[i] + 0.5
        target = math.log(weight / width)
        for j in range(k):
            column = 0.5 * (nodes[j, n_bins + i] + nodes[j, 2 * n_bins + i])
            score[j] += weight * column * target
            for m in range(j + 1):
                other = 0.5 * (nodes[m, n_bins + i] + nodes[m, 2 * n_bins + i])
                fisher[j, m] += weight * column * other
    _solve(fisher, score, k, theta)


@jit_fast
def _ascend(
    n: FloatArray,
    k: int,
    nodes: FloatArray,
    weights: FloatArray,
    theta: FloatArray,
    by_node: FloatArray,
    bits: IntArray,
    by_bin: FloatArray,
    by_column: FloatArray,
    fisher: FloatArray,
) -> tuple[float, int]:
    """Move `theta` to the optimum of order k; return the deviance and the status.

    Work space: `by_node` (2, 4 b) with `bits` as the integers of its second row, `by_bin`
    (columns + 2, b), `by_column` (3, columns), `fisher` (columns, columns).
    """
    e, powers = by_node[0], by_node[1]
    mu, scaled, slopes = by_bin[0], by_bin[1], by_bin[2:]
    trial, score, step = by_column[0], by_column[1], by_column[2]
    _means(theta, k, nodes, weights, e, powers, bits, mu)
    deviance = _deviance(n, mu)
    rounding = 1e-9 + 1e-15 * np.sum(n)
    # Far out, where whole parts of the spectrum expect nothing, the information is singular and its
    # step useless: a ridge on the diagonal (Levenberg, Marquardt) turns it until it gains again.
    ridge = 0.0
    for _ in range(_MAX_ITERATIONS):
        _information(n, k, nodes, e, mu, slopes, scaled, score, fisher)
        for j in range(k):
            fisher[j, j] *= 1.0 + ridge
        _solve(fisher, score, k, step)
        fall = 0.0
        for j in range(k):
            fall += step[j] * score[j]
        scale = 1.0
        accepted = False
        new = deviance
        for _ in range(_MAX_HALVINGS):
            for j in range(k):
                trial[j] = theta[j] + scale * step[j]
            _means(trial, k, nodes, weights, e, powers, bits, mu)
            new = _deviance(n, mu)
            if new <= deviance + rounding:
                accepted = True
                break
            scale *= 0.5
        if not accepted or scale < _SHORT_STEP:
            ridge = max(1e2 * ridge, _LEAST_RIDGE)
            if not accepted:
                if ridge > 1.0:
                    break
                continue
        else:
            ridge *= 1e-2
        for j in range(k):
            theta[j] = trial[j]
        deviance = new
        if fall < _LAST_STEP and ridge < _NO_RIDGE:
            if _longest(step, k, nodes, powers) < _LONG_STEP:
                return deviance, CONVERGED
            if fall < _LAST_LONG_STEP:
                return deviance, AT_LIMIT
    # Where ln f has left the range of numbers at some node, it was on its way to infinity.
    if _longest(theta, k, nodes, powers) > _MAX_ETA:
        return deviance, AT_LIMIT
    return deviance, EXHAUSTED


@jit
def _gather(counts: FloatArray, t: int, used: IntArray, n: FloatArray) -> float:
    """Fill `n` with the counts of the used bins of row t; return their sum."""
    total = 0.0
    for i in range(used.size):
        n[i] = counts[t, used[i]]
        total += n[i]
    return total


@jit
def select_batch(
    counts: FloatArray,
    used: IntArray,
    nodes: FloatArray,
    weights: FloatArray,
    all_nodes: FloatArray,
    all_weights: FloatArray,
    orders: IntArray,
    needed: FloatArray,
    complete: bool,
    coefficients: FloatArray,
    deviance: FloatArray,
    status: IntArray,
    taken: IntArray,
    expected: FloatArray,
) -> None:
    """Choose an order for each row of `counts` (t, b); fill the outputs.

    `needed[a, c]` is the fall of the deviance that takes index c from index a of `orders`. The
    orders are nested, so the largest one bounds what any other can gain: where even its fall is
    below the least needed, the lowest order is kept, and those between are fitted only if
    `complete`. Outputs for each order: `coefficients` (t, orders, columns), `deviance` and
    `status` (t, orders), NaN and EXHAUSTED where not fitted; `taken` (t,) is the index chosen and
    `expected` (t, b) its prediction.
    """
    n_orders = orders.size
    n = np.empty(used.size)
    by_node = np.empty((2, weights.size))
    all_by_node = np.empty((2, all_weights.size))
    bits = by_node[1].view(np.int64)
    all_bits = all_by_node[1].view(np.int64)
    by_bin = np.empty((orders[-1] + 2, used.size))
    by_column = np.empty((3, orders[-1]))
    fisher = np.empty((orders[-1], orders[-1]))
    least_needed = math.inf
    for c in range(1, n_orders):
        least_needed = min(least_needed, needed[0, c])
    for t in range(counts.shape[0]):
        theta = coefficients[t]
        taken[t] = 0
        total = _gather(counts, t, used, n)
        if total == 0.0:
            theta[:, :] = 0.0
            theta[:, 0] = -math.inf
            deviance[t, :] = 0.0
            status[t, :] = EMPTY
            expected[t, :] = 0.0
            continue
        theta[:, :] = 0.0
        deviance[t, :] = math.nan
        status[t, :] = EXHAUSTED
        # With many events least squares come close in all columns, with few in the first two only.
        many = total > _MANY_EVENTS * used.size
        near = orders[0] if many else min(orders[0], 2)
        _start(n, near, nodes, weights, by_column[1], fisher, theta[0])
        settled = False
        # The lowest order first, then the largest, then those between where they can matter.
        for position in range(n_orders):
            c = n_orders - 1 if position == 1 else max(position - 1, 0)
            if position == 1 and many:
                _start(n, orders[c], nodes, weights, by_column[1], fisher, theta[c])
            elif position > 0:
                theta[c, :] = theta[0 if position == 1 else c - 1]
            deviance[t, c], status[t, c] = _ascend(
                n, orders[c], nodes, weights, theta[c], by_node, bits, by_bin, by_column, fisher
            )
            if position == 1:
                gain = deviance[t, 0] - deviance[t, c]
                settled = status[t, c] == CONVERGED and gain < least_needed
                if settled and not complete:
                    break
        if not settled:
            take = 0
            for c in range(1, n_orders):
                gain = deviance[t, take] - deviance[t, c]
                if status[t, c] == CONVERGED and gain > needed[take, c]:
                    take = c
            taken[t] = take
        _means(
            theta[taken[t]],
            orders[taken[t]],
            all_nodes,
            all_weights,
            all_by_node[0],
            all_by_node[1],
            all_bits,
            expected[t],
        )
