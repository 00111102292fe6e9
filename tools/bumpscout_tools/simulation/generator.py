"""Final-state particles of proton-proton collisions from Pythia 8."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.simulation.card import SignalCard, SimulationCard
from bumpscout_tools.simulation.errors import GenerationError
from bumpscout_tools.simulation.extra import require
from bumpscout_tools.simulation.veto import early_veto

__all__ = ["ParticleSource", "Particles", "pythia_settings"]

NEUTRINOS = (12, 14, 16)
PHOTON, ELECTRON = 22, 11


class Particles(NamedTuple):
    """Visible particles of several events, event after event.

    Attributes:
        counts: (n_events,) particles of each event.
        momentum: (n_particles, 3) px, py, pz in GeV.
        electromagnetic: (n_particles,) true for photons and electrons.
        charged: (n_particles,) true for charged particles that are no electrons.
    """

    counts: NDArray[np.int64]
    momentum: NDArray[np.float64]
    electromagnetic: NDArray[np.bool_]
    charged: NDArray[np.bool_]


def pythia_settings(card: SimulationCard, signal: SignalCard | None, seed: int) -> tuple[str, ...]:
    """Write the Pythia settings of one process.

    The signal is a W' because Pythia's Z' process sums over Standard Model fermions only.

    Args:
        card: the simulation card.
        signal: one signal of the card, or None for the QCD background.
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
    if signal is None:
        return (
            *common,
            "HardQCD:all = on",
            f"PhaseSpace:pTHatMin = {card.pt_hat_min_gev:.10g}",
        )
    lines = [
        *common,
        "NewGaugeBoson:ffbar2Wprime = on",
        f"34:m0 = {signal.resonance_mass_gev:.10g}",
        "34:doForceWidth = on",
        f"34:mWidth = {signal.resonance_width_gev:.10g}",
        "34:onMode = off",
        "34:addChannel = 1 1.0 100 37 35",
    ]
    quarks = {37: "2 -1", 35: "1 -1"}
    daughters = zip(quarks, signal.daughter_masses_gev, signal.prongs, strict=True)
    for code, mass, prongs in daughters:
        products = quarks[code] if prongs == 2 else f"{quarks[code]} 21"
        lines += [
            f"{code}:m0 = {mass:.10g}",
            f"{code}:doForceWidth = on",
            f"{code}:mWidth = {signal.daughter_width_gev:.10g}",
            f"{code}:mMin = {min(10.0, mass / 2):.10g}",
            f"{code}:mMax = 0",
            f"{code}:oneChannel = 1 1.0 100 {products}",
        ]
    return tuple(lines)


class ParticleSource:
    """A Pythia instance that hands out visible particles in batches."""

    def __init__(self, card: SimulationCard, signal: SignalCard | None, seed: int) -> None:
        """Initialise Pythia for one process.

        Args:
            card: the simulation card.
            signal: one signal of the card, or None for the QCD background.
            seed: Pythia's seed, 1 to 900,000,000.

        Raises:
            MissingExtraError: Pythia is not installed.
            GenerationError: Pythia refuses the settings.
        """
        self._pythia: Any = require("pythia8mc").Pythia("", False)
        self._awkward: Any = require("awkward")
        for line in pythia_settings(card, signal, seed):
            if not self._pythia.readString(line):
                raise GenerationError(f"Pythia does not accept the setting {line!r}")
        # Pythia does not keep its hook alive.
        self._veto: Any = None
        if signal is None and card.early_veto_fraction > 0:
            self._veto = early_veto(card)
            self._pythia.setUserHooksPtr(self._veto)
        if not self._pythia.init():
            raise GenerationError(
                "Pythia did not initialise; check the energies and masses of the card"
            )

    def next_batch(self, n_events: int) -> Particles:
        """Generate events.

        Args:
            n_events: events to try; the few that Pythia gives up are left out.

        Returns:
            Stable particles without neutrinos.
        """
        ak = self._awkward
        record = self._pythia.nextBatch(n_events).prt
        if not record.fields:
            raise GenerationError(
                f"Pythia gave up all of {n_events} events; check the masses and widths of the card"
            )
        counts = np.asarray(ak.num(record.id), dtype=np.int64)
        code = np.asarray(ak.flatten(record.id))
        keep = (np.asarray(ak.flatten(record.status)) > 0) & ~np.isin(np.abs(code), NEUTRINOS)
        event = np.repeat(np.arange(counts.size), counts)[keep]
        code = code[keep]
        momentum = np.empty((code.size, 3))
        for axis, name in enumerate(("px", "py", "pz")):
            momentum[:, axis] = np.asarray(ak.flatten(record.p[name]))[keep]
        kinds, kind = np.unique(code, return_inverse=True)
        data = self._pythia.particleData
        has_charge = np.array([data.charge(int(k)) != 0.0 for k in kinds], dtype=bool)
        electromagnetic = np.isin(np.abs(code), (PHOTON, ELECTRON))
        return Particles(
            counts=np.bincount(event, minlength=counts.size),
            momentum=momentum,
            electromagnetic=electromagnetic,
            charged=has_charge[kind] & ~electromagnetic,
        )
