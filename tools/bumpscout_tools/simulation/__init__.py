"""Pseudo-data like the LHC Olympics: dijet events from Pythia 8 and FastJet.

What to use when:

- ``SimulationCard`` with ``SignalCard``s says what to simulate; ``simulate`` makes it;
- ``chunks`` and ``simulate_chunk`` make large samples piece by piece, resumable, in parallel;
- ``BoxCard``, ``fixed_chunks``, ``make_chunk``, ``mix`` make a box of any size through a folder;
- ``ObjectCard`` and ``simulate_objects`` make events with jets, b-tags, leptons, photons and
  missing energy, of the Standard Model or of a resonance with a lepton or many jets;
- ``make_box``, ``thin_signal``, ``thin_features_file`` mix little signal into much background;
- ``write_features_h5``, ``read_features_h5`` keep tables in the official feature layout,
  ``write_raw_h5`` writes the particles of events in the raw layout.

Pythia and FastJet are GPL and optional (``pip install 'bumpscout[sim]'``): they are imported by
the functions that simulate, and by nothing else.
"""

from bumpscout_tools.simulation.box_card import BoxCard, BoxSignal, draw_hidden
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
    SimulatedEvents,
    chunks,
    simulate,
    simulate_chunk,
    simulate_events,
)
from bumpscout_tools.simulation.layout import (
    LAYOUT_COLUMNS,
    dijet_mass,
    read_features_h5,
    round_mantissa,
    write_features_h5,
    write_unlabelled_h5,
)
from bumpscout_tools.simulation.mix import (
    MixedSignal,
    Mixture,
    fixed_chunks,
    missing_chunk,
    mix,
    raw_blocks,
    window,
)
from bumpscout_tools.simulation.object_card import ObjectCard, ObjectSelection, ResonanceCard
from bumpscout_tools.simulation.objects import ObjectEvents, simulate_objects
from bumpscout_tools.simulation.raw_layout import write_raw_h5
from bumpscout_tools.simulation.store import StoredChunk, make_chunk, open_chunk

__all__ = [
    "BACKGROUND",
    "LAYOUT_COLUMNS",
    "BoxCard",
    "BoxError",
    "BoxSignal",
    "Chunk",
    "DetectorCard",
    "GenerationError",
    "JetCard",
    "MissingExtraError",
    "MixedSignal",
    "Mixture",
    "ObjectCard",
    "ObjectEvents",
    "ObjectSelection",
    "ResonanceCard",
    "SignalCard",
    "SimulatedEvents",
    "SimulationCard",
    "SimulationError",
    "StoredChunk",
    "chunks",
    "dijet_mass",
    "draw_hidden",
    "fixed_chunks",
    "make_box",
    "make_chunk",
    "missing_chunk",
    "mix",
    "open_chunk",
    "raw_blocks",
    "read_features_h5",
    "round_mantissa",
    "simulate",
    "simulate_chunk",
    "simulate_events",
    "simulate_objects",
    "thin_features_file",
    "thin_signal",
    "window",
    "write_features_h5",
    "write_raw_h5",
    "write_unlabelled_h5",
]
