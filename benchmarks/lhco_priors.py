"""Simulated signals that QUAK learns from in the benchmark: a coarse grid of daughter masses.

All pairs of 80, 160, 320 and 640 GeV up to a sum of 960 GeV, from a resonance of 4 TeV: a grid in
factors of two that knows nothing of the signal in the data (3.5 TeV to 500 and 100 GeV).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bumpscout_tools.detectors.settings_density import SignalPrior
from bumpscout_tools.events.lhco import read_features
from bumpscout_tools.features.dijet import dijet_view
from bumpscout_tools.simulation import (
    SignalCard,
    SimulationCard,
    simulate,
    write_features_h5,
)

__all__ = ["EVENTS", "PAIRS", "RESONANCE_GEV", "priors"]

PAIRS = ((80, 160), (80, 320), (80, 640), (160, 320), (160, 640), (320, 640))
RESONANCE_GEV = 4000.0
EVENTS = 1000


def priors(work: Path, features: tuple[str, ...]) -> list[SignalPrior]:
    """Return the priors in these features; their events are simulated once and kept in `work`."""
    folder = work / "priors"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, pair in enumerate(PAIRS):
        path = folder / f"{pair[0]}-{pair[1]}.h5"
        if not path.exists():
            signal = SignalCard(
                resonance_mass_gev=RESONANCE_GEV, daughter_masses_gev=pair, n_events=EVENTS
            )
            table = simulate(SimulationCard(n_background=0, signals=(signal,), seed=20 + number))
            write_features_h5(path.with_suffix(".part"), table)
            path.with_suffix(".part").rename(path)
        view, _ = dijet_view(read_features(path))
        columns = [view.feature_names.index(name) for name in features]
        values = np.asarray(view.features[:, columns], dtype=np.float64)
        found.append(SignalPrior.of(path.name, f"{number:064x}", features, values))
    return found
