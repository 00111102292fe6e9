"""Compiled kernels of the Poisson tail and of the hunt for the most significant interval.

The tail follows from the saddle-point form of the Poisson probability (C. Loader, 2000)::

    ln P(n | b) = -D(n, b) - s(n) - ln(2 pi n) / 2,    D = n ln(n / b) - (n - b)

with s the error of Stirling's formula; nothing large cancels, so logarithms of tails are accurate
however small the tail is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.statistics._jit import jit

__all__ = [
    "hunt_batch",
    "hunt_windows",
    "log_tails_many",
    "z_deficit_many",
    "z_from_log_p",
    "z_from_log_p_many",
    "z_poisson_many",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_GAUSS_X = 0.5 * (_NODES + 1.0)
_GAUSS_W = 0.5 * _WEIGHTS
_EFOLDS = 40.0
_SERIES_BELOW = 200.0
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_LOG_HALF = math.log(0.5)


@jit
def _half_deviance(n: float, b: float) -> float:
    """Return n ln(n / b) - (n - b) without cancellation, for b > 0."""
    if n == 0.0:
        return b
    difference = n - b
    if abs(difference) < 0.1 * (n + b):
        v = difference / (n + b)
        total = difference * v
        term = 2.0 * n * v
        v2 = v * v
        for j in range(1, 1000):
            term *= v2
            new = total + term / (2 * j + 1)
            if new == total:
                break
            total = new
        return total
    return n * math.log(n / b) - difference


@jit
def _stirling_error(n: float) -> float:
    """Return ln(n!) - (n + 1/2) ln n + n - ln(2 pi) / 2, for n > 0."""
    if n < 16.0:
        return math.lgamma(n + 1.0) - (n + 0.5) * math.log(n) + n - _HALF_LOG_2PI
    r = 1.0 / (n * n)
    series = 1.0 / 1260.0 - r * (1.0 / 1680.0 - r * (1.0 / 1188.0 - r * 691.0 / 360360.0))
    return (1.0 / 12.0 - r * (1.0 / 360.0 - r * series)) / n


@jit
def _log_probability(n: float, b: float) -> float:
    if n == 0.0:
        return -b
    return -_half_deviance(n, b) - _stirling_error(n) - _HALF_LOG_2PI - 0.5 * math.log(n)


@jit
def _log_upper(n: float, b: float) -> float:
    """Return ln P(N >= n | b) for n > b: the probability of n times a sum that converges."""
    if n < _SERIES_BELOW:
        total = 1.0
        term = 1.0
        for j in range(1, 100_000):
            term *= b / (n + j)
            total += term
            if term < 1e-17 * total:
                break
        return _log_probability(n, b) + math.log(total)
    # The same sum is n times the integral of s^(n-1) exp(b (1 - s)) over 0 < s < 1; with many
    # events a Gauss rule over the part that counts is shorter than the series.
    slope = max(n - 1.0 - b, 0.0)
    reach = 2.0 * _EFOLDS / (slope + math.sqrt(slope * slope + 2.0 * _EFOLDS * (n - 1.0)))
    reach = min(reach, 1.0)
    total = 0.0
    for j in range(_GAUSS_X.size):
        v = reach * _GAUSS_X[j]
        total += _GAUSS_W[j] * math.exp((n - 1.0) * math.log1p(-v) + b * v)
    return _log_probability(n, b) + math.log(n * reach * total)


@jit
def _log_below(n: float, b: float) -> float:
    """Return ln P(N <= n - 1 | b) for 1 <= n <= b."""
    total = 1.0
    term = 1.0
    k = n - 1.0
    while k > 0.0:
        term *= k / b
        total += term
        k -= 1.0
        if term < 1e-17 * total:
            break
    return _log_probability(n - 1.0, b) + math.log(total)


@jit
def _tail_coefficients(r: float) -> float:
    """Return the normal quantile of Wichura's AS 241 for r = sqrt(-ln p), p < 0.075."""
    if r <= 5.0:
        r -= 1.6
        top = (7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r
        top = ((top + 2.41780725177450611770e-1) * r + 1.27045825245236838258e0) * r
        top = ((top + 3.64784832476320460504e0) * r + 5.76949722146069140550e0) * r
        top = (top + 4.63033784615654529590e0) * r + 1.42343711074968357734e0
        low = (1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r
        low = ((low + 1.51986665636164571966e-2) * r + 1.48103976427480074590e-1) * r
        low = ((low + 6.89767334985100004550e-1) * r + 1.67638483018380384940e0) * r
        return top / ((low + 2.05319162663775882187e0) * r + 1.0)
    r -= 5.0
    top = (2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r
    top = ((top + 1.24266094738807843860e-3) * r + 2.65321895265761230930e-2) * r
    top = ((top + 2.96560571828504891230e-1) * r + 1.78482653991729133580e0) * r
    top = (top + 5.46378491116411436990e0) * r + 6.65790464350110377720e0
    low = (2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r
    low = ((low + 1.84631831751005468180e-5) * r + 7.86869131145613259100e-4) * r
    low = ((low + 1.48753612908506148525e-2) * r + 1.36929880922735805310e-1) * r
    return top / ((low + 5.99832206555887937690e-1) * r + 1.0)


@jit
def _log_normal_tail(z: float) -> float:
    """Return ln of the normal tail above z >= 0."""
    if z < 25.0:
        return math.log(0.5 * math.erfc(z / math.sqrt(2.0)))
    r = 1.0 / (z * z)
    series = 1.0 - r * (1.0 - r * (3.0 - r * (15.0 - r * (105.0 - r * 945.0))))
    return -0.5 * z * z - _HALF_LOG_2PI - math.log(z) + math.log(series)


@jit
def z_from_log_p(log_p: float) -> float:
    """Return z with normal tail exp(log_p); any log_p <= 0, also below the smallest double."""
    if log_p >= 0.0:
        return -math.inf
    if log_p > _LOG_HALF:
        rest = -math.expm1(log_p)
        return -z_from_log_p(math.log(rest)) if rest < 0.5 else 0.0
    if log_p > -2.5902671654458267:  # p > 0.075: the centre of the distribution
        q = 0.5 - math.exp(log_p)
        r = 0.180625 - q * q
        top = (2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r
        top = ((top + 6.7265770927008700853e4) * r + 4.5921953931549871457e4) * r
        top = ((top + 1.3731693765509461125e4) * r + 1.9715909503065514427e3) * r
        top = (top + 1.3314166789178437745e2) * r + 3.3871328727963666080e0
        low = (5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r
        low = ((low + 3.9307895800092710610e4) * r + 2.1213794301586595867e4) * r
        low = ((low + 5.3941960214247511077e3) * r + 6.8718700749205790830e2) * r
        return q * top / ((low + 4.2313330701600911252e1) * r + 1.0)
    if log_p > -700.0:
        return _tail_coefficients(math.sqrt(-log_p))
    z = math.sqrt(-2.0 * log_p - 2.0 * _HALF_LOG_2PI - math.log(-2.0 * log_p))
    for _ in range(3):
        # The slope of ln tail is -(z + 1/z - ...): Newton's method converges at once.
        z += (_log_normal_tail(z) - log_p) / (z + 1.0 / z)
    return z


@jit
def _z_poisson(n: float, b: float) -> float:
    """Return the signed z of P(N >= n | b); -sqrt(2 b), the bound of one event, for n = 0."""
    if n > b:
        return z_from_log_p(_log_upper(n, b))
    if n == 0.0:
        return -math.sqrt(2.0 * b)
    return -z_from_log_p(_log_below(n, b))


@jit
def z_poisson_many(n: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """Fill `out` with the signed z of each pair (n, b), b > 0."""
    for i in range(n.size):
        out[i] = _z_poisson(n[i], b[i])


@jit
def log_tails_many(n: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """Fill `out` with ln P(N >= n | b) of each pair, b > 0."""
    for i in range(n.size):
        if n[i] == 0.0:
            out[i] = 0.0
        elif n[i] > b[i]:
            out[i] = _log_upper(n[i], b[i])
        else:
            out[i] = math.log1p(-math.exp(_log_below(n[i], b[i])))


@jit
def z_from_log_p_many(log_p: FloatArray, out: FloatArray) -> None:
    """Fill `out` with the z of each logarithm of a tail."""
    for i in range(log_p.size):
        out[i] = z_from_log_p(log_p[i])


@jit
def _pearson(
    sum_n: FloatArray, sum_b: FloatArray, width: int, floor: float, out: FloatArray, bits: IntArray
) -> float:
    """Fill `out` with (d - b)^2 / b of each excess of one width, 0 without; return the largest.

    `bits`, the memory of `out` as integers, orders numbers >= 0 alike, in a vector loop.
    """
    size = sum_n.size - width
    for i in range(size):
        b = max(sum_b[i + width] - sum_b[i], floor)
        excess = max(sum_n[i + width] - sum_n[i] - b, 0.0)
        out[i] = excess * excess / b
    top = 0
    for i in range(size):
        top = max(top, bits[i])
    bits[size] = top
    return float(out[size])


@jit
def hunt_batch(
    observed: FloatArray,
    expected: FloatArray,
    first: int,
    last: int,
    min_width: int,
    max_width: int,
    floor: float,
    z: FloatArray,
    start: IntArray,
    stop: IntArray,
) -> None:
    """Find the most significant excess in each row of (t, b); shorter and left first in ties.

    Exact pruning: Z(d)^2 <= deviance(d) <= (d - b)^2 / b for an excess, and Z(d) is at most the
    signed root of the deviance anywhere (Zubkov and Serov, arXiv:1207.3838), so most intervals
    need neither a logarithm nor a tail; the fewer, the better the first one is.
    """
    n_bins = last - first
    sum_n, sum_b = np.zeros(n_bins + 1), np.zeros(n_bins + 1)
    pearson, tops = np.zeros(n_bins + 1), np.zeros(max_width + 1)
    bits = pearson.view(np.int64)
    for t in range(observed.shape[0]):
        row = t if expected.shape[0] > 1 else 0
        for i in range(n_bins):
            sum_n[i + 1] = sum_n[i] + observed[t, first + i]
            sum_b[i + 1] = sum_b[i] + expected[row, first + i]
        for width in range(min_width, max_width + 1):
            tops[width] = _pearson(sum_n, sum_b, width, floor, pearson, bits)
        best = -math.inf
        best_start, best_stop = 0, 0
        promising = int(np.argmax(tops))
        if tops[promising] > 0.0:
            _pearson(sum_n, sum_b, promising, floor, pearson, bits)
            best_start = int(np.argmax(pearson[: n_bins - promising + 1]))
            best_stop = best_start + promising
            b = max(sum_b[best_stop] - sum_b[best_start], floor)
            best = _z_poisson(sum_n[best_stop] - sum_n[best_start], b)
        ahead = best_stop > 0
        for width in range(min_width, max_width + 1):
            if best > 0.0 and tops[width] <= best * best:
                continue
            _pearson(sum_n, sum_b, width, floor, pearson, bits)
            for i in range(n_bins - width + 1):
                if best > 0.0 and pearson[i] <= best * best:
                    continue
                d = sum_n[i + width] - sum_n[i]
                b = max(sum_b[i + width] - sum_b[i], floor)
                bound = math.sqrt(2.0 * _half_deviance(d, b))
                if (bound if d > b else -bound) <= best:
                    continue
                value = _z_poisson(d, b)
                # The promising one was taken out of turn: what comes before it wins a tie.
                before = (width, i) < (best_stop - best_start, best_start)
                if value > best or (ahead and before and value == best):
                    best = value
                    best_start = i
                    best_stop = i + width
                    ahead = False
        z[t] = best
        start[t] = first + best_start
        stop[t] = first + best_stop


@jit
def _z_deficit(n: float, b: float) -> float:
    """Return the signed z of P(N <= n | b), which is positive for deficits."""
    if n + 1.0 <= b:
        return z_from_log_p(_log_below(n + 1.0, b))
    return -z_from_log_p(_log_upper(n + 1.0, b))


@jit
def z_deficit_many(n: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """Fill `out` with the signed z of P(N <= n | b) of each pair, b > 0."""
    for i in range(n.size):
        out[i] = _z_deficit(n[i], b[i])


@jit
def _off(n: float, b: float) -> float:
    """Return by how many standard deviations a side band is off, either way."""
    return _z_poisson(n, b) if n >= b else _z_deficit(n, b)


@jit
def _promising_window(
    sum_n: FloatArray, sum_b: FloatArray, starts: IntArray, stops: IntArray, deficits: bool
) -> int:
    """Return the window that deviates most among about 500 of them, -1 where none does."""
    index = -1
    top, top_b = 0.0, 1.0
    for w in range(0, starts.size, max(starts.size // 500, 1)):
        d = sum_n[stops[w]] - sum_n[starts[w]]
        b = sum_b[stops[w]] - sum_b[starts[w]]
        gap = b - d if deficits else d - b
        if gap > 0.0 and gap * gap * top_b > top * b:
            top, top_b = gap * gap, b
            index = w
    return index


@jit
def hunt_windows(
    observed: FloatArray,
    expected: FloatArray,
    starts: IntArray,
    stops: IntArray,
    deficits: bool,
    side_limit: float,
    floor: float,
    z: FloatArray,
    best_index: IntArray,
) -> None:
    """Find the most significant of any set of windows in each row of (t, b); the first in ties.

    `side_limit` > 0 passes over windows beside which a side band of half their width lies this many
    standard deviations off. Exact pruning as in `hunt_batch`; for a deficit the deviance is at most
    (d - b)^2 / d. Without a window left, z is minus infinity and the index -1.
    """
    n_bins = observed.shape[1]
    sum_n, sum_b = np.zeros(n_bins + 1), np.zeros(n_bins + 1)
    for t in range(observed.shape[0]):
        row = t if expected.shape[0] > 1 else 0
        for i in range(n_bins):
            sum_n[i + 1] = sum_n[i] + observed[t, i]
            sum_b[i + 1] = sum_b[i] + expected[row, i]
        best, index = -math.inf, -1
        if side_limit <= 0.0:
            index = _promising_window(sum_n, sum_b, starts, stops, deficits)
            if index >= 0:
                d = sum_n[stops[index]] - sum_n[starts[index]]
                b = max(sum_b[stops[index]] - sum_b[starts[index]], floor)
                best = _z_deficit(d, b) if deficits else _z_poisson(d, b)
        for w in range(starts.size):
            low, high = starts[w], stops[w]
            d, b = sum_n[high] - sum_n[low], max(sum_b[high] - sum_b[low], floor)
            gap = b - d if deficits else d - b
            if best > 0.0:
                if gap <= 0.0:
                    continue
                square = best * best
                if gap * gap <= square * (d if deficits else b):
                    continue
                if 2.0 * _half_deviance(d, b) <= square:
                    continue
            value = _z_deficit(d, b) if deficits else _z_poisson(d, b)
            if value < best or (value == best and w >= index):
                continue
            if side_limit > 0.0:
                half = max((high - low) // 2, 1)
                left, right = max(low - half, 0), min(high + half, n_bins)
                b = max(sum_b[low] - sum_b[left], floor)
                if left < low and _off(sum_n[low] - sum_n[left], b) >= side_limit:
                    continue
                b = max(sum_b[right] - sum_b[high], floor)
                if right > high and _off(sum_n[right] - sum_n[high], b) >= side_limit:
                    continue
            best = value
            index = w
        z[t] = best
        best_index[t] = index
