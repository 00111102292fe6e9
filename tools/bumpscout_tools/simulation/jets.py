"""The jets of simulated events: those of the feature table, with the cuts of a simulation card."""

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.features import clustering, substructure
from bumpscout_tools.features.clustering import LeadingJets
from bumpscout_tools.simulation.card import JetCard

__all__ = ["N_TAU", "LeadingJets", "leading_jets", "subjettiness"]

N_TAU = 3


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

    Raises:
        MissingExtraError: FastJet is not installed.
    """
    return clustering.leading_jets(
        counts,
        momentum,
        radius=card.radius,
        pt_min_gev=card.pt_min_gev,
        abs_eta_max=card.abs_eta_max,
        leading_pt_min_gev=leading_pt_min_gev,
    )


def subjettiness(
    counts: NDArray[np.int64], constituents: NDArray[np.float64], radius: float = 1.0
) -> NDArray[np.float64]:
    """Compute tau_1, tau_2, tau_3 with beta = 1 and exclusive-kt axes, as the layout has them.

    Args:
        counts: (n_jets,) constituents of each jet, at least 1.
        constituents: (sum of counts, 4) px, py, pz, E in GeV.
        radius: jet radius of the normalisation.

    Returns:
        (n_jets, 3) tau_1, tau_2, tau_3.
    """
    tau = substructure.subjettiness(
        counts, constituents, n_max=N_TAU, betas=(1.0,), radius=radius, axes="kt"
    )
    return tau[..., 0]
