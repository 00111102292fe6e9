"""Fits a background to a user's spectrum and says whether the fit may be believed, and why not.

A fit is believed where all of this holds:

- it has a finite optimum, so that no parameter runs to a limit;
- its deviance is not improbable: chi2 where every bin expects 10 events, else counted from toys
  that are fitted as the data were, the choice of the order included;
- its residuals do not stay on one side for long, do not break at one mass, and do not go together
  over a few bins more than in such toys;
- it falls: a part that rises is a turn-on of a trigger or a selection, which such functions can
  imitate but do not describe;
- its bin integrals are accurate, which very wide bins can spoil.

Nothing is chosen silently: the range is the one that was asked for, no bins are merged.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import special

from bumpscout_tools.background.choice import compare_orders
from bumpscout_tools.background.fit import assemble, fit_batch
from bumpscout_tools.background.forms import FORMS
from bumpscout_tools.background.goodness import CHI2_FROM_EVENTS, deviance_p, runs_p
from bumpscout_tools.background.masked import background_everywhere
from bumpscout_tools.background.models import FittedBatch, Model
from bumpscout_tools.background.signal import minos_errors
from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.background.structure import structure_of
from bumpscout_tools.statistics.bumphunt import EXPECTED_FLOOR
from bumpscout_tools.statistics.intervals import toy_p_value

__all__ = ["MIN_FIT_P", "MIN_RUNS_P", "MIN_STRUCTURE_P", "FitReport", "OrderRow", "fit_report"]

FloatArray = NDArray[np.float64]

MIN_FIT_P = 0.01
MIN_RUNS_P = 0.001
MIN_STRUCTURE_P = 0.005
_RISE_SIGMA = 3.0
_INTEGRAL_SIGMA = 0.1
_CHUNK = 250
_DIJET = "p1 (1-x)^p2 x^(p3 + p4 ln x + p5 ln^2 x + p6 ln^3 x)"


class OrderRow(BaseModel):
    """One order that was compared: `lr_p` and `f_p` are those of its gain over the one held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order: int
    deviance: float
    ndf: int
    converged: bool
    lr_p: float | None
    f_p: float | None
    taken: bool


class _Goodness(NamedTuple):
    p: float
    method: str
    step_p: float
    smooth_p: float


