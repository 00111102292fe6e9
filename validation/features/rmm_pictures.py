"""Pictures of rapidity-mass matrices: average multijet and top-pair events, and one event.

    BUMPSCOUT_DATA=... python validation/features/rmm_pictures.py [--events 400]

Writes ``rmm.png`` beside this file and the mean of a few cells to standard output. Multijet events
come from Pythia (jets of the hard QCD scattering above 1 TeV, anti-kt R = 0.4, no b-tag), top pairs
from the 200 events of ``root/nano_tt_v12.root`` of the test data; the single event is the top pair
with the most objects. One core, about ten seconds.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from bumpscout_tools.events.open import open_events
from bumpscout_tools.events.table import EventTable
from bumpscout_tools.features.clustering import cluster_jets
from bumpscout_tools.features.rmm import rmm, rmm_columns
from bumpscout_tools.features.rmm_config import RmmConfig
from bumpscout_tools.features.rmm_objects import select_objects
from bumpscout_tools.plots.rmm import rmm_figure
from bumpscout_tools.plots.style import figure_bytes
from bumpscout_tools.simulation import BACKGROUND, Chunk, SimulationCard
from bumpscout_tools.simulation.generate import simulate_events

CELLS = (
    "met",
    "et_j1",
    "imbalance_j2",
    "m_j1_j3",
    "h_j1_j2",
    "et_b1",
    "m_j2_b1",
    "et_mu1",
    "et_e1",
)


def multijets(n: int) -> EventTable:
    """Return simulated multijet events; missing energy is that of the jets' imbalance."""
    events = simulate_events(SimulationCard(seed=7), Chunk(BACKGROUND, 0, n), particles=True)
    jets = cluster_jets(events.counts, events.particles)
    event = np.repeat(np.arange(n), events.counts)
    x, y = (-np.bincount(event, events.particles[:, axis], n) for axis in (0, 1))
    columns = {"met_pt": np.hypot(x, y), "met_phi": np.arctan2(y, x)}
    return EventTable(columns, format="simulated", particles={"jets": jets})


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400, help="multijet events")
    asked = parser.parse_args()
    top = open_events(Path(os.environ["BUMPSCOUT_DATA"]) / "root" / "nano_tt_v12.root")
    config = RmmConfig(identified=True, overlap_dr=0.4)
    pairs = select_objects(top, config)
    busiest = int(np.argmax(pairs.kept.sum(axis=1) + 10 * (pairs.kept > 0).sum(axis=1)))
    of_pairs = rmm(pairs, config)
    of_multijets = rmm(multijets(asked.events), config)
    matrices = {
        f"multijets, mean of {len(of_multijets)}": of_multijets.mean(axis=0),
        f"top pairs, mean of {len(of_pairs)}": of_pairs.mean(axis=0),
        "one top pair": of_pairs[busiest],
    }
    picture = Path(__file__).with_name("rmm.png")
    picture.write_bytes(figure_bytes(rmm_figure(matrices, config), "png", dpi=110))
    names = [column.name for column in rmm_columns(config)]
    print(f"{'cell':<14}" + "".join(f"{title:>28}" for title in matrices))
    for cell in CELLS:
        values = (matrix[names.index(cell)] for matrix in matrices.values())
        print(f"{cell:<14}" + "".join(f"{value:>28.5f}" for value in values))


if __name__ == "__main__":
    main()
