"""Compiled loops inside jets: sequential clustering, subjettiness, soft drop; jet after jet.

The clustering keeps the nearest neighbour of each pseudojet, so that a merger costs O(n): the pair
with the smallest kt (or Cambridge/Aachen) distance is always one of geometrical neighbours
(hep-ph/0512210). Four-vectors are added (E scheme), or the harder of two gives its direction to the
sum of their pT (winner takes all, arXiv:1310.7584). Distances are in rapidity and azimuth.
"""

from __future__ import annotations

from math import atan2, log, pi, sqrt

import numpy as np
import numpy.typing as npt

from bumpscout_tools.statistics._jit import jit

__all__ = ["soft_drop_all", "tau_all"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MAX_RAPIDITY = 1e5
_CONVERGED = 1e-9


@jit
def _turn(one: float, two: float) -> float:
    """Return the angle between two azimuths, 0 to pi."""
    turn = abs(one - two)
    return float(2 * pi - turn if turn > pi else turn)


@jit
def _locate(p: FloatArray, at: int, y: FloatArray, phi: FloatArray) -> None:
    """Fill rapidity and azimuth of the four-vector in row `at`."""
    pt2 = p[at, 0] ** 2 + p[at, 1] ** 2
    pz, energy = p[at, 2], p[at, 3]
    mass2 = max(energy**2 - pz**2 - pt2, 0.0)
    if pt2 + mass2 <= 0:
        y[at] = _MAX_RAPIDITY if pz >= 0 else -_MAX_RAPIDITY
    else:
        size = 0.5 * log((energy + abs(pz)) ** 2 / (pt2 + mass2))
        y[at] = size if pz >= 0 else -size
    phi[at] = atan2(p[at, 1], p[at, 0])


@jit
def _distance2(i: int, j: int, y: FloatArray, phi: FloatArray) -> float:
    return float((y[i] - y[j]) ** 2 + _turn(phi[i], phi[j]) ** 2)


@jit
def _find_neighbour(
    i: int, n: int, y: FloatArray, phi: FloatArray, near: IntArray, gap: FloatArray
) -> None:
    near[i], gap[i] = -1, np.inf
    for j in range(n):
        if j != i:
            distance = _distance2(i, j, y, phi)
            if distance < gap[i]:
                near[i], gap[i] = j, distance


@jit
def _merge(p: FloatArray, i: int, j: int, winner: bool) -> None:
    """Put the sum of rows i and j into row i."""
    if not winner:
        for axis in range(4):
            p[i, axis] += p[j, axis]
        return
    pt_i, pt_j = sqrt(p[i, 0] ** 2 + p[i, 1] ** 2), sqrt(p[j, 0] ** 2 + p[j, 1] ** 2)
    best, pt_best = (i, pt_i) if pt_i >= pt_j else (j, pt_j)
    scale = (pt_i + pt_j) / pt_best if pt_best > 0 else 1.0
    px, py, pz = scale * p[best, 0], scale * p[best, 1], scale * p[best, 2]
    p[i, 0], p[i, 1], p[i, 2] = px, py, pz
    p[i, 3] = sqrt(px**2 + py**2 + pz**2)


@jit
def _step(
    p: FloatArray,
    n: int,
    use_kt: bool,
    winner: bool,
    y: FloatArray,
    phi: FloatArray,
    near: IntArray,
    gap: FloatArray,
    label: IntArray,
) -> tuple[int, int]:
    """Merge the closest two of n pseudojets; the last row moves to the freed place.

    Returns the labels of the two; the merged one keeps its row but not its label.
    """
    best, i = np.inf, -1
    for k in range(n):
        distance = gap[k]
        if use_kt:
            own = p[k, 0] ** 2 + p[k, 1] ** 2
            other = p[near[k], 0] ** 2 + p[near[k], 1] ** 2
            distance = min(own, other) * gap[k]
        if distance < best or i < 0:
            best, i = distance, k
    j = near[i]
    if j < i:
        i, j = j, i
    labels = (label[i], label[j])
    _merge(p, i, j, winner)
    _locate(p, i, y, phi)
    last = n - 1
    if j != last:
        for axis in range(4):
            p[j, axis] = p[last, axis]
        y[j], phi[j], near[j], gap[j] = y[last], phi[last], near[last], gap[last]
        label[j] = label[last]
    for k in range(last):
        if k == i or near[k] == i or near[k] == j:
            _find_neighbour(k, last, y, phi, near, gap)
            continue
        if near[k] == last:
            near[k] = j
        distance = _distance2(i, k, y, phi)
        if distance < gap[k]:
            near[k], gap[k] = i, distance
    return labels


@jit
def _start(
    p: FloatArray, n: int, y: FloatArray, phi: FloatArray, near: IntArray, gap: FloatArray
) -> None:
    for i in range(n):
        _locate(p, i, y, phi)
    for i in range(n):
        near[i], gap[i] = -1, np.inf
    for i in range(n):
        for j in range(i):
            distance = _distance2(i, j, y, phi)
            if distance < gap[i]:
                near[i], gap[i] = j, distance
            if distance < gap[j]:
                near[j], gap[j] = i, distance


@jit
def _direction(p: FloatArray, at: int) -> tuple[float, float]:
    """Return pseudorapidity and azimuth of a row."""
    pt = sqrt(p[at, 0] ** 2 + p[at, 1] ** 2)
    return float(np.arcsinh(p[at, 2] / max(pt, 1e-300))), float(atan2(p[at, 1], p[at, 0]))


@jit
def _weight(distance2: float, beta: float) -> float:
    """Return dR^(beta - 2)."""
    if beta == 2.0:
        return 1.0
    root = sqrt(distance2)
    if beta == 1.0:
        return float(1 / root)
    if beta == 0.5:
        return float(1 / (root * sqrt(root)))
    return float(root ** (beta - 2))


@jit
def _improve(
    pt: FloatArray,
    eta: FloatArray,
    phi: FloatArray,
    n: int,
    axis_eta: FloatArray,
    axis_phi: FloatArray,
    n_axes: int,
    beta: float,
    rounds: int,
) -> None:
    """Move axes to a local minimum of tau: each to the mean of its particles (arXiv:1108.2701).

    The weights are pT dR^(beta - 2), so that for beta = 2 it is k-means.
    """
    sums = np.empty((n_axes, 3))
    for _ in range(rounds):
        sums[:] = 0.0
        for i in range(n):
            best, mine = np.inf, 0
            for k in range(n_axes):
                distance = (eta[i] - axis_eta[k]) ** 2 + _turn(phi[i], axis_phi[k]) ** 2
                if distance < best:
                    best, mine = distance, k
            weight = pt[i] * _weight(best + 1e-12, beta)
            turn = (phi[i] - axis_phi[mine] + pi) % (2 * pi) - pi
            sums[mine, 0] += weight
            sums[mine, 1] += weight * (eta[i] - axis_eta[mine])
            sums[mine, 2] += weight * turn
        moved = 0.0
        for k in range(n_axes):
            if sums[k, 0] > 0:
                d_eta, d_phi = sums[k, 1] / sums[k, 0], sums[k, 2] / sums[k, 0]
                axis_eta[k] += d_eta
                axis_phi[k] = (axis_phi[k] + d_phi + pi) % (2 * pi) - pi
                moved = max(moved, d_eta**2 + d_phi**2)
        if moved < _CONVERGED:
            break


@jit
def _tau(
    pt: FloatArray,
    eta: FloatArray,
    phi: FloatArray,
    n: int,
    axis_eta: FloatArray,
    axis_phi: FloatArray,
    n_axes: int,
    betas: FloatArray,
    out: FloatArray,
) -> None:
    """Add sum pT min dR^beta over the particles of a jet to ``out`` (len(betas),)."""
    for i in range(n):
        best = np.inf
        for k in range(n_axes):
            distance = (eta[i] - axis_eta[k]) ** 2 + _turn(phi[i], axis_phi[k]) ** 2
            best = min(best, distance)
        root = sqrt(best)
        for b in range(len(betas)):
            beta = betas[b]
            if beta == 1.0:
                out[b] += pt[i] * root
            elif beta == 2.0:
                out[b] += pt[i] * best
            elif beta == 0.5:
                out[b] += pt[i] * sqrt(root)
            else:
                out[b] += pt[i] * root**beta


@jit
def tau_all(
    counts: IntArray,
    momentum: FloatArray,
    betas: FloatArray,
    radius: float,
    winner: bool,
    rounds: int,
    out: FloatArray,
) -> None:
    """Fill tau_1 to tau_N of each jet, ``out`` (n_jets, N, n_betas), from zeros.

    With `rounds` > 0 the axes are improved that often at most, for each beta on its own.
    """
    most = np.max(counts) if len(counts) else 0
    n_max = out.shape[1]
    p = np.empty((most, 4))
    pt, eta, phi = np.empty(most), np.empty(most), np.empty(most)
    y_now, phi_now, gap = np.empty(most), np.empty(most), np.empty(most)
    near, label = np.empty(most, dtype=np.int64), np.zeros(most, dtype=np.int64)
    axis_eta, axis_phi = np.empty((n_max, n_max)), np.empty((n_max, n_max))
    start = 0
    for jet in range(len(counts)):
        n = counts[jet]
        norm = 0.0
        for i in range(n):
            for axis in range(4):
                p[i, axis] = momentum[start + i, axis]
            pt[i] = sqrt(p[i, 0] ** 2 + p[i, 1] ** 2)
            eta[i], phi[i] = _direction(p, i)
            norm += pt[i]
        start += n
        if n < 2 or norm <= 0:
            continue
        _start(p, n, y_now, phi_now, near, gap)
        for left in range(n, 0, -1):
            if left <= n_max:
                for k in range(left):
                    axis_eta[left - 1, k], axis_phi[left - 1, k] = _direction(p, k)
            if left > 1:
                _step(p, left, True, winner, y_now, phi_now, near, gap, label)
        for n_axes in range(1, min(n_max, n - 1) + 1):
            a_eta, a_phi = axis_eta[n_axes - 1], axis_phi[n_axes - 1]
            target = out[jet, n_axes - 1]
            if rounds == 0:
                _tau(pt, eta, phi, n, a_eta, a_phi, n_axes, betas, target)
            else:
                for b in range(len(betas)):
                    own_eta, own_phi = a_eta.copy(), a_phi.copy()
                    _improve(pt, eta, phi, n, own_eta, own_phi, n_axes, betas[b], rounds)
                    one = betas[b : b + 1]
                    _tau(pt, eta, phi, n, own_eta, own_phi, n_axes, one, target[b : b + 1])
            for b in range(len(betas)):
                target[b] /= norm * radius ** betas[b]


@jit
def soft_drop_all(
    counts: IntArray,
    momentum: FloatArray,
    z_cut: float,
    beta: float,
    radius: float,
    out: FloatArray,
) -> None:
    """Fill the four-momentum of each jet after soft drop, ``out`` (n_jets, 4)."""
    most = np.max(counts) if len(counts) else 0
    p = np.empty((most, 4))
    y_now, phi_now, gap = np.empty(most), np.empty(most), np.empty(most)
    near, label = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    history = np.empty((2 * most, 4))
    y, phi = np.empty(2 * most), np.empty(2 * most)
    parents = np.empty((2 * most, 2), dtype=np.int64)
    start = 0
    for jet in range(len(counts)):
        n = counts[jet]
        for i in range(n):
            for axis in range(4):
                p[i, axis] = momentum[start + i, axis]
                history[i, axis] = p[i, axis]
            label[i] = i
            parents[i, 0] = -1
        start += n
        out[jet] = 0.0
        if n == 0:
            continue
        _start(p, n, y_now, phi_now, near, gap)
        for i in range(n):
            y[i], phi[i] = y_now[i], phi_now[i]
        node = n - 1
        for left in range(n, 1, -1):
            one, two = _step(p, left, False, False, y_now, phi_now, near, gap, label)
            node += 1
            parents[node, 0], parents[node, 1] = one, two
            for axis in range(4):
                history[node, axis] = history[one, axis] + history[two, axis]
            _locate(history, node, y, phi)
            for k in range(left - 1):
                if label[k] == one or label[k] == two:
                    label[k] = node
        while parents[node, 0] >= 0:
            one, two = parents[node, 0], parents[node, 1]
            pt_1 = sqrt(history[one, 0] ** 2 + history[one, 1] ** 2)
            pt_2 = sqrt(history[two, 0] ** 2 + history[two, 1] ** 2)
            share = min(pt_1, pt_2) / (pt_1 + pt_2)
            if share > z_cut * (_distance2(one, two, y, phi) / radius**2) ** (0.5 * beta):
                break
            node = one if pt_1 >= pt_2 else two
        for axis in range(4):
            out[jet, axis] = history[node, axis]
