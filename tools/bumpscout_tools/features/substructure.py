"""Substructure of jets from their constituents: N-subjettiness, soft drop, masses.

What to use when:

- ``subjettiness``: tau_N for any N and beta, the inputs of the sets in `catalogue`;
- ``soft_drop``: the groomed four-momentum; ``mass_of``: the mass of any four-momentum;
- ``fat_jets`` (``clustering``): the jets themselves.

All of it is compiled here and needs no FastJet; the loops release the GIL.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.features._jet_kernels import soft_drop_all, tau_all

__all__ = ["BETAS", "N_MAX", "Axes", "mass_of", "soft_drop", "subjettiness"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Axes = Literal["kt", "wta-kt"]

N_MAX = 9
BETAS = (0.5, 1.0, 2.0)
"""Largest N and the exponents of the 56-feature set of arXiv:2309.13111."""
_ROUNDS = 100


def subjettiness(
    counts: IntArray,
    momentum: FloatArray,
    *,
    n_max: int = N_MAX,
    betas: tuple[float, ...] = BETAS,
    radius: float = 1.0,
    axes: Axes = "kt",
    minimise: bool = False,
) -> FloatArray:
    """Compute tau_1 to tau_N of jets.

    tau_N = sum_i pT_i min_k dR(i, axis_k)^beta / (R^beta sum_i pT_i), arXiv:1011.2268, dR in
    pseudorapidity and azimuth. The axes are the N exclusive kt subjets (arXiv:1011.2268), with
    four-vectors added or, which suits beta <= 1 better, with the winner taking all
    (arXiv:1310.7584); one clustering of a jet gives the axes of all N. With `minimise` they then
    move to the next local minimum of tau (arXiv:1108.2701), for each beta on its own: with kt axes
    and beta = 1 that is what CMS stores. A jet of at most N constituents has tau_N = 0.

    Args:
        counts: (n_jets,) constituents of each jet.
        momentum: (sum of counts, 4) px, py, pz, E in GeV.
        n_max: largest N.
        betas: angular exponents, positive.
        radius: jet radius R of the normalisation.
        axes: recombination of the kt clustering.
        minimise: improve the axes, at ten to twenty times the cost.

    Returns:
        (n_jets, n_max, n_betas).

    Raises:
        ConfigurationError: if an option is out of range, or counts and momenta do not fit.
    """
    if n_max < 1 or not betas or min(betas) <= 0 or radius <= 0:
        raise ConfigurationError(
            f"Subjettiness needs n_max >= 1, positive betas and a positive radius; got n_max "
            f"{n_max}, betas {betas}, radius {radius}."
        )
    counts, momentum = _checked(counts, momentum)
    tau = np.zeros((len(counts), n_max, len(betas)))
    rounds = _ROUNDS if minimise else 0
    tau_all(counts, momentum, np.array(betas, dtype=float), radius, axes == "wta-kt", rounds, tau)
    return tau


def soft_drop(
    counts: IntArray,
    momentum: FloatArray,
    *,
    z_cut: float = 0.1,
    beta: float = 0.0,
    radius: float = 1.0,
) -> FloatArray:
    """Groom jets: drop the softer branch of the Cambridge/Aachen tree until both are hard enough.

    A splitting stops the grooming where min(pT_1, pT_2) / (pT_1 + pT_2) > z_cut (dR / R)^beta,
    arXiv:1402.2657; beta = 0 is the modified mass-drop tagger. dR is in rapidity and azimuth.

    Args:
        counts: (n_jets,) constituents of each jet.
        momentum: (sum of counts, 4) px, py, pz, E in GeV.
        z_cut: smallest share of the softer branch.
        beta: angular exponent.
        radius: jet radius R.

    Returns:
        (n_jets, 4) px, py, pz, E in GeV of what is left.

    Raises:
        ConfigurationError: if counts and momenta do not fit.
    """
    counts, momentum = _checked(counts, momentum)
    groomed = np.zeros((len(counts), 4))
    soft_drop_all(counts, momentum, z_cut, beta, radius, groomed)
    return groomed


def mass_of(momentum: FloatArray) -> FloatArray:
    """Compute m = sqrt(E^2 - p^2) of four-momenta (..., 4); 0 where rounding makes m^2 negative."""
    mass2 = momentum[..., 3] ** 2 - (momentum[..., :3] ** 2).sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum(mass2, 0.0)))


def _checked(counts: IntArray, momentum: FloatArray) -> tuple[IntArray, FloatArray]:
    counts = np.ascontiguousarray(counts, dtype=np.int64)
    momentum = np.ascontiguousarray(momentum, dtype=np.float64)
    if momentum.shape != (int(counts.sum()), 4) or (len(counts) and counts.min() < 0):
        raise ConfigurationError(
            f"{len(counts)} jets of {int(counts.sum())} constituents do not fit to momenta of "
            f"shape {momentum.shape}."
        )
    return counts, momentum
