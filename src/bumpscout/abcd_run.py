"""What `abcd` does: read counts, fit four regions, check closure, set a limit."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict

from bumpscout.abcd_report import AbcdReport, Closure, Four, Limit
from bumpscout.statistics_files import Reading
from bumpscout_tools.background.abcd import SIGNAL_IN_A, Abcd, abcd_fit, closure_check
from bumpscout_tools.background.regions import Regions
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.inference import PeakLimits
from bumpscout_tools.inference.abcd import AbcdLimit, AbcdModel, abcd_limit

__all__ = ["Counting", "run_abcd"]

_LEAST_CLOSURE_P = 0.05

Numbers = tuple[float, float, float, float]


class Counting(BaseModel):
    """Options of `abcd`; uncertainties relative, tuples in the order A, B, C, D."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts: Numbers | None = None
    signal: Numbers | None = None
    closure: float = 0.0
    validation: Numbers | None = None
    luminosity_fb: float | None = None
    efficiency: float = 1.0
    lumi_uncertainty: float = 0.0
    efficiency_uncertainty: float = 0.0
    level: float = 0.95
    toys: int = 10_000
    seed: int = 0


def run_abcd(options: Counting, reading: Reading | None = None) -> AbcdReport:
    """Fit four regions.

    Args:
        options: with the counts, unless they stand in a file.
        reading: a file of counts, or None.

    Raises:
        ConfigurationError: options that do not fit together.
        InputDataError: counts that cannot be fitted.
    """
    regions = _regions(options, reading)
    fractions = _fractions(regions.signal)
    fit = abcd_fit(regions.observed, options.closure, fractions)
    model = AbcdModel(
        fractions,
        options.closure,
        # Both multiply the yield: ln(1 + u) of the product is the sum in quadrature.
        math.expm1(
            math.hypot(
                math.log1p(options.lumi_uncertainty), math.log1p(options.efficiency_uncertainty)
            )
        ),
    )
    rng = np.random.default_rng(options.seed) if options.toys else None
    limit = abcd_limit(regions.observed, model, options.level, rng=rng, n_toys=max(options.toys, 1))
    validation = None if regions.validation is None else _closure(regions.validation, options)
    return AbcdReport(
        counts=_four(regions.observed),
        signal_fractions=_four(fractions),
        closure=options.closure,
        nuisances={
            "closure": options.closure,
            "luminosity": options.lumi_uncertainty,
            "efficiency": options.efficiency_uncertainty,
        },
        signal=fit.signal,
        signal_low=_finite(fit.signal + fit.error_low),
        signal_high=_finite(fit.signal + fit.error_high),
        background=fit.background,
        naive=_finite(fit.naive),
        local_z=fit.z,
        # Above 1/2 a p says how far a deficit goes, which the one-sided test of limits does not.
        local_p=limit.p if fit.z > 0 else max(limit.p, fit.local_p),
        local_p_low=limit.p_low if fit.z > 0 else min(limit.p_low, fit.local_p),
        local_p_high=limit.p_high if fit.z > 0 else max(limit.p_high, fit.local_p),
        method=limit.method,
        n_toys=limit.n_toys,
        closure_pull=fit.closure_pull,
        level=limit.level,
        limit_events=_limit(limit, 1.0),
        limit_pb=None
        if options.luminosity_fb is None
        else _limit(limit, PeakLimits.pb_per_event(options.luminosity_fb, options.efficiency)),
        validation=validation,
        seed=options.seed,
        notes=tuple(_notes(options, regions, fit.valid, validation)),
    )


def _regions(options: Counting, reading: Reading | None) -> Regions:
    """Return what is in the file, options taking the place of its lines."""
    signal = None if options.signal is None else Abcd(*options.signal)
    validation = None if options.validation is None else Abcd(*options.validation)
    if reading is None:
        if options.counts is None:
            raise ConfigurationError("ABCD needs the counts of four regions: give a file of them.")
        return Regions(Abcd(*options.counts), signal, validation)
    found = reading.regions()
    return Regions(found.observed, signal or found.signal, validation or found.validation)


def _fractions(signal: Abcd | None) -> Abcd:
    if signal is None:
        return SIGNAL_IN_A
    values = np.array(signal)
    if not (np.all(np.isfinite(values)) and np.all(values >= 0) and values[0] > 0):
        raise ConfigurationError(
            f"The signal of the regions must be above 0 in A and at least 0 in the others, not "
            f"{', '.join(f'{value:g}' for value in signal)}."
        )
    return Abcd(*(float(value) for value in values / values[0]))


def _closure(counts: Abcd, options: Counting) -> Closure:
    check = closure_check(counts)
    # A deviation is covered where the interval of the ratio reaches into the uncertainty.
    covered = check.low <= 1.0 + options.closure and check.high >= 1.0 / (1.0 + options.closure)
    return Closure(
        counts=_four(counts),
        ratio=check.ratio,
        low=check.low,
        high=check.high,
        p=check.p,
        closes=check.p >= _LEAST_CLOSURE_P or covered,
    )


def _notes(
    options: Counting, regions: Regions, valid: bool, validation: Closure | None
) -> list[str]:
    notes: list[str] = []
    if regions.signal is None:
        notes.append("the signal is taken to lie in A alone: --signal says what it leaves beside")
    if options.closure == 0:
        notes.append("closure is taken as exact: --closure gives its uncertainty")
    if regions.observed.d == 0:
        notes.append(
            "region D is empty, so that nothing bounds the background in A from above: signals of "
            "an expected 3 and 5 sigma mean little"
        )
    if validation is None:
        notes.append(
            "four counts cannot show whether the two cuts are independent: no validation region "
            "was given"
        )
    elif not validation.closes:
        notes.append(
            "the validation region does not close within the closure uncertainty: no signal or "
            "limit is to be quoted"
        )
    if not valid:
        notes.append("the fit did not converge")
    return notes


def _limit(limit: AbcdLimit, scale: float) -> Limit:
    a, b, c, d, e = (float(value) * scale for value in limit.expected)
    return Limit(
        observed=limit.observed * scale,
        expected=(a, b, c, d, e),
        discovery_3=limit.discovery_3 * scale,
        discovery_5=limit.discovery_5 * scale,
    )


def _four(values: Abcd) -> Four:
    return Four(a=values.a, b=values.b, c=values.c, d=values.d)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
