"""The grid: every spectrum at every nested working point, with toys made from the same events.

    data = EventToys.from_events(bins, levels, n_bins, n_levels)
    found = search_grid(data, spectra, n_toys=1000, seed=1, executor=ThreadPoolExecutor(4))

Each spectrum is fitted at each working point and hunted for the most significant interval; the
largest local z of all is the statistic. Each toy draws the events anew on the fitted null, then
fits and hunts all spectra at all working points as in the data, order selection included; no fit is
dropped. Its largest z is the look-elsewhere effect of everything at once.

A shape that is fitted to a handful of events follows their fluctuations, and toys of it fluctuate
less than the data: p would be too small. So a working point with fewer than 20 events for each
parameter keeps the shape of the tightest looser one that has as many, and fits the number of events
alone; in a toy by the toy's own events. A spectrum that has too few at the loosest working point,
and a working point with fewer than 20 events, take no part.

Toys come in blocks of 32, each with its own seed: results do not depend on the executor, and
`grid_toys` continues at any block. Memory is bounded by the blocks in flight. Threads share the
cells and run the compiled code side by side; processes get a copy with each block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background import fit_batch, select_order_batch
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.inference.event_toys import TOYS_AT_ONCE, EventToys
from bumpscout_tools.statistics import ToyP, best_interval_batch, toy_p_value

__all__ = [
    "EVENTS_PER_PARAMETER",
    "MIN_EVENTS",
    "TOYS_PER_BLOCK",
    "GridBlock",
    "GridFit",
    "GridSearch",
    "GridSpectrum",
    "NestedFit",
    "fit_grid",
    "grid_largest",
    "grid_toys",
    "search_grid",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
CountArray = NDArray[np.int32]

TOYS_PER_BLOCK = 32
"""Toys of one task; part of what a seed means."""
EVENTS_PER_PARAMETER = 20
"""Events for each parameter of a background from which on its shape is fitted."""
MIN_EVENTS = 20
"""Events of a spectrum from which on it is hunted: below, their number itself is hardly known."""
_IN_FLIGHT = 16


@dataclass(frozen=True)
class NestedFit:
    """Fits of t spectra at W nested working points.

    `expected` (t, W, b) means, `order` (t, W) of the family, `own` (t, W) where the shape was
    fitted at the working point itself, not taken from a looser one.
    """

    expected: FloatArray
    order: IntArray
    own: BoolArray


@dataclass(frozen=True)
class GridSpectrum:
    """How one spectrum is fitted and hunted, at each working point alike.

    `orders` to choose from by likelihood ratio at `alpha`, or the one order; `widths` in bins of
    the shortest and the longest interval, which begins `edge` bins above the lower end or further
    up, so that the fit has a side band there. `min_events` is the number from which on a working
    point has a shape of its own; None for 20 for each parameter of the largest order.
    """

    basis: LogLinearBasis
    orders: tuple[int, ...]
    widths: tuple[int, int]
    alpha: float = 0.05
    min_events: float | None = None
    edge: int = 0

    @property
    def shape_from(self) -> float:
        """Events from which on a working point has a shape of its own."""
        if self.min_events is None:
            return float(EVENTS_PER_PARAMETER * max(self.orders))
        return self.min_events

    def fitted(self, counts: FloatArray) -> NestedFit:
        """Return the fits of nested working points, from counts (t, W, b)."""
        events = counts.sum(axis=2)
        own = events >= self.shape_from
        own[:, 0] = True
        rows = counts[own]
        if len(self.orders) == 1:
            one = fit_batch(rows, self.basis, self.orders[0])
            means, order = one.expected, np.full(len(rows), self.orders[0])
        else:
            chosen = select_order_batch(rows, self.basis, self.orders, self.alpha)
            means, order = chosen.expected, chosen.order
        # Row by row, the last own one before each working point: they are the loosest ones.
        source = np.cumsum(own) - 1
        shape = means[source].reshape(counts.shape)
        total = shape.sum(axis=2)
        ratio = np.divide(events, total, out=np.zeros_like(total), where=total > 0)
        return NestedFit(
            expected=shape * np.where(own, 1.0, ratio)[:, :, None],
            order=order[source].reshape(events.shape),
            own=own,
        )

    def fit(self, counts: FloatArray) -> FloatArray:
        """Return the fitted means (t, W, b) of nested working points, from counts (t, W, b)."""
        return self.fitted(counts).expected

    def hunt(self, counts: FloatArray, expected: FloatArray) -> FloatArray:
        """Return the largest local z (t, W) of counts and means (t, W, b)."""
        n = counts.reshape(-1, self.basis.n_bins)
        found = best_interval_batch(n, expected.reshape(n.shape), self.edge, None, *self.widths)
        return found.z.reshape(counts.shape[:2])


@dataclass(frozen=True)
class GridFit:
    """The data: `expected` (W, b) of each spectrum, `z` (S, W), intervals `start`, `stop` (S, W).

    An interval is bins `start` to `stop`, exclusive. `own_shape` (S, W): where the shape was
    fitted, not taken from a looser working point. Where `part` (S, W) is False there are too few
    events: z is minus infinity.
    """

    expected: tuple[FloatArray, ...]
    z: FloatArray
    start: IntArray
    stop: IntArray
    own_shape: BoolArray
    part: BoolArray

    @property
    def best(self) -> tuple[int, int]:
        """Spectrum and working point of the largest z."""
        s, w = np.unravel_index(int(np.argmax(self.z)), self.z.shape)
        return int(s), int(w)


@dataclass(frozen=True, slots=True)
class GridBlock:
    """Toys `first` to `first` + t of a seed; `z` (t, S, W) the largest local z of each spectrum."""

    first: int
    z: FloatArray


@dataclass(frozen=True)
class GridSearch:
    """What the data hold and how often background alone does as well.

    `fit` of the data. `largest` (n,) over everything in each toy, in `spectrum` and `level` (n,).
    `p` is P(largest z of all >= that of the data), the look-elsewhere effect of everything. Of
    each cell of the grid, (S, W): `reached` toys had as large a z there, so that (reached + 1) /
    (n + 1) holds the look-elsewhere effect of its masses alone; `mean` and `width` of z there.
    """

    fit: GridFit
    p: ToyP
    largest: FloatArray
    spectrum: IntArray
    level: IntArray
    reached: IntArray
    mean: FloatArray
    width: FloatArray

    @property
    def n_toys(self) -> int:
        """Number of toys."""
        return int(self.largest.size)


def _check(toys: EventToys, spectra: Sequence[GridSpectrum]) -> None:
    bins = tuple(one.basis.n_bins for one in spectra)
    if bins != toys.n_bins:
        raise InputDataError(
            f"The events were put into spectra of {toys.n_bins} bins, but those to be fitted have "
            f"{bins}: give one spectrum for each column of bins, in the same order."
        )


def fit_grid(data: EventToys, spectra: Sequence[GridSpectrum]) -> GridFit:
    """Fit and hunt each spectrum at each working point of the data.

    Args:
        data: cells of the events.
        spectra: one for each that the events were put into.

    Raises:
        InputDataError: spectra that do not belong to the events.
        FitError: too few bins for the orders.
    """
    _check(data, spectra)
    expected: list[FloatArray] = []
    shape = (len(spectra), data.n_levels)
    z, start, stop = np.empty(shape), np.empty(shape, np.int64), np.empty(shape, np.int64)
    own, part = np.empty(shape, dtype=np.bool_), np.empty(shape, dtype=np.bool_)
    for s, (one, counts) in enumerate(zip(spectra, data.expected(), strict=True)):
        means = one.fit(counts[None])[0]
        found = best_interval_batch(counts, means, one.edge, None, *one.widths)
        z[s], start[s], stop[s] = found.z, found.start, found.stop
        events = counts.sum(axis=1)
        own[s] = events >= one.shape_from
        part[s] = (events >= MIN_EVENTS) & own[s, 0]
        expected.append(means)
    z[~part] = -np.inf
    return GridFit(tuple(expected), z, start, stop, own, part)


def grid_largest(
    toys: EventToys, spectra: Sequence[GridSpectrum], slices: CountArray
) -> FloatArray:
    """Fit and hunt toys as the data: return the largest z (t, S, W) of each spectrum.

    Args:
        toys: whose slices they are.
        spectra: as for `fit_grid`.
        slices: (columns, t) counts from `EventToys.draw_slices`.
    """
    out = np.empty((slices.shape[1], len(spectra), toys.n_levels))
    for s, one in enumerate(spectra):
        counts = toys.nested(slices, s)
        out[:, s] = one.hunt(counts, one.fit(counts))
    return out


def _block(null: EventToys, spectra: Sequence[GridSpectrum], seed: int, index: int) -> GridBlock:
    """Make the toys of one block, a few at a time."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    z = [
        grid_largest(null, spectra, null.draw_slices(rng, TOYS_AT_ONCE))
        for _ in range(TOYS_PER_BLOCK // TOYS_AT_ONCE)
    ]
    return GridBlock(index * TOYS_PER_BLOCK, np.concatenate(z))


