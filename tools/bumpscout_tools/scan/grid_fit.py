"""The fits of one column of a grid: where they start, what they find, whether they can be believed.

Data and replays go through the same functions. A cell can be believed if its fit describes the
spectrum as a whole, or with its most significant interval (and a bin on each side) left out, so
that a strong signal does not count as a bad fit. Every cell is also fitted with each of p2 to p6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bumpscout_tools.background import DijetBasis, deviance_p, fit, fit_batch, select_order
from bumpscout_tools.background.goodness import runs_p
from bumpscout_tools.inference import GridSpectrum
from bumpscout_tools.inference.grid import MIN_EVENTS
from bumpscout_tools.scan.grid_layout import GridColumn
from bumpscout_tools.scan.grid_plan import MIN_BINS
from bumpscout_tools.scan.layout import MAX_START_STEPS, MIN_FIT_P, START_STEP_BINS
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.statistics import best_interval_batch

__all__ = [
    "BELIEVED_FIT_P",
    "HYPOTHESES",
    "ColumnFit",
    "cell_doubt",
    "fit_column",
    "fit_start",
    "model_of",
    "spectrum_doubt",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

HYPOTHESES = (2, 3, 4, 5, 6)
BELIEVED_FIT_P, BELIEVED_RUNS_P = 0.01, 0.001
"""A fit whose deviance, or runs of residuals, have a smaller probability is not believed."""


@dataclass(frozen=True)
class ColumnFit:
    """The fits of one column at its W working points, in the bins from `start` on.

    Attributes:
        start: first bin of the fit; `described` whether the rule found one that is described.
        described: see above; the rules `mode` and `first` do not ask.
        expected: (W, b) means in all bins of the column; below `start` the counts themselves.
        order: (W,) of the family; `own` (W,) where the shape was fitted at the point itself.
        z: (W,) largest local z, `low` and `high` (W,) the bins of its interval, of all bins.
        part: (W,) enough events to be tested; `doubts` (W,) why a fit cannot be believed, or None.
        hypothesis_z: (W, h) largest local z under each of `HYPOTHESES`, `hypothesis_p` (W, h) their
            goodness of fit.
    """

    start: int
    described: bool
    expected: FloatArray
    order: IntArray
    own: BoolArray
    z: FloatArray
    low: IntArray
    high: IntArray
    part: BoolArray
    doubts: tuple[str | None, ...]
    hypothesis_z: FloatArray
    hypothesis_p: FloatArray

    @property
    def believable(self) -> BoolArray:
        """Return (W,) True where a cell may claim something."""
        good = np.array([doubt is None for doubt in self.doubts], dtype=np.bool_)
        return np.logical_and(self.part, good)


@lru_cache(maxsize=4096)
def _basis(edges: tuple[float, ...], sqrt_s_gev: float) -> DijetBasis:
    return DijetBasis(np.array(edges), sqrt_s_gev, HYPOTHESES[-1])


def model_of(plan: SearchPlan, column: GridColumn, start: int) -> GridSpectrum:
    """Return how a column is fitted and hunted in the bins from `start` on."""
    basis = _basis(tuple(column.edges[start:].tolist()), plan.background.sqrt_s_gev)
    return GridSpectrum(
        basis, plan.background.orders, plan.bump_bins, plan.background.alpha, edge=plan.bump_bins[1]
    )


def fit_start(plan: SearchPlan, column: GridColumn, counts: FloatArray) -> tuple[int, bool]:
    """Return the first bin of the fit by the rule of the plan, and whether the rule was met.

    Args:
        plan: the search plan.
        column: its bins.
        counts: (b,) events that pass the loosest cut.
    """
    rule = column.spectrum.start
    if rule == "first":
        return 0, True
    last = len(counts) - MIN_BINS
    mode = int(np.argmax(counts / np.log(column.edges[1:] / column.edges[:-1])))
    mode = max(0, min(mode, last))
    if rule == "mode":
        return mode, True
    for step in range(MAX_START_STEPS):
        start = mode + START_STEP_BINS * step
        model = model_of(plan, column, start) if start <= last else None
        if model is None or counts[start:].sum() < model.shape_from:
            break
        if spectrum_doubt(model, counts[start:], MIN_FIT_P) is None:
            return start, True
    return mode, False


def cell_doubt(model: GridSpectrum, counts: FloatArray, level: int) -> str | None:
    """Return why the fit of one cell cannot be believed, or None.

    Args:
        model: of the column from its start on.
        counts: (W, b) events that pass each cut, in the bins of the model.
        level: number of the cut.
    """
    own = counts.sum(axis=1) >= model.shape_from
    if own[level] or level == 0:
        return spectrum_doubt(model, counts[level], BELIEVED_FIT_P)
    mean = model.fit(counts[None, : level + 1])[0, -1]
    if mean.sum() <= 0:
        return "no fit: no looser cut has events"
    rest = ~_around_best(model, counts[level], mean)
    whole = _scaled_doubt(counts[level], mean, np.ones_like(rest))
    if whole is None or _scaled_doubt(counts[level], mean, rest) is None:
        return None
    return whole


def spectrum_doubt(model: GridSpectrum, counts: FloatArray, min_fit_p: float) -> str | None:
    """Return why no fit describes counts (b,), with or without the most significant interval."""
    whole = select_order(counts, model.basis, model.orders, model.alpha, min_fit_p=min_fit_p)
    if whole.believable:
        return None
    mask = _around_best(model, counts, whole.fit.expected)
    if np.count_nonzero(~mask) > model.orders[-1] + 1 and counts[~mask].sum() > 0:
        masked = select_order(
            counts, model.basis, model.orders, model.alpha, mask, min_fit_p=min_fit_p
        )
        if masked.believable:
            return None
    return "; ".join(whole.reasons)


def _around_best(model: GridSpectrum, counts: FloatArray, mean: FloatArray) -> BoolArray:
    """Return (b,) True in the most significant interval and in a bin on each side of it."""
    mask = np.zeros(len(counts), dtype=np.bool_)
    found = best_interval_batch(counts[None], mean[None], model.edge, None, *model.widths)
    mask[max(0, found.start[0] - 1) : found.stop[0] + 1] = True
    return mask


def _scaled_doubt(counts: FloatArray, mean: FloatArray, used: BoolArray) -> str | None:
    """Judge a shape of a looser cut, whose number of events alone was fitted, on some bins."""
    n, mu = counts[used], mean[used]
    if mu.sum() <= 0 or n.sum() <= 0:
        return "no events beside its most significant interval"
    mu = mu * (n.sum() / mu.sum())
    p = deviance_p(_deviance(n, mu), mu, 1)
    runs = runs_p(counts, mean, np.flatnonzero(used), 1)
    if p < BELIEVED_FIT_P:
        return f"the shape of a looser cut does not describe it: p = {p:.2g}"
    if runs < BELIEVED_RUNS_P:
        return f"residuals stay on one side for too long: p = {runs:.2g}"
    return None


def _deviance(counts: FloatArray, mean: FloatArray) -> float:
    mu = np.maximum(mean, 1e-300)
    log = np.where(counts > 0, counts * np.log(np.where(counts > 0, counts, 1.0) / mu), 0.0)
    return float(2.0 * (log - (counts - mean)).sum())


def fit_column(plan: SearchPlan, column: GridColumn, counts: FloatArray) -> ColumnFit:
    """Fit and hunt a column at each working point of the data.

    Args:
        plan: the search plan.
        column: its bins.
        counts: (W, b) events that pass each cut.
    """
    start, described = fit_start(plan, column, counts[0])
    model = model_of(plan, column, start)
    inside = np.ascontiguousarray(counts[:, start:])
    nested = model.fitted(inside[None])
    found = best_interval_batch(inside, nested.expected[0], model.edge, None, *model.widths)
    events = inside.sum(axis=1)
    part = (events >= MIN_EVENTS) & (events[0] >= model.shape_from)
    doubts = tuple(
        cell_doubt(model, inside, level) if part[level] else "too few events"
        for level in range(len(counts))
    )
    z, p = _hypotheses(model, inside, nested.own[0], part)
    return ColumnFit(
        start=start,
        described=described,
        expected=np.hstack([counts[:, :start], nested.expected[0]]),
        order=nested.order[0],
        own=nested.own[0],
        z=np.where(part, found.z, -np.inf),
        low=found.start + start,
        high=found.stop + start,
        part=part,
        doubts=doubts,
        hypothesis_z=z,
        hypothesis_p=p,
    )


def _hypotheses(
    model: GridSpectrum, counts: FloatArray, own: BoolArray, part: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Return local z and goodness of fit (W, h) under each order, shapes where `own`.

    Where an order does not describe the whole, it is asked again without the interval found.
    """
    shape = (len(counts), len(HYPOTHESES))
    z, p = np.zeros(shape), np.zeros(shape)
    source = np.cumsum(own) - 1
    totals = counts.sum(axis=1)
    for h, order in enumerate(HYPOTHESES):
        fits = fit_batch(counts[own], model.basis, order)
        means = fits.expected[source]
        sums = means.sum(axis=1)
        means = means * np.where(own | (sums <= 0), 1.0, totals / np.maximum(sums, 1e-300))[:, None]
        z[:, h] = best_interval_batch(counts, means, model.edge, None, *model.widths).z
        for w in np.flatnonzero(part):
            if fits.converged[source[w]]:
                fitted = order if own[w] else 1
                p[w, h] = deviance_p(_deviance(counts[w], means[w]), means[w], fitted)
            if p[w, h] < BELIEVED_FIT_P and own[w]:
                mask = _around_best(model, counts[w], means[w])
                rest = fit(counts[w], model.basis, order, mask)
                if rest.converged:
                    p[w, h] = max(p[w, h], deviance_p(rest.deviance, rest.expected[~mask], order))
    return z, p
