"""What `limits` does: read, fit, scan, set limits, draw; the answer is a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bumpscout.limits_report import GlobalRow, LimitReport, LimitRow
from bumpscout.plot_files import check_plots, write_plot
from bumpscout.words import format_p
from bumpscout_tools.background.basis import LogLinearBasis
from bumpscout_tools.background.models import Model, make_model
from bumpscout_tools.background.report import fit_report
from bumpscout_tools.background.spectrum import Spectrum, read_spectrum
from bumpscout_tools.errors import ConfigurationError, FitError, InputDataError
from bumpscout_tools.inference import (
    GlobalP,
    Nuisances,
    PeakGrid,
    PeakLimits,
    PeakModel,
    PeakScan,
    global_p,
    nuisance_impacts,
    peak_grid,
    peak_limits,
    scan_peaks,
    spurious_signal,
)
from bumpscout_tools.statistics import p_from_z

__all__ = ["Limiting", "run_limits"]

FloatArray = NDArray[np.float64]

_LEAST_STEP = 0.01
_MAX_DEFAULT_MASSES = 300
_LEAST_INSIDE = 0.5
_MAX_HYPOTHESES = 5000
_MAX_ORDER = 6
_GLOBAL_TOYS = 2000


class Limiting(BaseModel):
    """Options of `limits`; masses in GeV, widths in percent, uncertainties relative."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "auto"
    sqrt_s_gev: float = 13000.0
    min_gev: float | None = None
    max_gev: float | None = None
    widths: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0)
    masses: tuple[float, float, float] | None = None
    resolution: float = 0.03
    luminosity_fb: float | None = None
    efficiency: float = 1.0
    lumi_uncertainty: float = 0.0
    efficiency_uncertainty: float = 0.0
    mass_scale_uncertainty: float = 0.0
    resolution_uncertainty: float = 0.0
    spurious: str = "auto"
    level: float = 0.95
    toys: int = 1000
    seed: int = 0


def run_limits(
    path: Path,
    options: Limiting,
    plot: Path | None = None,
    plot_p: Path | None = None,
    *,
    progress: Callable[[str, str, int | None, int | None], None] | None = None,
) -> LimitReport:
    """Set limits on the spectrum in a file.

    Raises:
        ConfigurationError: options that do not suit the spectrum, or a plot that cannot be written.
        InputDataError: a file that holds no spectrum of counts.
        FitError: too few bins for the model.
    """
    check_plots(plot, plot_p)
    spectrum = read_spectrum(path).between(options.min_gev, options.max_gev)
    if spectrum.weighted or not np.any(spectrum.observed > 0):
        raise InputDataError(
            f"{path} holds weighted events, or none in this range, for which there are no Poisson "
            "limits: give counts of events."
        )

    def say(stage: str, message: str) -> None:
        if progress is not None:
            progress(stage, message, None, None)

    model = make_model(options.model, spectrum, options.sqrt_s_gev)
    if model.basis is None:
        raise ConfigurationError(
            f"The background {options.model!r} is no function that can be fitted together with a "
            "signal: choose p2..p6, auto, a historical form or a template."
        )
    say("fit", f"the background {options.model}")
    fitted = fit_report(
        spectrum, model, options.sqrt_s_gev, n_toys=1000, seed=options.seed, errors=False
    )
    order = int(model.fit(np.atleast_2d(spectrum.observed)).order[0])
    peaks, notes = _peaks(spectrum, options)
    spurious = _spurious(spectrum, model.basis, order, peaks, options, notes)
    say("scan", f"{peaks.size} hypotheses")
    scan = scan_peaks(spectrum.observed, model.basis, order, peaks)
    rng = np.random.default_rng(options.seed)
    found = global_p(rng, scan, model.basis, model.orders, n_toys=_GLOBAL_TOYS)
    nuisances = Nuisances(
        luminosity=options.lumi_uncertainty,
        efficiency=options.efficiency_uncertainty,
        mass_scale=options.mass_scale_uncertainty,
        resolution=options.resolution_uncertainty,
        spurious_signal=tuple(float(value) for value in spurious),
    )
    peak_model = PeakModel(model.basis, order, peaks, nuisances)
    say("limits", "asymptotic formulae, toys where few events are expected")
    found_limits = peak_limits(
        spectrum.observed,
        peak_model,
        options.level,
        rng=rng if options.toys else None,
        n_toys=max(options.toys, 1),
    )
    impacts = nuisance_impacts(spectrum.observed, peak_model, level=options.level)
    if not fitted.believable:
        notes.append("the background is not believable: no limit or significance is to be quoted")
    if not found_limits.converged.all():
        notes.append(f"{np.count_nonzero(~found_limits.converged)} fits did not converge")
    report = _report(options, fitted.model, scan, found, found_limits, spurious).model_copy(
        update={
            "believable": fitted.believable,
            "reasons": fitted.reasons,
            "impacts": {name: float(np.max(value)) for name, value in impacts.items()},
            "notes": (*fitted.notes, *notes),
        }
    )
    if plot is not None:
        from bumpscout_tools.plots.limits import limits_figure

        write_plot(plot, limits_figure(found_limits, pb_per_event=_pb(options)))
    if plot_p is not None:
        from bumpscout_tools.plots.limits import scan_figure

        note = f"Largest z = {found.z:.2f}, global p = {format_p(found.value)} ({found.method})"
        write_plot(plot_p, scan_figure(peaks, scan.z, note=note))
    return report


