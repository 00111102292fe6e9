"""What the procedure does with a signal of known mass and strength: injected, retrained, scanned.

Signal events are added to a background-only pseudo-experiment and the whole plan is carried out on
the sum, so that detectors train on the signal as they would in data. Strength is the expected
S/sqrt(B) within 5% of the signal's mass before any cut; numbers of events are Poisson's. Two things
are measured: what the scan finds, with its significance calibrated like the data's; and the signal
yield at the true mass for each working point, in an interval that does not depend on the events (a
scanned maximum is biased upwards).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.background import Selection, fit_batch, select_order_batch
from bumpscout_tools.errors import BumpscoutError, InputDataError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.cells import fit_background
from bumpscout_tools.scan.execute import Prepared, RunScript, execute, prepare
from bumpscout_tools.scan.layout import Layout
from bumpscout_tools.scan.null import fit_null
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import Excess, Replay, excesses, replay_once
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.scan.trials import KeptScores, ScanRecord
from bumpscout_tools.statistics import poisson_z

__all__ = ["NEAR", "Injected", "Yield", "inject", "injection_trial"]

FloatArray = npt.NDArray[np.float64]

NEAR = 0.05
"""Events within this fraction of the signal's mass count in S/sqrt(B)."""
FIT_TOYS = 200
ONE_SIGMA = 0.6827
POISSON_ROOM = 5.0
"""Standard deviations by which an injected number of events may exceed its expectation."""
INJECTION_STREAM = 30
"""Second word of the entropy of an injection; the scan has other streams of the same seed."""


class Yield(BaseModel):
    """The signal yield near the true mass at one working point, measured and true.

    The cut is that of the plan's first detector; `efficiency` is None for all events without one.
    `error` holds the Poisson error of the count and that of the fitted expectation, from toys of
    the next larger order that choose their order anew; `local_z` knows the first alone. `n_true`
    counts signal events near the mass, `n_passed` all that pass the cut in the fitted range.
    `counts` and `true_counts` (b,), of all and of signal events that pass, where they were wanted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    efficiency: float | None
    n_observed: int
    n_expected: float
    error: float
    n_true: int
    n_passed: int = 0
    local_z: float
    believable: bool
    counts: tuple[int, ...] = ()
    true_counts: tuple[int, ...] = ()

    @property
    def fit_error(self) -> float:
        """Error of the fitted expectation."""
        return math.sqrt(max(0.0, self.error**2 - self.n_observed))


class Injected(BaseModel):
    """One pseudo-experiment with a signal, scanned.

    Attributes:
        strength: expected S/sqrt(B) near the mass, before any cut.
        n_injected: signal events that were injected.
        n_signal: those in the fitted range.
        cells: what the scan found, for its calibrated significance.
        cell_mass_gev: (n_cells,) GeV, middle of the most significant interval of each cell.
        yields: at the true mass, inclusive first, then by falling efficiency.
        edges_gev: (b + 1,) bins of the spectra of the yields, where they were wanted.
        window: bins of the signal window that holds the mass.
        record: what the verdict needs beside the cells.
        replays: of the plan on draws from a null generator fitted to these very data, signal
            included; empty where none was fitted.
        error: what ended the scan, if anything did.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mass_gev: float
    strength: float
    number: int
    n_injected: int = 0
    n_signal: int = 0
    cells: tuple[Excess, ...] = ()
    cell_mass_gev: tuple[float, ...] = ()
    yields: tuple[Yield, ...] = ()
    edges_gev: tuple[float, ...] = ()
    window: tuple[int, int] | None = None
    record: ScanRecord | None = None
    replays: tuple[Replay, ...] = ()
    error: str | None = None


