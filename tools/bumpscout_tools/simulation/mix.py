"""Boxes from finished chunks: how many signal events, which of them, and in what order."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.simulation.box_card import HALF_WINDOW, BoxCard, BoxSignal
from bumpscout_tools.simulation.errors import BoxError
from bumpscout_tools.simulation.generate import BACKGROUND, Chunk
from bumpscout_tools.simulation.layout import (
    LAYOUT_COLUMNS,
    Table,
    dijet_mass,
    empty_table,
    round_mantissa,
)
from bumpscout_tools.simulation.raw_layout import RAW_COLUMNS
from bumpscout_tools.simulation.store import StoredChunk

__all__ = ["MixedSignal", "Mixture", "fixed_chunks", "missing_chunk", "mix", "raw_blocks", "window"]

MAX_POOL_CHUNKS = 2_000
_THINNING = 12
_BLOCK_ROWS = 1_024


class MixedSignal(NamedTuple):
    """What a signal came to in a box.

    Attributes:
        n_events: signal events in the box.
        n_in_window: those of them within 5% of the mass of the resonance.
        n_background_in_window: background events there.
    """

    n_events: int
    n_in_window: int
    n_background_in_window: int


class Mixture(NamedTuple):
    """A box, its truth, and where each row comes from.

    Attributes:
        table: (n,) structured float32 table; its label is 0 or 1.
        process: (n,) truth, 0 for background, 1, 2, ... for the signals.
        chunk: (n,) which of the given chunks a row is from.
        row: (n,) its row there.
        signals: one entry a signal of the card.
    """

    table: Table
    process: NDArray[np.int8]
    chunk: NDArray[np.int64]
    row: NDArray[np.int64]
    signals: tuple[MixedSignal, ...]


def window(signal: BoxSignal) -> tuple[float, float]:
    """Return the mass window that a strength refers to, GeV."""
    mass = signal.resonance_mass_gev
    return mass * (1 - HALF_WINDOW), mass * (1 + HALF_WINDOW)


def fixed_chunks(card: BoxCard) -> list[Chunk]:
    """List the chunks whose number does not depend on events: background, signals by number."""
    wanted = [(BACKGROUND, card.n_background)]
    wanted += [(index, signal.n_events) for index, signal in enumerate(card.signals)]
    return [
        Chunk(process, number, min(card.chunk_size, total - start))
        for process, total in wanted
        for number, start in enumerate(range(0, total, card.chunk_size))
    ]


def missing_chunk(
    card: BoxCard, index: int, chunks: Sequence[Chunk], tables: Sequence[Table]
) -> Chunk | None:
    """Say which chunk a signal given by strength alone still needs.

    Args:
        card: what is simulated.
        index: which signal.
        chunks: finished chunks, all of the background among them.
        tables: their events.

    Returns:
        The next chunk, or None where there are enough events.

    Raises:
        BoxError: hardly any signal event comes near the mass.
    """
    signal = card.signals[index]
    if signal.n_events or not signal.strength:
        return None
    needed = _wanted(signal, card, chunks, tables)
    mine = [_rounded(t, card) for c, t in zip(chunks, tables, strict=True) if c.process == index]
    have = sum(int(_inside(signal, table).sum()) for table in mine)
    if have >= needed:
        return None
    size = min(card.chunk_size, max(100, 2 * needed))
    if len(mine) >= MAX_POOL_CHUNKS:
        raise BoxError(
            f"signals[{index}]: {have} of {len(mine) * size} events lie within 5% of its mass and "
            f"{needed} are needed; give n_events instead of a strength, or a smaller width"
        )
    return Chunk(index, len(mine), size)


def mix(card: BoxCard, chunks: Sequence[Chunk], tables: Sequence[Table]) -> Mixture:
    """Shuffle finished chunks together and thin each signal to its strength.

    Args:
        card: what was simulated.
        chunks: finished chunks: background first, then signal after signal.
        tables: their events, with the fields of ``LAYOUT_COLUMNS``.

    Returns:
        The box; the same card gives the same box.

    Raises:
        BoxError: a pool holds fewer signal events than its strength asks for.
    """
    sizes = np.array([len(table) for table in tables], dtype=np.int64)
    table = np.concatenate([empty_table(0), *tables])
    table = _rounded(table, card)
    process = np.repeat(
        np.array([chunk.process + 1 for chunk in chunks], dtype=np.int8), sizes
    ).astype(np.int8)
    source = np.repeat(np.arange(len(chunks)), sizes)
    row = np.concatenate([np.arange(size) for size in (*sizes, 0)]).astype(np.int64)
    order = np.random.default_rng(np.random.SeedSequence([card.seed])).permutation(len(table))
    table, process, source, row = table[order], process[order], source[order], row[order]

    rng = np.random.default_rng(np.random.SeedSequence([card.seed, _THINNING]))
    kept = np.ones(len(table), dtype=bool)
    told = []
    for index, signal in enumerate(card.signals):
        mine = np.flatnonzero(process == index + 1)
        inside = _inside(signal, table[mine])
        n_background = int(_inside(signal, table[process == 0]).sum())
        if signal.strength is not None:
            chosen = _thin(signal, index, inside, n_background, rng)
            kept[mine] = False
            kept[mine[chosen]] = True
            inside = inside[chosen]
        told.append(MixedSignal(len(inside), int(inside.sum()), n_background))
    return Mixture(table[kept], process[kept], source[kept], row[kept], tuple(told))


def raw_blocks(
    mixture: Mixture, opened: Callable[[int], StoredChunk]
) -> Iterator[NDArray[np.float32]]:
    """Lay out the particles of a box, some rows at a time.

    Args:
        mixture: the box.
        opened: gives a chunk with its particles by its number in ``mixture.chunk``.

    Yields:
        (k, 2100) float32 pT in GeV, eta, phi, in the order of the box.
    """
    for start in range(0, len(mixture.table), _BLOCK_ROWS):
        source = mixture.chunk[start : start + _BLOCK_ROWS]
        row = mixture.row[start : start + _BLOCK_ROWS]
        rows = np.zeros((len(source), RAW_COLUMNS), dtype=np.float32)
        for number in np.unique(source):
            chunk = opened(int(number))
            for place in np.flatnonzero(source == number):
                begin, end = chunk.offsets[row[place]], chunk.offsets[row[place] + 1]
                rows[place, : 3 * (end - begin)] = np.asarray(chunk.particles[begin:end]).ravel()
        yield rows


def _wanted(
    signal: BoxSignal, card: BoxCard, chunks: Sequence[Chunk], tables: Sequence[Table]
) -> int:
    n_background = sum(
        int(_inside(signal, _rounded(table, card)).sum())
        for chunk, table in zip(chunks, tables, strict=True)
        if chunk.process == BACKGROUND
    )
    return round((signal.strength or 0.0) * math.sqrt(n_background))


def _inside(signal: BoxSignal, table: Table) -> NDArray[np.bool_]:
    low, high = window(signal)
    mass = dijet_mass(table)
    return (mass >= low) & (mass < high)


def _thin(
    signal: BoxSignal,
    index: int,
    inside: NDArray[np.bool_],
    n_background: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    wanted = round((signal.strength or 0.0) * math.sqrt(n_background))
    near, far = np.flatnonzero(inside), np.flatnonzero(~inside)
    if wanted > near.size:
        raise BoxError(
            f"signals[{index}]: strength {signal.strength:g} asks for {wanted} events within 5% of "
            f"its mass and the pool of {inside.size} has {near.size}; give a larger n_events"
        )
    share = wanted / near.size if near.size else 0.0
    chosen = [rng.choice(near.size, size=wanted, replace=False)]
    chosen += [rng.choice(far.size, size=round(share * far.size), replace=False)]
    return np.sort(np.concatenate([near[chosen[0]], far[chosen[1]]]))


def _rounded(table: Table, card: BoxCard) -> Table:
    if card.mantissa_bits is None:
        return table
    rounded = table.copy()
    for name in LAYOUT_COLUMNS:
        rounded[name] = round_mantissa(table[name], card.mantissa_bits)
    return rounded