def _peaks(spectrum: Spectrum, options: Limiting) -> tuple[PeakGrid, list[str]]:
    """Return the hypotheses, and a note on those that were left out."""
    low, high = float(spectrum.edges[0]), float(spectrum.edges[-1])
    if options.masses is None:
        # One resolution apart: a narrow peak between two masses is seen by both.
        step = max(options.resolution, _LEAST_STEP)
        first, last = low * (1.0 + 2.0 * step), high / (1.0 + 2.0 * step)
        number = int(np.log(last / first) / step) + 1 if last > first else 1
        masses = first * np.exp(step * np.arange(min(number, _MAX_DEFAULT_MASSES)))
    else:
        first, last, step = options.masses
        if not (0 < first <= last and step > 0 and (last - first) / step < _MAX_HYPOTHESES):
            raise ConfigurationError(
                f"Masses from {first:g} to {last:g} GeV in steps of {step:g} are no scan: give a "
                f"rising range, with a step that makes at most {_MAX_HYPOTHESES} masses."
            )
        masses = first + step * np.arange(int(np.floor((last - first) / step + 1e-9)) + 1)
    widths = [width / 100.0 for width in dict.fromkeys(options.widths)]
    everything = peak_grid(masses, widths, options.resolution)
    inside = everything.templates(spectrum.edges).sum(axis=1) >= _LEAST_INSIDE
    if not inside.any():
        raise ConfigurationError(
            f"No signal lies inside the spectrum, {low:g} to {high:g} GeV: choose other masses."
        )
    notes = []
    if not inside.all():
        notes.append(
            f"{np.count_nonzero(~inside)} of {inside.size} hypotheses lie by more than half "
            "outside the spectrum and were left out"
        )
    kept = PeakGrid(
        everything.mass_gev[inside], everything.width[inside], everything.sigma_gev[inside]
    )
    return kept, notes


def _spurious(
    spectrum: Spectrum,
    basis: LogLinearBasis,
    order: int,
    peaks: PeakGrid,
    options: Limiting,
    notes: list[str],
) -> FloatArray:
    """Return the spurious signal (h,) in events: given, or fitted to the next order's fit."""
    if options.spurious != "auto":
        try:
            given = float(options.spurious)
        except ValueError:
            given = -1.0
        if not 0 <= given < np.inf:
            raise ConfigurationError(
                f"The spurious signal is a number of events >= 0 or `auto`, not "
                f"{options.spurious[:40]!r}."
            )
        return np.full(peaks.size, given)
    other = _next_order(spectrum, options, order)
    if other is None:
        notes.append("no larger order of the background exists: no spurious signal is included")
        return np.zeros(peaks.size)
    template = other.fit(np.atleast_2d(spectrum.observed)).expected
    return spurious_signal(template, basis, order, peaks).largest


def _next_order(spectrum: Spectrum, options: Limiting, order: int) -> Model | None:
    """Return the background with one parameter more, None where there is none."""
    name = options.model
    if not (name == "auto" or (name[:1] == "p" and name[1:].isdigit())) or order >= _MAX_ORDER:
        return None
    try:
        return make_model(f"p{order + 1}", spectrum, options.sqrt_s_gev)
    except FitError:
        return None


def _pb(options: Limiting) -> float | None:
    if options.luminosity_fb is None:
        return None
    return PeakLimits.pb_per_event(options.luminosity_fb, options.efficiency)


def _five(values: FloatArray) -> tuple[float, float, float, float, float]:
    a, b, c, d, e = (float(value) for value in values)
    return a, b, c, d, e


def _report(
    options: Limiting,
    model: str,
    scan: PeakScan,
    found: GlobalP,
    limits: PeakLimits,
    spurious: FloatArray,
) -> LimitReport:
    scale, peaks = _pb(options), scan.peaks
    local_p = p_from_z(scan.z)

    def pb(events: float) -> float | None:
        return None if scale is None else float(events) * scale

    rows = tuple(
        LimitRow(
            mass_gev=float(peaks.mass_gev[h]),
            width_percent=round(100.0 * float(peaks.width[h]), 6),
            sigma_gev=float(peaks.sigma_gev[h]),
            observed_events=float(limits.observed[h]),
            expected_events=_five(limits.expected[h]),
            observed_pb=pb(limits.observed[h]),
            expected_pb=None if scale is None else _five(limits.expected[h] * scale),
            discovery_3_events=float(limits.discovery_3[h]),
            discovery_5_events=float(limits.discovery_5[h]),
            discovery_3_pb=pb(limits.discovery_3[h]),
            discovery_5_pb=pb(limits.discovery_5[h]),
            signal_events=float(scan.signal[h]),
            signal_error=float(scan.error[h]),
            spurious_events=float(spurious[h]),
            local_z=float(scan.z[h]),
            local_p=float(local_p[h]),
            background_events=float(limits.background[h]),
            method=limits.method[h],
            converged=bool(limits.converged[h] and scan.converged[h]),
        )
        for h in range(peaks.size)
    )
    best = rows[scan.best]
    return LimitReport(
        model=model,
        believable=True,
        reasons=(),
        level=options.level,
        resolution=options.resolution,
        luminosity_fb=options.luminosity_fb,
        efficiency=options.efficiency,
        nuisances={
            "luminosity": options.lumi_uncertainty,
            "efficiency": options.efficiency_uncertainty,
            "mass_scale": options.mass_scale_uncertainty,
            "resolution": options.resolution_uncertainty,
            "spurious_signal_max_events": float(spurious.max()),
        },
        impacts={},
        excess=GlobalRow(
            mass_gev=best.mass_gev,
            width_percent=best.width_percent,
            local_z=best.local_z,
            local_p=best.local_p,
            global_p=found.value,
            global_p_low=found.low,
            global_p_high=found.high,
            method=found.method,
            n=found.n,
        ),
        limits=rows,
        seed=options.seed,
        notes=(),
    )