def inject(
    background: View,
    signal: View,
    mass_gev: float,
    strength: float,
    rng: np.random.Generator,
) -> tuple[View, npt.NDArray[np.uint64]]:
    """Add a Poisson number of signal events to a background, in an order that tells nothing.

    Args:
        background: events without a signal.
        signal: events of the signal alone, with the same features or more.
        mass_gev: mass of the signal.
        strength: expected S/sqrt(B) within `NEAR` of the mass.
        rng: chooses the signal events, and the order.

    Returns:
        The events, and the identifiers of those that are signal, for scoring alone.

    Raises:
        InputDataError: if the signal has too few events for this strength, or lacks a feature.
    """
    unknown = [name for name in background.feature_names if name not in signal.feature_names]
    if unknown:
        raise InputDataError(f"The signal lacks the features {unknown} of the background.")
    near = [np.abs(view.mass / mass_gev - 1) < NEAR for view in (background, signal)]
    if not near[1].any():
        raise InputDataError(
            f"No signal event lies within {NEAR:.0%} of {mass_gev:.0f} GeV; is that its mass?"
        )
    expected = strength * float(np.sqrt(near[0].sum())) / float(near[1].mean())
    enough = math.ceil(expected + POISSON_ROOM * math.sqrt(expected))
    if enough > len(signal):
        raise InputDataError(
            f"S/sqrt(B) = {strength:g} at {mass_gev:.0f} GeV needs {enough} signal events; there "
            f"are {len(signal)}."
        )
    wanted = min(int(rng.poisson(expected)), len(signal))
    rows = rng.choice(len(signal), wanted, replace=False)
    columns = [signal.feature_names.index(name) for name in background.feature_names]
    ids = rng.integers(2**64, size=wanted, dtype=np.uint64)
    order = rng.permutation(len(background) + wanted)
    view = View(
        np.concatenate([background.event_id, ids])[order],
        np.concatenate([background.mass, signal.mass[rows]])[order],
        np.concatenate([background.features, signal.features[rows][:, columns]])[order],
        background.feature_names,
    )
    return view, ids


def injection_trial(
    plan: SearchPlan,
    background: View,
    signal: View,
    *,
    mass_gev: float,
    strength: float,
    number: int,
    seed: int,
    run_script: RunScript,
    keep_spectra: bool = False,
    keep_record: bool = False,
    n_replays: int = 0,
) -> Injected:
    """Inject, carry out the plan, and measure.

    Args:
        plan: the search plan.
        background: a background-only pseudo-experiment.
        signal: events of the signal alone.
        mass_gev: its mass.
        strength: expected S/sqrt(B) near it.
        number: of the repetition.
        seed: decides everything.
        run_script: gives the scores of a detector.
        keep_spectra: keep the spectra behind each cut, to set limits in.
        keep_record: keep what a verdict needs.
        n_replays: replays from a null generator that is fitted to the sum, as a search would fit
            it; 0 fits none.
    """
    about = {"mass_gev": mass_gev, "strength": strength, "number": number}
    rng = np.random.default_rng((seed, INJECTION_STREAM))
    kept = KeptScores(run_script)
    replays: list[Replay] = []
    null = record = None
    try:
        view, ids = inject(background, signal, mass_gev, strength, rng)
        outcome = execute(
            plan, view, np.random.default_rng(seed), SerialExecutor(), kept, lambda _test: None
        )
        prepared = prepare(plan, view, np.random.default_rng(seed))
        best = outcome.best()
        if n_replays and best is not None:
            null = fit_null(plan, prepared, best.window_gev, seed)
            replays = [replay_once(plan, null, k, seed, run_script) for k in range(n_replays)]
        if keep_record:
            record = ScanRecord.of(plan, prepared, kept.scores, outcome, null, seed)
    except BumpscoutError as error:
        return Injected.model_validate({**about, "error": str(error)[:500]})
    is_signal = np.isin(prepared.view.event_id, ids)
    return Injected.model_validate(
        {
            **about,
            "n_injected": len(ids),
            "n_signal": int(is_signal.sum()),
            "record": record,
            "replays": replays,
            "cells": excesses(outcome),
            "cell_mass_gev": [float(np.mean(cell.interval_gev)) for cell in outcome.cells],
            "yields": _yields(
                plan, prepared, kept.scores[0], is_signal, mass_gev, rng, keep_spectra
            ),
            "edges_gev": prepared.layout.edges.tolist() if keep_spectra else (),
            "window": _window_bins(prepared.layout, mass_gev),
        }
    )


def _window_bins(layout: Layout, mass_gev: float) -> tuple[int, int] | None:
    window = _window_at(layout.windows_gev, mass_gev)
    return None if window is None else layout.windows[window]