class FitReport(BaseModel):
    """A background fit and whether to believe it.

    Attributes:
        model: the fitted model, `auto` replaced by what it chose.
        requested: the model as it was asked for.
        formula: of the function with x = m / sqrt(s), where there is one.
        parameters: p1.. of the formula; p1 in events per GeV.
        parameter_errors: MINOS errors (low <= 0, high >= 0), None where there is none.
        excluded_gev: ranges that the fit left out; `expected` is interpolated there.
        p_value: of the deviance; `p_method` says how it was found.
        runs_p: of the runs of the residuals.
        step_p: of the largest break between neighbouring residuals, from toys.
        smooth_p: of the size of locally averaged residuals, from toys.
        expected: events in each bin.
        reasons: why the fit is not believed; empty where it is.
        notes: what else a reader should know.
        orders: all orders that were compared; empty where none was chosen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    requested: str
    formula: str | None
    sqrt_s_gev: float
    fit_range_gev: tuple[float, float]
    excluded_gev: tuple[tuple[float, float], ...] = ()
    n_events: float
    deviance: float
    ndf: int
    p_value: float
    p_method: str
    runs_p: float
    step_p: float
    smooth_p: float
    parameters: dict[str, float]
    parameter_errors: dict[str, tuple[float, float] | None]
    believable: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    order_test: Literal["lr", "f"] | None
    orders: tuple[OrderRow, ...]
    edges_gev: tuple[float, ...]
    observed: tuple[float, ...]
    expected: tuple[float, ...]


def fit_report(
    spectrum: Spectrum,
    model: Model,
    sqrt_s_gev: float = 13000.0,
    *,
    n_toys: int = 1000,
    seed: int = 0,
    errors: bool = True,
) -> FitReport:
    """Fit a background to a spectrum and judge the fit.

    Args:
        spectrum: what is fitted; its excluded bins take no part.
        model: from `model_of_used_bins` on the same spectrum (or `make_model`, which is the same
            where no bin is excluded).
        sqrt_s_gev: collision energy, GeV, as given to `make_model`.
        n_toys: toys for the p-values.
        seed: of those toys.
        errors: whether to run MINOS.

    Raises:
        InputDataError: counts that cannot be fitted.
        FitError: too few bins for the model.
    """
    scales, used = spectrum.scales(), spectrum.used
    counts = np.atleast_2d((spectrum.observed / scales)[used])
    fitted = model.fit(counts)
    mu = background_everywhere(spectrum, model, fitted)
    order = int(fitted.order[0])
    ndf = used.size - _free_parameters(model, fitted)
    goodness = _goodness(model, fitted, counts, ndf, n_toys, seed)
    shown = np.round(spectrum.counts / scales)
    runs = runs_p(shown, mu, used, order)
    parameters, spread = _parameters(counts[0], model, fitted, ndf, errors)
    reasons = _doubts(spectrum, model, fitted, mu, ndf, goodness, runs)
    orders: tuple[OrderRow, ...] = ()
    if len(model.orders) > 1 and model.basis is not None:
        compared = compare_orders(counts[0], model.basis, model.orders, model.alpha, model.test)
        orders = tuple(
            OrderRow(
                order=row.order,
                deviance=row.deviance,
                ndf=row.ndf,
                converged=row.converged,
                lr_p=row.lr_p,
                f_p=row.f_p,
                taken=row.taken,
            )
            for row in compared
        )
    return FitReport(
        model=f"p{order}" if model.name == "auto" else model.name,
        requested=model.name,
        formula=_formula(model),
        sqrt_s_gev=sqrt_s_gev,
        fit_range_gev=(float(spectrum.edges[0]), float(spectrum.edges[-1])),
        excluded_gev=spectrum.excluded_ranges(),
        n_events=float(spectrum.counts.sum()),
        deviance=float(fitted.deviance[0]),
        ndf=ndf,
        p_value=goodness.p,
        p_method=goodness.method,
        runs_p=runs,
        step_p=goodness.step_p,
        smooth_p=goodness.smooth_p,
        parameters=parameters,
        parameter_errors=spread,
        believable=not reasons,
        reasons=tuple(reasons),
        notes=tuple(_notes(spectrum, model, orders)),
        order_test=model.test if orders else None,
        orders=orders,
        edges_gev=tuple(map(float, spectrum.edges)),
        observed=tuple(map(float, spectrum.observed)),
        expected=tuple(map(float, mu * scales)),
    )


def _free_parameters(model: Model, fitted: FittedBatch) -> int:
    if model.sliding is not None:
        return round(model.sliding.effective_parameters(fitted.expected[0]))
    return int(fitted.order[0])


def _formula(model: Model) -> str | None:
    if model.basis is None:
        return None
    if model.basis.name == "dijet":
        return _DIJET
    if model.basis.name == "template":
        return "p1 (m / m0)^p2 times the template, m0 the geometric mean of the range"
    return FORMS[model.basis.name].formula


def _goodness(
    model: Model, fitted: FittedBatch, counts: FloatArray, ndf: int, n_toys: int, seed: int
) -> _Goodness:
    """Return p-values of the deviance and of structure in the residuals."""
    mu, deviance = fitted.expected[0], float(fitted.deviance[0])
    if mu.sum() <= 0 or ndf < 1:
        return _Goodness(1.0, "none: nothing is left to compare", 1.0, 1.0)
    found = structure_of(counts, fitted.expected)
    rng = np.random.default_rng(seed)
    reached = np.zeros(3, dtype=np.int64)
    for first in range(0, n_toys, _CHUNK):
        size = min(_CHUNK, n_toys - first)
        toys = rng.poisson(mu, (size, mu.size)).astype(np.float64)
        again = model.fit(toys)
        structure = structure_of(toys, again.expected)
        reached += [
            np.count_nonzero(again.deviance >= deviance),
            np.count_nonzero(structure.step >= found.step[0]),
            np.count_nonzero(structure.smooth >= found.smooth[0]),
        ]
    step_p, smooth_p = (toy_p_value(int(k), n_toys).value for k in reached[1:])
    if np.all(mu >= CHI2_FROM_EVENTS) and model.sliding is None:
        return _Goodness(float(special.chdtrc(ndf, deviance)), "chi2", step_p, smooth_p)
    p, method = toy_p_value(int(reached[0]), n_toys).value, f"{n_toys} toys"
    if model.fitted:
        method = f"{n_toys} refitted toys"
    if reached[0] == 0:
        p = min(p, deviance_p(deviance, mu, mu.size - ndf))
        method = f"moments of the deviance; none of {method} reached it"
    return _Goodness(p, method, step_p, smooth_p)


def _parameters(
    counts: FloatArray, model: Model, fitted: FittedBatch, ndf: int, errors: bool
) -> tuple[dict[str, float], dict[str, tuple[float, float] | None]]:
    if model.basis is None or fitted.coefficients is None or fitted.expected[0].sum() <= 0:
        return {}, {}
    order = int(fitted.order[0])
    best = assemble(
        model.basis,
        fitted.coefficients[0, :order],
        float(fitted.deviance[0]),
        ndf,
        int(fitted.status[0]),
    )
    names = [f"p{k}" for k in range(1, order + 1)]
    spread = minos_errors(counts, model.basis, best) if errors else (None,) * order
    values = dict(zip(names, map(float, best.parameters), strict=True))
    return values, dict(zip(names, spread, strict=True))


def _doubts(
    spectrum: Spectrum,
    model: Model,
    fitted: FittedBatch,
    mu: FloatArray,
    ndf: int,
    goodness: _Goodness,
    runs: float,
) -> list[str]:
    """Return in words why the fit, with means `mu` (b,) in all bins, cannot be believed."""
    reasons: list[str] = []
    used = spectrum.used
    counts = np.atleast_2d((spectrum.observed / spectrum.scales())[used])
    status = fitted.status_of(0)
    if model.sliding is not None and status != "converged":
        reasons.append("a sliding window has no finite optimum: too few events in it")
    elif status == "at limit":
        reasons.append(
            f"a parameter runs to its limit: with {fitted.order[0]} parameters the likelihood has "
            "no finite optimum; too few events determine it"
        )
    elif status != "converged":
        reasons.append(f"the fit is {status}")
    if goodness.p < MIN_FIT_P:
        reasons.append(
            f"deviance {fitted.deviance[0]:.1f} for {ndf} degrees of freedom has p = "
            f"{goodness.p:.2g}, below {MIN_FIT_P:g}"
        )
    for what, structure_p in (
        ("the residuals break at one mass", goodness.step_p),
        ("neighbouring residuals go together", goodness.smooth_p),
    ):
        if structure_p < MIN_STRUCTURE_P:
            reasons.append(f"{what}: p = {structure_p:.2g}, below {MIN_STRUCTURE_P:g}")
    if goodness.p < MIN_FIT_P and model.name == "auto":
        # The largest order has the lowest deviance: where even its p is this low, all are.
        top = model.orders[-1]
        fit = fit_batch(counts, model.basis, top) if model.basis is not None else None
        if fit is not None and deviance_p(fit.deviance[0], fit.expected[0], top) < MIN_FIT_P:
            reasons.append(
                f"no order of the family, p2 to p{top}, describes the spectrum: try a part of it, "
                "another form or --model sliding"
            )
    if runs < MIN_RUNS_P:
        reasons.append(
            f"residuals stay on one side for too long: p = {runs:.2g}, below {MIN_RUNS_P:g}"
        )
    rise = _rise(spectrum.edges, mu)
    if rise is not None and model.fitted:
        reasons.append(
            f"the function rises from {rise[0]:g} to {rise[1]:g} GeV, as the turn-on of a trigger "
            "or a selection does: start the fit above it with --min-gev"
        )
    elif reasons and (peak := _turn_on(spectrum, mu)) is not None:
        reasons.append(
            f"the spectrum itself rises up to {peak:g} GeV, as at the turn-on of a trigger or a "
            "selection: start the fit above it with --min-gev"
        )
    if model.basis is not None and fitted.coefficients is not None:
        best = fitted.coefficients[0, : fitted.order[0]]
        if np.all(np.isfinite(best)):
            with np.errstate(divide="ignore", invalid="ignore"):
                # Where the function has fallen to nothing there is nothing to be off by.
                off = model.basis.integral_error(best) * np.sqrt(np.maximum(mu[used], 0.0))
            off = np.where(mu[used] > EXPECTED_FLOOR, off, 0.0)
            most = float(np.max(off))
            at = int(used[np.argmax(off)])
            if most > _INTEGRAL_SIGMA:
                reasons.append(
                    f"the bin from {spectrum.edges[at]:g} to {spectrum.edges[at + 1]:g} GeV is too "
                    f"wide: the integral of the function over it is off by {most:.1g} sigma; "
                    "split it or end the fit below it with --max-gev"
                )
    return reasons


def _rise(edges: FloatArray, mu: FloatArray) -> tuple[float, float] | None:
    """Return where a fitted function rises by more than 3 sigma of the events there, or None."""
    density = mu / np.diff(edges)
    top = int(np.argmax(density))
    lowest = int(np.argmin(density))
    for start, stop in ((0, top), (lowest, mu.size - 1)):
        if stop <= start:
            continue
        part = slice(start, stop + 1)
        above = float(np.sum(mu[part] - density[start] * np.diff(edges)[part]))
        if above > _RISE_SIGMA * np.sqrt(float(mu[part].sum())):
            return float(edges[start]), float(edges[stop + 1])
    return None


def _turn_on(spectrum: Spectrum, mu: FloatArray) -> float | None:
    """Return the mass up to which the counts themselves rise by more than 3 sigma, or None.

    Where a bin is excluded the means `mu` (b,) stand for the counts.
    """
    counts = mu.copy()
    counts[spectrum.used] = (spectrum.observed / spectrum.scales())[spectrum.used]
    rise = _rise(spectrum.edges, counts)
    return rise[1] if rise is not None and rise[0] == spectrum.edges[0] else None


def _notes(spectrum: Spectrum, model: Model, orders: tuple[OrderRow, ...]) -> list[str]:
    notes: list[str] = []
    if spectrum.weighted:
        notes.append(
            "weighted events: each bin is fitted as a Poisson count in units of its mean weight"
        )
    for low, high in spectrum.excluded_ranges():
        notes.append(f"the bins from {low:g} to {high:g} GeV are excluded: nothing looks at them")
    used = spectrum.used
    empty = int(np.count_nonzero(spectrum.observed[used] == 0))
    if empty:
        notes.append(f"{empty} of {used.size} bins are empty; they are fitted as zero counts")
    if orders and orders[-1].taken:
        notes.append(
            f"the largest order that was tried, {orders[-1].order}, was taken: a larger one might "
            "fit better still"
        )
    if model.sliding is not None:
        notes.append(
            f"windows of {model.sliding.window_bins} bins; ndf counts effective parameters"
        )
    return notes
