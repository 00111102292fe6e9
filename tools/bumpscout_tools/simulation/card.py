"""The card of a simulation: everything that decides which events come out."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "Card",
    "DetectorCard",
    "JetCard",
    "NonNegative",
    "Positive",
    "Prongs",
    "SignalCard",
    "SimulationCard",
]

Prongs = Literal[2, 3]

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Card(BaseModel):
    """What all cards share: unknown entries are errors, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SignalCard(Card):
    """A resonance W' -> X Y, each of X and Y decaying to q q (two prongs) or q q g (three).

    Attributes:
        resonance_mass_gev: mass of the resonance, GeV.
        daughter_masses_gev: masses of X and Y, GeV; each makes one fat jet.
        n_events: accepted events to make.
        resonance_width_gev: width of the resonance, GeV.
        daughter_width_gev: width of X and of Y, GeV.
        prongs: partons from X and from Y; three share the phase space evenly.
    """

    resonance_mass_gev: Positive
    daughter_masses_gev: tuple[Positive, Positive]
    n_events: Annotated[int, Field(ge=0)]
    resonance_width_gev: Positive = 10.0
    daughter_width_gev: Positive = 1.0
    prongs: tuple[Prongs, Prongs] = (2, 2)

    @model_validator(mode="after")
    def _decay_is_open(self) -> Self:
        if sum(self.daughter_masses_gev) >= self.resonance_mass_gev:
            first, second = self.daughter_masses_gev
            raise ValueError(
                f"a resonance of {self.resonance_mass_gev:g} GeV cannot decay to "
                f"{first:g} + {second:g} GeV; lower daughter_masses_gev"
            )
        return self


class DetectorCard(Card):
    """Resolutions of the stand-in detector; relative ones are fractions.

    Calorimeter energies are smeared by ``stochastic / sqrt(E / GeV)`` and ``constant`` in
    quadrature, track momenta by ``track_constant`` and ``track_slope_per_gev * pT``. Directions of
    photons, electrons and neutral hadrons are smeared too: a tower of width w has w / sqrt(12).

    Attributes:
        photon_stochastic: photons and electrons, stochastic term, sqrt(GeV).
        photon_constant: photons and electrons, constant term.
        photon_angle: photons and electrons, in eta and in phi.
        hadron_stochastic: neutral hadrons, stochastic term, sqrt(GeV).
        hadron_constant: neutral hadrons, constant term.
        hadron_angle: neutral hadrons, in eta and in phi.
        track_constant: charged particles, constant term.
        track_slope_per_gev: charged particles, growth with pT, 1/GeV.
        particle_pt_min_gev: particles below it are lost, GeV (after smearing).
        particle_abs_eta_max: particles beyond it are lost.
    """

    photon_stochastic: NonNegative = 0.10
    photon_constant: NonNegative = 0.01
    photon_angle: NonNegative = 0.005
    hadron_stochastic: NonNegative = 0.60
    hadron_constant: NonNegative = 0.05
    hadron_angle: NonNegative = 0.025
    track_constant: NonNegative = 0.01
    track_slope_per_gev: NonNegative = 1e-4
    particle_pt_min_gev: NonNegative = 0.2
    particle_abs_eta_max: Positive = 5.0


class JetCard(Card):
    """Anti-kt jets.

    Attributes:
        radius: the radius parameter R.
        pt_min_gev: softer jets are not jets, GeV.
        abs_eta_max: jets beyond it are not used.
    """

    radius: Positive = 1.0
    pt_min_gev: Positive = 50.0
    abs_eta_max: Positive = 2.5


class SimulationCard(Card):
    """Background and signals of one simulated data set, with the same cuts for all.

    Attributes:
        n_background: accepted QCD dijet events to make.
        signals: resonances to make.
        sqrt_s_gev: proton-proton collision energy, GeV.
        pt_hat_min_gev: smallest pT of the hard QCD scattering, GeV; only for background.
        leading_jet_pt_min_gev: smallest pT of the leading jet, GeV.
        early_veto_fraction: background is given up in the middle of its shower, at 20 GeV, where
            its hardest jet of partons is below this fraction of ``leading_jet_pt_min_gev``; saves
            the time of events that would fail that cut later, and loses the few that would not
            (measured in ``benchmarks/simulate.txt``). 0 finishes every event.
        multiparton_interactions: simulate the underlying event (slower).
        detector: resolutions.
        jets: jet definition.
        seed: same seed, same events, however many workers share the chunks.
        chunk_size: accepted events of an independently seeded chunk.
    """

    n_background: Annotated[int, Field(ge=0)] = 0
    signals: tuple[SignalCard, ...] = ()
    sqrt_s_gev: Positive = 13_000.0
    pt_hat_min_gev: Positive = 1_000.0
    leading_jet_pt_min_gev: Positive = 1_200.0
    early_veto_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.94
    multiparton_interactions: bool = False
    detector: DetectorCard = DetectorCard()
    jets: JetCard = JetCard()
    seed: Annotated[int, Field(ge=0)] = 1
    chunk_size: Annotated[int, Field(gt=0)] = 5_000

    @model_validator(mode="after")
    def _energies_fit(self) -> Self:
        for index, signal in enumerate(self.signals):
            if signal.resonance_mass_gev >= self.sqrt_s_gev:
                raise ValueError(
                    f"signals[{index}]: resonance_mass_gev {signal.resonance_mass_gev:g} is not "
                    f"below sqrt_s_gev {self.sqrt_s_gev:g}; lower the mass"
                )
            if signal.resonance_mass_gev < 2 * self.leading_jet_pt_min_gev:
                raise ValueError(
                    f"signals[{index}]: jets from {signal.resonance_mass_gev:g} GeV hardly reach "
                    f"leading_jet_pt_min_gev {self.leading_jet_pt_min_gev:g}; raise the mass to "
                    "twice the cut or lower the cut"
                )
        masses = [(s.resonance_mass_gev, *s.daughter_masses_gev) for s in self.signals]
        if len(set(masses)) < len(masses):
            raise ValueError(
                "two signals have the same masses and would be the same events; merge them into "
                "one with the sum of their n_events"
            )
        if 2 * self.pt_hat_min_gev >= self.sqrt_s_gev:
            raise ValueError(
                f"pt_hat_min_gev {self.pt_hat_min_gev:g} is not below half of sqrt_s_gev "
                f"{self.sqrt_s_gev:g}; lower it"
            )
        return self
