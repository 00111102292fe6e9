"""Anti-kt jets of whole batches of events, clustered by FastJet (the extra ``sim``, GPL).

FastJet asks to be cited: EPJC 72 (2012) 1896 [arXiv:1111.6097]; anti-kt is arXiv:0802.1189.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bumpscout_tools.events.table import Particles
from bumpscout_tools.extras import require
from bumpscout_tools.features.substructure import mass_of

__all__ = ["LeadingJets", "cluster_jets", "leading_jets"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class LeadingJets(NamedTuple):
    """The two leading jets of the events that pass the selection, j1 the harder one.

    Attributes:
        momentum: (n_passed, 2, 4) px, py, pz, E in GeV.
        counts: (n_passed * 2,) constituents of each jet, event after event.
        constituents: (sum of counts, 4) px, py, pz, E in GeV.
        event: (n_passed,) which of the given events passed.
    """

    momentum: FloatArray
    counts: IntArray
    constituents: FloatArray
    event: IntArray


def leading_jets(
    counts: IntArray,
    momentum: FloatArray,
    *,
    radius: float = 1.0,
    pt_min_gev: float = 50.0,
    abs_eta_max: float = 2.5,
    leading_pt_min_gev: float = 0.0,
) -> LeadingJets:
    """Cluster events and keep those with two jets.

    Args:
        counts: (n_events,) particles of each event.
        momentum: (sum of counts, 4) px, py, pz, E in GeV.
        radius: R of the anti-kt algorithm.
        pt_min_gev: softer jets are none.
        abs_eta_max: jets beyond it are none.
        leading_pt_min_gev: smallest pT of the leading jet.

    Returns:
        The two leading jets of the events that pass, in the order of the events.

    Raises:
        MissingExtraError: FastJet is not installed.
    """
    ak = _extra("awkward")
    occupied = counts > 0
    if not occupied.any():
        none = np.empty((0, 4))
        return LeadingJets(none.reshape(0, 2, 4), np.empty(0, int), none, np.empty(0, int))
    sequence = _cluster(counts[occupied], momentum, radius)
    jets = sequence.inclusive_jets(pt_min_gev)
    members = sequence.constituent_index(pt_min_gev)
    pt = np.hypot(jets.px, jets.py)
    central = np.abs(jets.pz) < pt * np.sinh(abs_eta_max)
    order = ak.argsort(ak.where(central, pt, -1.0), ascending=False)
    two = ak.sum(central, axis=1) >= 2
    leading = ak.fill_none(ak.max(ak.where(central, pt, -1.0), axis=1), -1.0)
    passed = np.asarray(two & (leading > leading_pt_min_gev))
    chosen = order[passed][:, :2]
    picked = jets[passed][chosen]
    parts = [np.asarray(ak.flatten(picked[name])) for name in ("px", "py", "pz", "E")]
    start = np.concatenate([[0], np.cumsum(counts[occupied])[:-1]])[passed]
    index = members[passed][chosen] + start
    return LeadingJets(
        momentum=np.stack(parts, axis=1).reshape(-1, 2, 4),
        counts=np.asarray(ak.flatten(ak.num(index, axis=2)), dtype=np.int64),
        constituents=momentum[np.asarray(ak.flatten(index, axis=None), dtype=np.int64)],
        event=np.flatnonzero(occupied)[passed],
    )


def cluster_jets(
    counts: IntArray,
    momentum: FloatArray,
    *,
    radius: float = 0.4,
    pt_min_gev: float = 30.0,
    abs_eta_max: float = 2.5,
) -> Particles:
    """Cluster the particles of events into jets.

    Args:
        counts: (n_events,) particles of each event.
        momentum: (sum of counts, 4) px, py, pz, E in GeV.
        radius: R of the anti-kt algorithm.
        pt_min_gev: softer jets are none.
        abs_eta_max: jets beyond it are none.

    Returns:
        The jets of all events, the hardest first, with ``n_constituents``.

    Raises:
        MissingExtraError: FastJet is not installed.
    """
    ak = _extra("awkward")
    occupied = np.flatnonzero(counts > 0)
    if not len(occupied):
        none = np.empty(0)
        return Particles(np.zeros(len(counts) + 1, dtype=np.int64), none, none, none, none)
    sequence = _cluster(counts[occupied], momentum, radius)
    jets = sequence.inclusive_jets(pt_min_gev)
    size = np.asarray(ak.flatten(ak.num(sequence.constituent_index(pt_min_gev), axis=2)))
    event = occupied[np.repeat(np.arange(len(occupied)), np.asarray(ak.num(jets)))]
    p = np.stack([np.asarray(ak.flatten(jets[name])) for name in ("px", "py", "pz", "E")], axis=1)
    pt = np.hypot(p[:, 0], p[:, 1])
    eta = np.arcsinh(p[:, 2] / pt)
    rows = np.lexsort((-pt, event))
    rows = rows[np.abs(eta[rows]) < abs_eta_max]
    return Particles(
        np.concatenate([[0], np.cumsum(np.bincount(event[rows], minlength=len(counts)))]),
        pt[rows],
        eta[rows],
        np.arctan2(p[rows, 1], p[rows, 0]),
        mass_of(p[rows]),
        {"n_constituents": size[rows].astype(np.float64)},
    )


def _extra(module: str) -> Any:
    return require(module, "sim", "clustering jets with FastJet (GPL)")


def _cluster(counts: IntArray, momentum: FloatArray, radius: float) -> Any:
    ak = _extra("awkward")
    fastjet = _extra("fastjet")
    # The banner would go to standard output, in the middle of what a command prints there.
    _extra("fastjet._swig").ClusterSequence.set_fastjet_banner_stream(None)
    columns = np.ascontiguousarray(momentum.T)
    particles = ak.zip(
        dict(zip(("px", "py", "pz", "E"), columns, strict=True)), with_name="Momentum4D"
    )
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    return fastjet.ClusterSequence(ak.unflatten(particles, counts), definition)
