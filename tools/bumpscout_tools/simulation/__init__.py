"""Pseudo-data like the LHC Olympics: dijet events from Pythia 8 and FastJet.

What to use when:

- ``SimulationCard`` with ``SignalCard``s says what to simulate; ``simulate`` makes it;
- ``chunks`` and ``simulate_chunk`` make large samples piece by piece, resumable, in parallel;
- ``make_box``, ``thin_signal``, ``thin_features_file`` mix little signal into much background;
- ``write_features_h5``, ``read_features_h5`` keep tables in the official feature layout.

Pythia and FastJet are GPL and optional (``pip install 'bumpscout[sim]'``): they are imported by
the functions that simulate, and by nothing else.
"""

from bumpscout_tools.simulation.boxes import make_box, thin_features_file, thin_signal
from bumpscout_tools.simulation.card import DetectorCard, JetCard, SignalCard, SimulationCard
from bumpscout_tools.simulation.errors import (
    BoxError,
    GenerationError,
    MissingExtraError,
    SimulationError,
)
from bumpscout_tools.simulation.generate import (
    BACKGROUND,
    Chunk,
    chunks,
    simulate,
    simulate_chunk,
)
from bumpscout_tools.simulation.layout import (
    LAYOUT_COLUMNS,
    dijet_mass,
    read_features_h5,
    round_mantissa,
    write_features_h5,
)

__all__ = [
    "BACKGROUND",
    "LAYOUT_COLUMNS",
    "BoxError",
    "Chunk",
    "DetectorCard",
    "GenerationError",
    "JetCard",
    "MissingExtraError",
    "SignalCard",
    "SimulationCard",
    "SimulationError",
    "chunks",
    "dijet_mass",
    "make_box",
    "read_features_h5",
    "round_mantissa",
    "simulate",
    "simulate_chunk",
    "thin_features_file",
    "thin_signal",
    "write_features_h5",
]