def _yields(
    plan: SearchPlan,
    prepared: Prepared,
    scores: FloatArray,
    is_signal: npt.NDArray[np.bool_],
    mass_gev: float,
    rng: np.random.Generator,
    keep_spectra: bool,
) -> tuple[Yield, ...]:
    layout, mass = prepared.layout, prepared.view.mass
    window = _window_at(layout.windows_gev, mass_gev)
    if window is None:
        return ()
    bins = _bins_near(layout, layout.windows[window], mass_gev)
    order = np.argsort(-scores[:, window], kind="stable")
    found = []
    for efficiency in (None, *plan.working_points.efficiencies):
        n_selected = len(mass) if efficiency is None else max(1, round(efficiency * len(mass)))
        rows = order[:n_selected]
        counts = layout.histogram(mass[rows])
        true = layout.histogram(mass[rows][is_signal[rows]])
        selection, reason = fit_background(plan, layout, counts, window)
        expected = selection.fit.expected
        b, n = float(expected[bins].sum()), float(counts[bins].sum())
        mask = layout.window_mask(layout.windows[window])
        spread = fit_error(plan, layout, counts, selection, mask, bins, rng)
        found.append(
            Yield(
                efficiency=efficiency,
                n_observed=int(n),
                n_expected=b,
                error=float(np.sqrt(n + spread**2)),
                n_true=int(true[bins].sum()),
                n_passed=int(true.sum()),
                local_z=float(poisson_z(np.array([n]), np.array([max(b, 1e-9)]))[0]),
                believable=reason is None,
                counts=tuple(map(int, counts)) if keep_spectra else (),
                true_counts=tuple(map(int, true)) if keep_spectra else (),
            )
        )
    return tuple(found)


def fit_error(
    plan: SearchPlan,
    layout: Layout,
    counts: FloatArray,
    selection: Selection,
    mask: npt.NDArray[np.bool_],
    bins: slice,
    rng: np.random.Generator,
) -> float:
    """Return the error of what a side-band fit expects in some bins, the choice of order included.

    Toys come from the fit of the next larger order: a term too small to be taken is a bias of the
    chosen fit that toys of the chosen order would lack. Each toy chooses its order anew, and counts
    by its distance from the truth of the toys.

    Args:
        plan: gives orders and level of the choice.
        layout: bins.
        counts: (b,) the fitted spectrum.
        selection: its fit.
        mask: (b,) bins left out of the fit.
        bins: where the error is wanted.
        rng: of the toys.
    """
    orders, alpha = plan.background.orders, plan.background.alpha
    mean = selection.fit.expected
    larger = [order for order in orders if order > selection.order]
    if larger:
        richer = fit_batch(np.atleast_2d(counts).copy(), layout.basis, larger[0], mask)
        if richer.converged[0]:
            mean = richer.expected[0]
    toys = rng.poisson(mean, (FIT_TOYS, len(mean))).astype(np.float64)
    fitted = select_order_batch(toys, layout.basis, orders, alpha, mask).expected
    off = np.abs(fitted[:, bins].sum(axis=1) - mean[bins].sum())
    # A toy whose fit has no finite optimum may expect anything; the quantile does not mind.
    return float(np.quantile(off, ONE_SIGMA))


def _window_at(windows_gev: Sequence[tuple[float, float]], mass_gev: float) -> int | None:
    """Return the window whose middle is nearest to the mass, None where no window holds it."""
    middle = np.log([low * high for low, high in windows_gev]) / 2
    nearest = int(np.argmin(np.abs(middle - np.log(mass_gev))))
    low, high = windows_gev[nearest]
    return nearest if low <= mass_gev < high else None


def _bins_near(layout: Layout, window: tuple[int, int], mass_gev: float) -> slice:
    """Return the bins of a window whose middles lie within `NEAR` of the mass, and its own bin."""
    edges = layout.edges
    centres = np.sqrt(edges[1:] * edges[:-1])
    inside = np.abs(centres / mass_gev - 1) < NEAR
    inside |= (edges[:-1] <= mass_gev) & (mass_gev < edges[1:])
    bins = np.flatnonzero(inside[window[0] : window[1]]) + window[0]
    return slice(int(bins[0]), int(bins[-1]) + 1)
