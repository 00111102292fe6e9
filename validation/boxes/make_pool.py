"""Make a pool of simulated events for boxes: chunk files, resumable, usable while it grows.

python validation/boxes/make_pool.py POOL --workers 2

writes POOL/<process>/chunk_<number>.npz (field ``events``, float32, official columns) and
POOL/card.json. Chunks that exist are kept; a file appears only when it is complete. Needs the
extra ``sim``.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from bumpscout_tools.simulation import (
    BACKGROUND,
    Chunk,
    SignalCard,
    SimulationCard,
    chunks,
    simulate_chunk,
)

N_SIGNAL = 3_000
FIRST = ((3500, 500, 100), (3200, 400, 400), (5000, 700, 200))
LATER = ((4200, 350, 150), (3700, 450, 150), (3800, 730, 380), (2900, 300, 80), (4600, 600, 450))
EARLY_BACKGROUND_CHUNKS = 24


def pool_card(n_background: int) -> SimulationCard:
    """Write the card of the pool."""
    signals = tuple(
        SignalCard(resonance_mass_gev=mass, daughter_masses_gev=(x, y), n_events=N_SIGNAL)
        for mass, x, y in FIRST + LATER
    )
    return SimulationCard(
        n_background=n_background,
        signals=signals,
        early_veto_fraction=0.0,
        seed=20_260,
        chunk_size=5_000,
    )


def process_name(card: SimulationCard, process: int) -> str:
    """Name the folder of a process."""
    if process == BACKGROUND:
        return "background"
    signal = card.signals[process]
    x, y = signal.daughter_masses_gev
    return f"signal_{signal.resonance_mass_gev:g}_{x:g}_{y:g}"


def ordered(card: SimulationCard) -> list[Chunk]:
    """Order the chunks so that a first box is possible early."""
    background = [chunk for chunk in chunks(card) if chunk.process == BACKGROUND]
    signal = [chunk for chunk in chunks(card) if chunk.process != BACKGROUND]
    early = [chunk for chunk in signal if chunk.process < len(FIRST)]
    late = [chunk for chunk in signal if chunk.process >= len(FIRST)]
    first, rest = background[:EARLY_BACKGROUND_CHUNKS], background[EARLY_BACKGROUND_CHUNKS:]
    return [*early, *first, *late, *rest]


def make(card: SimulationCard, chunk: Chunk, pool: Path) -> str:
    """Make one chunk file unless it exists."""
    target = pool / process_name(card, chunk.process) / f"chunk_{chunk.number:04d}.npz"
    if target.exists():
        return f"kept {target}"
    start = time.perf_counter()
    table = simulate_chunk(card, chunk)
    wall = time.perf_counter() - start
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez_compressed(file, events=table)
    partial.replace(target)
    return f"made {target}: {len(table)} events, {len(table) / wall:.0f} per second"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("--n-background", type=int, default=600_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    card = pool_card(arguments.n_background)
    arguments.pool.mkdir(parents=True, exist_ok=True)
    (arguments.pool / "card.json").write_text(card.model_dump_json(indent=2) + "\n")
    # A fresh process for each chunk: memory that Pythia keeps is given back.
    with ProcessPoolExecutor(arguments.workers, max_tasks_per_child=1) as executor:
        pending = [executor.submit(make, card, chunk, arguments.pool) for chunk in ordered(card)]
        for future in pending:
            print(future.result(), flush=True)


if __name__ == "__main__":
    main()
