"""The card of a box: a simulation, and how much of each signal is mixed into its background."""

from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from bumpscout_tools.simulation.card import NonNegative, SignalCard, SimulationCard
from bumpscout_tools.simulation.errors import BoxError

__all__ = ["HALF_WINDOW", "BoxCard", "BoxSignal", "draw_hidden"]

HALF_WINDOW = 0.05
"""Strengths are counted within this fraction of the mass of a resonance."""

DRAWN_MASS_GEV = (2_800.0, 5_200.0)
"""Range of hidden resonance masses at the default cut of 1200 GeV; both scale with the cut."""

DRAWN_DAUGHTER = (80.0, 0.22)
"""Smallest hidden daughter mass in GeV, and the largest as a fraction of the resonance mass."""

_DEFAULT_CUT_GEV = 1_200.0
_HIDING = 0x41DE


class BoxSignal(SignalCard):
    """A signal of a box, by number of events, by strength, or drawn by strength from a pool.

    Attributes:
        n_events: events in the box; with a strength, the pool that they are drawn from, 0 for as
            many as are needed.
        strength: S/sqrt(B) within 5% of the resonance mass, before any cut.
    """

    n_events: Annotated[int, Field(ge=0)] = 0
    strength: NonNegative | None = None

    @model_validator(mode="after")
    def _amount_is_given(self) -> Self:
        if not self.n_events and self.strength is None:
            raise ValueError("a signal needs n_events or strength (S/sqrt(B)); give one of the two")
        return self


class BoxCard(SimulationCard):
    """All that decides the bytes of a box.

    Attributes:
        signals: resonances in the box; their truth labels are 1, 2, ... in this order.
        mantissa_bits: round the features to so many significant bits, which halves a file; None
            keeps single precision.
        chunk_size: accepted events of an independently seeded chunk.
    """

    signals: tuple[BoxSignal, ...] = ()
    mantissa_bits: Annotated[int, Field(ge=8, le=24)] | None = None
    chunk_size: Annotated[int, Field(gt=0)] = 2_000

    @model_validator(mode="after")
    def _box_is_not_empty(self) -> Self:
        if not self.n_background and not self.signals:
            raise ValueError("the box has neither background nor signal; give n_background")
        if not self.n_background and any(s.strength is not None for s in self.signals):
            raise ValueError(
                "a strength is S/sqrt(B) and there is no background; give n_background, or "
                "n_events of the signal"
            )
        return self


def draw_hidden(
    given: dict[str, Any], seed: int, number: int, leading_jet_pt_min_gev: float
) -> dict[str, Any]:
    """Draw what a hidden signal leaves open: its masses, and its prongs.

    The mass of the resonance is uniform, those of the daughters are log-uniform, and each daughter
    has two or three prongs with equal probability.

    Args:
        given: entries of ``BoxSignal``; those it has are kept.
        seed: seed of the box; the same seed draws the same masses.
        number: which signal of the box, from 0.
        leading_jet_pt_min_gev: cut of the card, GeV; the masses scale with it.

    Returns:
        Entries of ``BoxSignal`` with masses and prongs.

    Raises:
        BoxError: the given resonance mass is too small for any daughter.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, number, _HIDING]))
    scale = leading_jet_pt_min_gev / _DEFAULT_CUT_GEV
    # Everything is drawn, wanted or not, so that fixing one number does not move the others.
    mass = round(scale * rng.uniform(*DRAWN_MASS_GEV))
    shares = rng.uniform(size=2)
    prongs = rng.integers(2, 4, size=2)
    mass = given.get("resonance_mass_gev", mass)
    low, high = DRAWN_DAUGHTER[0], DRAWN_DAUGHTER[1] * mass
    if not low < high:
        raise BoxError(
            f"a resonance of {mass:g} GeV is too light for hidden daughters of at least {low:g} "
            "GeV; give a larger mass or the masses of the daughters"
        )
    daughters = tuple(round(low * (high / low) ** share) for share in shares)
    return {
        "resonance_mass_gev": mass,
        "daughter_masses_gev": daughters,
        "prongs": tuple(int(n) for n in prongs),
        **given,
    }
