"""Anti-kt jets and their subjettiness, clustered by FastJet on whole batches.

FastJet asks to be cited: EPJC 72 (2012) 1896 [arXiv:1111.6097].
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.simulation.card import JetCard
from bumpscout_tools.simulation.extra import require

__all__ = ["N_TAU", "LeadingJets", "leading_jets", "subjettiness"]

N_TAU = 3
MAX_KT_RADIUS = 1000.0


class LeadingJets(NamedTuple):
    """The two leading jets of the events that pass the selection, j1 the harder one.

    Attributes:
        momentum: (n_passed, 2, 4) px, py, pz, E in GeV.
        counts: (n_passed * 2,) constituents of each jet, event after event.
        constituents: (sum of counts, 4) px, py, pz, E in GeV.
    """

    momentum: NDArray[np.float64]
    counts: NDArray[np.int64]
    constituents: NDArray[np.float64]


def _silence_banner() -> None:
    # The banner would go to standard output, in the middle of what a command prints there.
    require("fastjet._swig").ClusterSequence.set_fastjet_banner_stream(None)


def _cluster(
    counts: NDArray[np.int64], momentum: NDArray[np.float64], algorithm: str, radius: float
) -> Any:
    ak = require("awkward")
    fastjet = require("fastjet")
    _silence_banner()
    columns = np.ascontiguousarray(momentum.T)
    particles = ak.zip(
        dict(zip(("px", "py", "pz", "E"), columns, strict=True)), with_name="Momentum4D"
    )
    definition = fastjet.JetDefinition(getattr(fastjet, algorithm), radius)
    return fastjet.ClusterSequence(ak.unflatten(particles, counts), definition)


def _flat_momentum(jets: Any) -> NDArray[np.float64]:
    ak = require("awkward")
    parts = [np.asarray(ak.flatten(jets[name])) for name in ("px", "py", "pz", "E")]
    return np.stack(parts, axis=1)


def leading_jets(
    counts: NDArray[np.int64],
    momentum: NDArray[np.float64],
    card: JetCard,
    leading_pt_min_gev: float,
) -> LeadingJets:
    """Cluster events and keep those with a hard leading jet and a second jet.

    Args:
        counts: (n_events,) particles of each event.
        momentum: (sum of counts, 4) px, py, pz, E in GeV.
        card: jet definition.
        leading_pt_min_gev: smallest pT of the leading jet, GeV.

    Returns:
        The two leading jets of the events that pass, in the order of the events.
    """
    ak = require("awkward")
    occupied = counts > 0
    sequence = _cluster(counts[occupied], momentum, "antikt_algorithm", card.radius)
    jets = sequence.inclusive_jets(card.pt_min_gev)
    members = sequence.constituent_index(card.pt_min_gev)
    pt = np.hypot(jets.px, jets.py)
    central = np.abs(jets.pz) < pt * np.sinh(card.abs_eta_max)
    order = ak.argsort(ak.where(central, pt, -1.0), ascending=False)
    two = ak.sum(central, axis=1) >= 2
    leading = ak.fill_none(ak.max(ak.where(central, pt, -1.0), axis=1), -1.0)
    passed = np.asarray(two & (leading > leading_pt_min_gev))
    chosen = order[passed][:, :2]
    momenta = _flat_momentum(jets[passed][chosen]).reshape(-1, 2, 4)
    start = np.concatenate([[0], np.cumsum(counts[occupied])[:-1]])[passed]
    index = members[passed][chosen] + start
    per_jet = np.asarray(ak.flatten(ak.num(index, axis=2)), dtype=np.int64)
    flat = np.asarray(ak.flatten(index, axis=None), dtype=np.int64)
    return LeadingJets(momentum=momenta, counts=per_jet, constituents=momentum[flat])


def _eta_phi(momentum: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pt = np.hypot(momentum[..., 0], momentum[..., 1])
    eta = np.arcsinh(momentum[..., 2] / np.maximum(pt, 1e-300))
    return eta, np.arctan2(momentum[..., 1], momentum[..., 0])


def _exclusive_kt_axes(
    counts: NDArray[np.int64], constituents: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    sequence = _cluster(counts, constituents, "kt_algorithm", MAX_KT_RADIUS)
    # FastJet warns about every definition, kt too, and installs a formatter of its own.
    formatter = warnings.formatwarning
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            jets = sequence.exclusive_jets(n)
    finally:
        warnings.formatwarning = formatter
    return _flat_momentum(jets).reshape(-1, n, 4)


def _tau(
    counts: NDArray[np.int64],
    constituents: NDArray[np.float64],
    axes: NDArray[np.float64],
    radius: float,
) -> NDArray[np.float64]:
    eta, phi = _eta_phi(constituents)
    axis_eta, axis_phi = _eta_phi(axes)
    jet = np.repeat(np.arange(counts.size), counts)
    d_phi = np.abs(phi[:, None] - axis_phi[jet])
    distance = np.hypot(eta[:, None] - axis_eta[jet], np.minimum(d_phi, 2 * np.pi - d_phi))
    pt = np.hypot(constituents[:, 0], constituents[:, 1])
    weighted = np.bincount(jet, pt * distance.min(axis=1), counts.size)
    return np.asarray(weighted / (radius * np.bincount(jet, pt, counts.size)), dtype=np.float64)


def subjettiness(
    counts: NDArray[np.int64], constituents: NDArray[np.float64], radius: float = 1.0
) -> NDArray[np.float64]:
    """Compute tau_1, tau_2, tau_3 with beta = 1 and exclusive-kt axes.

    tau_N = sum_i pT_i min_k dR(i, axis_k) / (R sum_i pT_i), arXiv:1011.2268. The axes are not
    minimised. A jet with at most N constituents has tau_N = 0.

    Args:
        counts: (n_jets,) constituents of each jet, at least 1.
        constituents: (sum of counts, 4) px, py, pz, E in GeV.
        radius: jet radius of the normalisation.

    Returns:
        (n_jets, 3) tau_1, tau_2, tau_3.
    """
    jet = np.repeat(np.arange(counts.size), counts)
    sums = [np.bincount(jet, component, counts.size) for component in constituents.T]
    axis = np.stack(sums, axis=1).astype(np.float64)[:, None, :]
    tau = np.zeros((counts.size, N_TAU))
    tau[:, 0] = np.where(counts > 1, _tau(counts, constituents, axis, radius), 0.0)
    for n in range(2, N_TAU + 1):
        resolved = counts > n
        if not resolved.any():
            continue
        inside = constituents[np.repeat(resolved, counts)]
        few = counts[resolved]
        axes = _exclusive_kt_axes(few, inside, n)
        tau[resolved, n - 1] = _tau(few, inside, axes, radius)
    return tau