def grid_toys(
    null: EventToys,
    spectra: Sequence[GridSpectrum],
    seed: int,
    blocks: range,
    executor: Executor,
    in_flight: int = _IN_FLIGHT,
) -> Iterator[GridBlock]:
    """Yield blocks of 32 toys, in their order, each fitted and hunted as the data were.

    Args:
        null: cells on the null, from `EventToys.on_null`.
        spectra: as for `fit_grid`.
        seed: of all toys; a block is the same whichever others are made.
        blocks: which to make; `range(a, b)` continues a run that had made a blocks.
        executor: runs blocks side by side; results do not depend on it.
        in_flight: blocks that are under way or wait to be taken.

    Raises:
        InputDataError: spectra that do not belong to the events.
    """
    _check(null, spectra)
    waiting: deque[Future[GridBlock]] = deque()
    for index in blocks:
        waiting.append(executor.submit(_block, null, spectra, seed, index))
        if len(waiting) >= in_flight:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def search_grid(
    data: EventToys,
    spectra: Sequence[GridSpectrum],
    n_toys: int,
    seed: int,
    executor: Executor,
    progress: Callable[[int, int], None] | None = None,
) -> GridSearch:
    """Search all spectra at all working points, with the significance of the largest excess.

    Args:
        data: cells of the events.
        spectra: one for each that the events were put into.
        n_toys: toys; of the last block only as many as are needed are counted.
        seed: of the toys.
        executor: runs blocks of toys side by side; results do not depend on it.
        progress: called with toys done and all toys.

    Raises:
        ConfigurationError: fewer than one toy, or no spectrum with enough events.
        InputDataError: spectra that do not belong to the events.
        FitError: too few bins for the orders.

    Returns:
        (k + 1) / (n + 1) and its 68% interval; below about 1 / n use `importance_sampled_p`.
    """
    if n_toys < 1:
        raise ConfigurationError(f"A global p-value needs at least one toy, not {n_toys}.")
    fit = fit_grid(data, spectra)
    if not fit.part.any():
        raise ConfigurationError(
            "No spectrum has enough events to fit its background, 20 for each parameter: lower the "
            "orders, or merge spectra."
        )
    null = data.on_null(fit.expected)
    largest = np.empty(n_toys)
    cell = np.empty(n_toys, dtype=np.int64)
    reached = np.zeros(fit.z.shape, dtype=np.int64)
    total, squares = np.zeros(fit.z.shape), np.zeros(fit.z.shape)
    blocks = range(-(-n_toys // TOYS_PER_BLOCK))
    # The same counts can be summed in another order: rounding is no difference.
    at_least = np.where(fit.part, fit.z - 1e-9 * np.maximum(1.0, np.abs(fit.z)), np.inf)
    threshold = float(at_least[fit.part].max())
    for block in grid_toys(null, spectra, seed, blocks, executor):
        z = block.z[: n_toys - block.first]
        part = slice(block.first, block.first + len(z))
        flat = np.where(fit.part, z, -np.inf).reshape(len(z), -1)
        cell[part], largest[part] = flat.argmax(axis=1), flat.max(axis=1)
        reached += np.count_nonzero(z >= at_least, axis=0)
        total += z.sum(axis=0)
        squares += (z**2).sum(axis=0)
        if progress is not None:
            progress(part.stop, n_toys)
    mean = total / n_toys
    return GridSearch(
        fit=fit,
        p=toy_p_value(int(np.count_nonzero(largest >= threshold)), n_toys),
        largest=largest,
        spectrum=cell // data.n_levels,
        level=cell % data.n_levels,
        reached=reached,
        mean=mean,
        width=np.sqrt(np.maximum(squares / n_toys - mean**2, 0.0)),
    )
