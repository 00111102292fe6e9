"""The constituents of two jets as inputs of a network: relative to their jet, hardest first.

Each jet is boosted along the beam to zero rapidity and turned around the beam until it points
along x, divided by its pT, and turned around its axis until the larger spread of its momentum lies
along z with the longer tail on the positive side, in z and in y. With d_eta, d_phi the position of
a constituent relative to its jet after that turn, its three inputs are

    px = pT / pT_jet cos(d_phi),  py = pT / pT_jet sin(d_phi),  pz = pT / pT_jet sinh(d_eta),

the Cartesian momenta of arXiv:2412.03747 without direction and scale of the jet, so that they
depend little on the mass of the pair. Each jet has the 100 of largest pT, and zeros where it has
fewer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bumpscout_tools.features.clustering import LeadingJets

__all__ = ["DELTA_ETA", "N_CONSTITUENTS", "constituent_names", "constituents_of", "delta_eta"]

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_CONSTITUENTS = 100
DELTA_ETA = "deta_jj"
"""Difference of the pseudorapidities of the two jets, absolute; a control sample is cut on it."""
JETS_AT_ONCE = 20_000
_AXES = ("px", "py", "pz")


def constituent_names() -> tuple[str, ...]:
    """Return the names of the columns of `constituents_of`, in their order.

    >>> names = constituent_names()
    >>> len(names), names[:4], names[300]
    (600, ('px1_j1', 'py1_j1', 'pz1_j1', 'px2_j1'), 'px1_j2')
    """
    return tuple(
        f"{axis}{rank}_{jet}"
        for jet in ("j1", "j2")
        for rank in range(1, N_CONSTITUENTS + 1)
        for axis in _AXES
    )


def constituents_of(jets: LeadingJets) -> Float32Array:
    """Return the relative constituents (n, 600) of the two leading jets, j1 the harder one.

    Args:
        jets: the two jets of n events.
    """
    n_jets = 2 * len(jets.event)
    values = np.zeros((n_jets, N_CONSTITUENTS, 3), dtype=np.float32)
    ends = np.cumsum(jets.counts)
    axes = jets.momentum.reshape(n_jets, 4)
    # Blocks keep the memory of the copies small beside that of the constituents.
    for start in range(0, n_jets, JETS_AT_ONCE):
        rows = slice(start, min(start + JETS_AT_ONCE, n_jets))
        counts = jets.counts[rows]
        first = int(ends[start] - jets.counts[start])
        parts = jets.constituents[first : first + int(counts.sum())]
        _fill(values[rows], counts, parts, axes[rows])
    return values.reshape(len(jets.event), -1)


def delta_eta(jets: LeadingJets) -> FloatArray:
    """Return the absolute difference (n,) of the pseudorapidities of the two jets."""
    pt = np.hypot(jets.momentum[..., 0], jets.momentum[..., 1])
    eta = np.arcsinh(jets.momentum[..., 2] / pt)
    return np.asarray(np.abs(eta[:, 0] - eta[:, 1]))


def _rapidity(momentum: FloatArray) -> FloatArray:
    """Return the rapidity (n,) of (n, 4) px, py, pz, E: (1/2) ln((E + pz) / (E - pz))."""
    mass2 = momentum[:, 3] ** 2 - np.square(momentum[:, :3]).sum(axis=1)
    transverse = np.sqrt(np.maximum(mass2, 0) + np.square(momentum[:, :2]).sum(axis=1))
    return np.asarray(np.arcsinh(momentum[:, 2] / transverse))


def _fill(values: Float32Array, counts: IntArray, parts: FloatArray, axes: FloatArray) -> None:
    jet = np.repeat(np.arange(len(counts)), counts)
    pt = np.hypot(parts[:, 0], parts[:, 1])
    order = np.lexsort((-pt, jet))
    rank = np.arange(len(jet)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows, pt = order, pt[order]
    jet_pt = np.hypot(axes[:, 0], axes[:, 1])
    share = pt / jet_pt[jet]
    d_eta = np.arcsinh(parts[rows, 2] / pt) - _rapidity(axes)[jet]
    d_phi = np.arctan2(parts[rows, 1], parts[rows, 0]) - np.arctan2(axes[:, 1], axes[:, 0])[jet]
    d_phi = (d_phi + np.pi) % (2 * np.pi) - np.pi

    def total(weight: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(jet, share * weight, len(counts)), dtype=np.float64)

    turn = 0.5 * np.arctan2(2 * total(d_eta * d_phi), total(d_eta**2) - total(d_phi**2))[jet]
    along = d_eta * np.cos(turn) + d_phi * np.sin(turn)
    across = d_phi * np.cos(turn) - d_eta * np.sin(turn)
    along *= np.where(total(along**3) < 0, -1.0, 1.0)[jet]
    across *= np.where(total(across**3) < 0, -1.0, 1.0)[jet]
    kept = rank < N_CONSTITUENTS
    place = jet[kept], rank[kept]
    values[..., 0][place] = (share * np.cos(across))[kept]
    values[..., 1][place] = (share * np.sin(across))[kept]
    values[..., 2][place] = (share * np.sinh(along))[kept]
