"""The card of events with objects: what collides, and how well objects are found."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bumpscout_tools.simulation.card import Card, DetectorCard, JetCard, NonNegative, Positive

__all__ = ["ObjectCard", "ObjectSelection", "ResonanceCard", "object_settings"]

Share = Annotated[float, Field(ge=0, le=1)]


class ResonanceCard(Card):
    """A resonance that comes with something: V -> X + partner, X -> two quarks.

    Attributes:
        resonance_mass_gev: mass of X, whose two jets make the bump, GeV.
        partner: ``lepton``, a W that decays to an electron or muon and a neutrino; ``tops``, a
            neutral particle of ``partner_mass_gev`` that decays to two tops and these to six jets.
        quarks: of X, light ones or, beside a lepton, two b quarks.
        excess_gev: mass of V beyond those of X and partner, GeV.
        partner_mass_gev: of the parent of the tops, GeV.
        width_gev: of X and V, GeV.
    """

    resonance_mass_gev: Positive
    partner: Literal["lepton", "tops"]
    quarks: Literal["light", "bottom"] = "light"
    excess_gev: Positive = 400.0
    partner_mass_gev: Positive = 500.0
    width_gev: Positive = 10.0

    @model_validator(mode="after")
    def _tops_are_open(self) -> Self:
        if self.partner == "tops" and self.partner_mass_gev < 360:
            raise ValueError("partner_mass_gev below 360 GeV makes no two tops; raise it")
        if self.partner == "tops" and self.quarks == "bottom":
            raise ValueError("the X beside tops is charged and has no two b quarks; use light")
        return self


class ObjectSelection(Card):
    """Electrons, muons and photons that are isolated, and tags of jets.

    Attributes:
        pt_min_gev: softer electrons, muons and photons are none.
        abs_eta_max: nor are those beyond it.
        cone: of the isolation, in eta and phi.
        isolation: largest sum of pT of all else in the cone, as a share of the candidate's.
        b_efficiency: share of the jets with a b hadron that are tagged.
        c_mistag: the same of jets with a c hadron and no b hadron.
        light_mistag: the same of all others.
    """

    pt_min_gev: Positive = 20.0
    abs_eta_max: Positive = 2.47
    cone: Positive = 0.3
    isolation: NonNegative = 0.1
    b_efficiency: Share = 0.77
    c_mistag: Share = 0.18
    light_mistag: Share = 0.01


class ObjectCard(Card):
    """Events with a hard jet: jets, b-tags, isolated electrons, muons, photons, missing energy.

    Without ``signal`` they are what the Standard Model gives at leading order, each process with
    its cross section: two or more jets, and among them the few with a W or Z, top quarks or a
    prompt photon.

    Attributes:
        signal: a resonance instead.
        sqrt_s_gev: proton-proton collision energy, GeV.
        pt_hat_min_gev: smallest pT of the hard scattering, GeV; not for signal.
        m_hat_min_gev: smallest mass of the hard scattering, GeV; not for signal.
        leading_jet_pt_min_gev: smallest pT of the leading jet, GeV: the trigger.
        multiparton_interactions: simulate the underlying event (slower).
        detector: resolutions.
        jets: jet definition.
        selection: of the other objects, and tags.
        seed: same seed, same events.
    """

    signal: ResonanceCard | None = None
    sqrt_s_gev: Positive = 13_000.0
    pt_hat_min_gev: Positive = 450.0
    m_hat_min_gev: NonNegative = 0.0
    leading_jet_pt_min_gev: Positive = 500.0
    multiparton_interactions: bool = False
    detector: DetectorCard = DetectorCard()
    jets: JetCard = JetCard(radius=0.4, pt_min_gev=30.0)
    selection: ObjectSelection = ObjectSelection()
    seed: Annotated[int, Field(ge=0)] = 1


def object_settings(card: ObjectCard, seed: int) -> tuple[str, ...]:
    """Write the Pythia settings of a card.

    Args:
        card: what to simulate.
        seed: Pythia's seed, 1 to 900,000,000.

    Returns:
        Lines for ``Pythia.readString``.
    """
    multiparton = "on" if card.multiparton_interactions else "off"
    common = (
        "Print:quiet = on",
        f"Beams:eCM = {card.sqrt_s_gev:.10g}",
        f"PartonLevel:MPI = {multiparton}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
    )
    if card.signal is None:
        processes = ("HardQCD", "WeakBosonAndParton", "WeakDoubleBoson", "Top", "PromptPhoton")
        return (
            *common,
            *(f"{process}:all = on" for process in processes),
            f"PhaseSpace:pTHatMin = {card.pt_hat_min_gev:.10g}",
            f"PhaseSpace:mHatMin = {max(card.m_hat_min_gev, 4.0):.10g}",
        )
    return (*common, *_signal(card.signal))


def _signal(signal: ResonanceCard) -> list[str]:
    """A W' is made, as for `SignalCard`; its daughters stand for X and its partner."""
    lepton = signal.partner == "lepton"
    resonance, partner = (35, 24) if lepton else (37, 36)
    partner_mass = 80.4 if lepton else signal.partner_mass_gev
    quarks = "2 -1"
    if lepton:
        quarks = "5 -5" if signal.quarks == "bottom" else "1 -1"
    parent = signal.resonance_mass_gev + partner_mass + signal.excess_gev
    lines = ["NewGaugeBoson:ffbar2Wprime = on", "34:onMode = off"]
    lines.append(f"34:addChannel = 1 1.0 100 {resonance} {partner}")
    decays = {34: (parent, None), resonance: (signal.resonance_mass_gev, quarks)}
    if lepton:
        lines += ["24:onMode = off", "24:onIfAny = 11 13"]
    else:
        decays[partner] = (partner_mass, "6 -6")
        lines += ["24:onMode = off", "24:onIfAny = 1 2 3 4 5"]
    for code, (mass, products) in decays.items():
        lines += [
            f"{code}:m0 = {mass:.10g}",
            f"{code}:doForceWidth = on",
            f"{code}:mWidth = {signal.width_gev:.10g}",
        ]
        if products is not None:
            lines += [
                f"{code}:mMin = {mass / 2 if code == resonance else 350:.10g}",
                f"{code}:mMax = 0",
                f"{code}:oneChannel = 1 1.0 100 {products}",
            ]
    return lines
