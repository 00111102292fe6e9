"""Giving up events in the middle of their shower that would fail the cut on the leading jet."""

from typing import Any

from bumpscout_tools.simulation.card import SimulationCard
from bumpscout_tools.simulation.errors import GenerationError
from bumpscout_tools.simulation.extra import require

__all__ = ["VETO_SCALE_GEV", "early_veto"]

VETO_SCALE_GEV = 20.0
"""Where in the shower the veto looks; softer emissions cost most and hardly move a jet of 1 TeV."""

MAX_DROPPED_IN_A_ROW = 20_000
_ANTI_KT = -1
_ALL_PARTICLES = 1
_ETA_MARGIN = 0.5
_MASSES_KEPT = 2


def early_veto(card: SimulationCard) -> Any:
    """Make a Pythia user hook that drops events whose partons make no hard jet.

    The hook is asked once an event, when the pT-ordered evolution of initial- and final-state
    radiation passes ``VETO_SCALE_GEV``. What is left of the shower, the hadronisation and the
    detector change the pT of a leading jet by some per cent, so the threshold must lie below the
    cut on the measured jet.

    Args:
        card: its ``early_veto_fraction`` of the cut is the threshold; its jets lend the radius, and
            their range in eta a little widened.

    Returns:
        An object for ``Pythia.setUserHooksPtr``.

    Raises:
        MissingExtraError: Pythia is not installed.

    The hook raises GenerationError where it drops 20,000 events in a row.
    """
    pythia: Any = require("pythia8mc")
    # The last but one argument chooses Pythia's own clustering: FastJet's core prints a banner.
    finder = pythia.SlowJet(
        _ANTI_KT,
        card.jets.radius,
        card.early_veto_fraction * card.leading_jet_pt_min_gev,
        card.jets.abs_eta_max + _ETA_MARGIN,
        _ALL_PARTICLES,
        _MASSES_KEPT,
        None,
        False,
        True,
    )

    in_a_row = 0

    def drops(_hook: Any, _position: int, event: Any) -> bool:
        nonlocal in_a_row
        finder.analyze(event)
        if finder.sizeJet():
            in_a_row = 0
            return False
        in_a_row += 1
        if in_a_row >= MAX_DROPPED_IN_A_ROW:
            # Pythia tries for as long as the hook drops events.
            raise GenerationError(
                f"none of {in_a_row} events of background has a leading jet above "
                f"leading_jet_pt_min_gev = {card.leading_jet_pt_min_gev:g} GeV; lower the cut"
            )
        return True

    methods = {
        "canVetoPT": lambda _hook: True,
        "scaleVetoPT": lambda _hook: VETO_SCALE_GEV,
        "doVetoPT": drops,
    }
    return type("EarlyVeto", (pythia.UserHooks,), methods)()
