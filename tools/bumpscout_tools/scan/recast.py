"""Recast: what a plan would see of a given signal: efficiencies, sensitivity, limits by strength.

A signal is injected at several strengths, the detectors are trained anew each time, and repetitions
without it (strength 0) are the null. Three things come of it. The efficiency of each cut, which for
a cut trained on the data depends on how much signal they hold. How often the plan finds the signal,
and the strength that 3 and 5 sigma need. And the cross section that would be excluded: the number
of injected events at which the events that pass reach the expected limit on them, efficiency and
limit both taken at that strength, not at another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.background import DijetBasis, fit_batch, select_order
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference import PeakModel, peak_grid
from bumpscout_tools.scan.alarms import NullTrial, Rate
from bumpscout_tools.scan.calibration import NullCells
from bumpscout_tools.scan.cross_sections import FB_PER_PB
from bumpscout_tools.scan.injection import Injected
from bumpscout_tools.scan.limits_spectrum import CutSpectrum, cut_limits
from bumpscout_tools.scan.performance import AtStrength, performance
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.reach import Estimate, Reach, median_z, null_mean, reach
from bumpscout_tools.scan.replay import Replay
from bumpscout_tools.scan.yields import efficiency_spread, null_yield

__all__ = ["CutEfficiency", "ExpectedLimit", "Recast", "Strength", "recast_signal"]

FloatArray = npt.NDArray[np.float64]

GRID = 4001
MIN_TRIALS = 5
MAX_ORDER = 6


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CutEfficiency(_Record):
    """Share of injected signal events that pass one cut at one strength, in the fitted range.

    `error` is that of the mean over repetitions, training included; `spread` how much the
    efficiency varies from training to training, relative, beyond counting; `near` the share within
    5% of the mass; `response` the share of the passing events that a fit of a Gaussian finds;
    `median_z` the median significance at the true mass, None where fits cannot be believed.
    """

    efficiency: float | None
    n: int
    mean: float
    error: float
    spread: float
    near: float
    response: float
    median_z: float | None


class Detected(_Record):
    """How often the plan finds one strength, as `performance.AtStrength` counts it."""

    strength: float
    n: int
    n_failed: int
    failure: str | None
    mean_signal: float
    found_5pc: Rate
    found_1pc: Rate
    median_p: float
    mass_bias: float | None
    mass_spread: float | None


class ExpectedLimit(_Record):
    """The median expected limit behind one cut, and the signal that it excludes.

    `visible_events` in the whole peak; `injected_events` the signal events, before acceptance and
    cut, of which so many pass with the efficiency that a signal of that size itself trains; None
    where the strengths injected do not reach it. `strength` is its S/sqrt(B), `cross_section_pb`
    that of sigma x BR x acceptance of the file, None without a luminosity.
    """

    efficiency: float | None
    visible_events: float | None
    low_events: float | None
    high_events: float | None
    n: int
    injected_events: float | None
    strength: float | None
    cross_section_pb: float | None


class Strength(_Record):
    """The strength S/sqrt(B) at which the median significance behind a cut is so many sigma."""

    efficiency: float | None
    sigma: float
    strength: Estimate | None
    cross_section_pb: float | None


class Recast(_Record):
    """What a plan makes of one signal.

    `events_per_strength` is the mean number of injected events at S/sqrt(B) = 1; `sigma_relative`
    the relative width of the Gaussian that limits are set with.
    """

    name: str
    mass_gev: float
    sigma_relative: float
    events_per_strength: float
    n_null: int
    efficiencies: dict[str, tuple[CutEfficiency, ...]]
    needed: tuple[Strength, ...]
    limits: tuple[ExpectedLimit, ...]
    detected: tuple[Detected, ...]
    n_pool: int


class _Cut(NamedTuple):
    """One working point of the plan: its place among the yields of a trial."""

    place: int
    efficiency: float | None


def recast_signal(
    plan: SearchPlan,
    name: str,
    trials: Sequence[Injected],
    pool: Sequence[Injected],
    *,
    sigma_relative: float,
    rng: np.random.Generator,
) -> Recast:
    """Summarise the injections of one signal.

    Args:
        plan: the search plan.
        name: what the signal is called.
        trials: of this signal at strength 0 and others, with their spectra.
        pool: scans without a signal, among which each is ranked; they may hold those of `trials`.
        sigma_relative: relative width of the signal's peak, as detected.
        rng: of the bootstrap.

    Raises:
        ConfigurationError: without enough repetitions with and without signal that succeeded.
    """
    good = [t for t in trials if t.error is None and t.yields]
    zero = [t for t in good if t.strength == 0]
    some = [t for t in good if t.strength > 0]
    if len(zero) < MIN_TRIALS or not some:
        said = next((t.error for t in trials if t.error), "no signal window holds its mass")
        raise ConfigurationError(
            f"{name}: {len(zero)} repetitions without and {len(some)} with the signal could be "
            f"measured, and at least {MIN_TRIALS} and 1 are needed ({said})."
        )
    nulls = [
        NullTrial(
            name=str(k),
            n_events=0,
            replays=(Replay(index=0, n_events=0, cells=t.cells, error=t.error),),
        )
        for k, t in enumerate(pool)
    ]
    found = performance(plan, nulls, trials)
    strengths = sorted({t.strength for t in some})
    per_strength = float(np.mean([t.n_injected / t.strength for t in some]))
    cuts = [_Cut(i, row.efficiency) for i, row in enumerate(zero[0].yields)]
    groups = [[t for t in some if t.strength == s] for s in strengths]
    calibration = NullCells.estimate(plan, (), [r for n in nulls for r in n.replays])
    table = {
        f"{s:g}": tuple(
            _efficiency(plan, group, zero, cut, sigma_relative, calibration) for cut in cuts
        )
        for s, group in zip(strengths, groups, strict=True)
    }
    pb = None if plan.luminosity_fb is None else 1.0 / (FB_PER_PB * plan.luminosity_fb)
    return Recast(
        name=name,
        mass_gev=some[0].mass_gev,
        sigma_relative=sigma_relative,
        events_per_strength=per_strength,
        n_null=len(zero),
        efficiencies=table,
        needed=_needed(
            reach([(0.0, zero), *zip(strengths, groups, strict=True)], zero, calibration, rng),
            per_strength,
            pb,
        ),
        limits=tuple(
            _limit(plan, zero, groups, table, cut, sigma_relative, per_strength, pb, rng)
            for cut in cuts
        ),
        detected=tuple(_detected(at) for at in found.strengths),
        n_pool=found.n_pool,
    )


def _detected(at: AtStrength) -> Detected:
    kept = set(Detected.model_fields)
    return Detected.model_validate({k: v for k, v in at.model_dump().items() if k in kept})


def _efficiency(
    plan: SearchPlan,
    trials: Sequence[Injected],
    zero: Sequence[Injected],
    cut: _Cut,
    sigma: float,
    calibration: NullCells,
) -> CutEfficiency:
    rows = [t.yields[cut.place] for t in trials]
    injected = np.array([max(t.n_injected, 1) for t in trials], dtype=np.float64)
    passed = np.array([row.n_passed for row in rows], dtype=np.float64)
    share = passed / injected
    n, mean = len(rows), float(passed.sum() / injected.sum())
    counting = np.sqrt(max(mean * (1 - mean), 0.0) / injected.sum())
    error = float(share.std(ddof=1) / np.sqrt(n)) if n > 1 else float(counting)
    return CutEfficiency(
        efficiency=cut.efficiency,
        n=n,
        mean=mean,
        error=max(error, float(counting)),
        spread=efficiency_spread(passed),
        near=float(sum(row.n_true for row in rows) / injected.sum()),
        response=_response(plan, trials, cut, sigma),
        median_z=median_z(rows, calibration, null_mean([t.yields[cut.place] for t in zero])),
    )


def _basis(plan: SearchPlan, edges: Sequence[float]) -> DijetBasis:
    top = min(plan.background.orders[-1] + 1, MAX_ORDER)
    return DijetBasis(np.array(edges), plan.background.sqrt_s_gev, top)


def _mask(trial: Injected) -> npt.NDArray[np.bool_] | None:
    if trial.window is None:
        return None
    mask = np.zeros(len(trial.edges_gev) - 1, dtype=np.bool_)
    mask[trial.window[0] : trial.window[1]] = True
    return mask


def _response(plan: SearchPlan, trials: Sequence[Injected], cut: _Cut, sigma: float) -> float:
    """Return which part of the passing signal events a Gaussian of its core's width finds.

    Tails that no Gaussian has, and signal that the background takes for its own, are not found.
    The signal of all trials is put on the fitted background of each, without fluctuations.
    """
    edges = max((t.edges_gev for t in trials), key=[t.edges_gev for t in trials].count)
    same = [t for t in trials if t.edges_gev == edges]
    basis = _basis(plan, edges)
    shape = np.mean([t.yields[cut.place].true_counts for t in same], axis=0)
    if shape.sum() <= 0:
        return 0.0
    found = []
    for trial in same:
        counts = np.array(trial.yields[cut.place].counts, dtype=np.float64)
        choice = select_order(
            counts, basis, plan.background.orders, plan.background.alpha, _mask(trial)
        )
        model = PeakModel(basis, choice.order, peak_grid([trial.mass_gev], (0.0,), sigma))
        asimov = np.atleast_2d(choice.fit.expected + shape)
        zero = np.zeros(1, dtype=np.int64)
        start = fit_batch(asimov.copy(), basis, choice.order).coefficients
        fits = model.fit(asimov, zero, zero, start)
        if fits.converged[0]:
            found.append(float(fits.signal[0]) / float(shape.sum()))
    return float(np.median(found)) if found else 0.0


def _needed(found: Sequence[Reach], per_strength: float, pb: float | None) -> tuple[Strength, ...]:
    """Return what each cut needs, in S/sqrt(B) and in pb."""
    return tuple(
        Strength(
            efficiency=one.efficiency,
            sigma=sigma,
            strength=value,
            cross_section_pb=None
            if value is None or pb is None
            else value.value * per_strength * pb,
        )
        for one in found
        for sigma, value in ((3.0, one.for_3_sigma), (5.0, one.for_5_sigma))
    )


def _limit(
    plan: SearchPlan,
    zero: Sequence[Injected],
    groups: Sequence[Sequence[Injected]],
    table: dict[str, tuple[CutEfficiency, ...]],
    cut: _Cut,
    sigma: float,
    per_strength: float,
    pb: float | None,
    rng: np.random.Generator,
) -> ExpectedLimit:
    """Return the expected limit: the median over repetitions without a signal."""
    null = null_yield([t.yields[cut.place] for t in zero])
    width = 1.0 if null is None or cut.efficiency is None else null.width
    effects = [table[f"{group[0].strength:g}"][cut.place] for group in groups]
    spread = float(np.median([one.spread for one in effects]))
    observed = []
    for trial in zero:
        row = trial.yields[cut.place]
        if not row.believable:
            continue
        limits = cut_limits(
            CutSpectrum(
                np.array(row.counts, dtype=np.float64),
                _mask(trial),
                null_width=width,
                efficiency_error=spread,
            ),
            _basis(plan, trial.edges_gev),
            plan.background.orders,
            plan.background.alpha,
            plan.limits.model_copy(update={"widths": (0.0,), "resolution": sigma}),
            np.array([trial.mass_gev]),
            rng,
            max_by_toys=1,
        )
        observed += [r.observed for r in limits.rows if r.observed is not None]
    if 2 * len(observed) <= len(zero):
        return ExpectedLimit(
            efficiency=cut.efficiency,
            visible_events=None,
            low_events=None,
            high_events=None,
            n=len(observed),
            injected_events=None,
            strength=None,
            cross_section_pb=None,
        )
    low, median, high = (float(x) for x in np.quantile(observed, (0.16, 0.5, 0.84)))
    injected = np.array([group[0].strength for group in groups]) * per_strength
    keeps = np.array([e.mean * e.response for e in effects])
    found = _excluded(injected, keeps, median, trained=cut.efficiency is not None)
    return ExpectedLimit(
        efficiency=cut.efficiency,
        visible_events=median,
        low_events=low,
        high_events=high,
        n=len(observed),
        injected_events=found,
        strength=None if found is None else found / per_strength,
        cross_section_pb=None if found is None or pb is None else found * pb,
    )


def _excluded(
    injected: FloatArray, efficiency: FloatArray, limit: float, *, trained: bool
) -> float | None:
    """Return the injected events N from which on N efficiency(N) exceeds a limit on what passes.

    The efficiency is interpolated between the strengths injected. Below the weakest, that of a
    trained cut falls to nothing: a cut that was never shown a signal is not assumed to keep any.

    Args:
        injected: (s,) rising numbers of injected events.
        efficiency: (s,) with them.
        limit: on the events that pass.
        trained: whether the cut is trained on the events.

    Returns:
        The events, or None where even the strongest signal would not be excluded.
    """
    n = np.linspace(0.0, injected[-1], GRID)
    at_zero = 0.0 if trained else efficiency[0]
    share = np.interp(n, np.append(0.0, injected), np.append(at_zero, efficiency))
    allowed = np.flatnonzero(n * share < limit)
    last = int(allowed[-1])
    return None if last == GRID - 1 else float(n[last + 1])
