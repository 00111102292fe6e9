"""What `fit` and `bumphunt` do: read, fit, hunt, judge, draw; the answers are records."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from bumpscout.plot_files import check_plots, write_plot
from bumpscout.statistics_files import Reading
from bumpscout.statistics_shared import FitSummary, Progressing, SpectrumOptions, read_part
from bumpscout.words import format_p
from bumpscout_tools.background.absorbed import absorbed_peak
from bumpscout_tools.background.global_p import GlobalHunt, hunt_spectrum
from bumpscout_tools.background.masked import model_of_used_bins, windows_of_used_bins
from bumpscout_tools.background.models import Model
from bumpscout_tools.background.part import PartBasis
from bumpscout_tools.background.report import FitReport, fit_report
from bumpscout_tools.background.selection import select_order
from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.statistics import EXPECTED_FLOOR, poisson_z
from bumpscout_tools.statistics.windows import WindowSet, bin_windows, deficit_z, mass_windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Fitting", "GlobalP", "HuntFit", "HuntReport", "Hunting", "run_fit", "run_hunt"]


class Fitting(SpectrumOptions):
    """Options of `fit`, and of the fit under `bumphunt`."""

    order_test: Literal["lr", "f"] = "lr"


class Hunting(BaseModel):
    """Options of `bumphunt` alone.

    Attributes:
        widths: of the windows, in bins; with a resolution, in multiples of it.
        resolution: relative mass resolution, or None for windows in bins.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    toys: int = 10_000
    refit: bool = True
    widths: tuple[int, int] | None = None
    resolution: float | None = None
    deficits: bool = False
    side_bands: bool = False


class GlobalP(BaseModel):
    """How often background alone has an interval as significant as the data's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    method: str
    n_toys: int
    n_reached: int


class HuntFit(FitSummary):
    """The fit under the hunt; `outside_p` is that of its deviance with the interval left out."""

    outside_p: float | None
    outside_believable: bool | None


class HuntReport(BaseModel):
    """The most significant interval of a spectrum and its global p-value.

    `interval_gev` and the local numbers are None where the side bands forbid every window.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    background: str
    search_range_gev: tuple[float, float]
    excluded_gev: tuple[tuple[float, float], ...]
    deficits: bool
    side_bands: bool
    n_windows: int
    seed: int
    interval_gev: tuple[float, float] | None
    n_observed: int
    n_expected: float
    local_p: float | None
    local_z: float | None
    global_p: GlobalP
    fit: HuntFit
    notes: tuple[str, ...]


def run_fit(reading: Reading, options: Fitting, plot: Path | None = None) -> FitReport:
    """Fit the background of a spectrum in a file, and draw it where a plot is asked for.

    Raises:
        ConfigurationError: options that do not suit the spectrum, or a plot that cannot be written.
        InputDataError: a file that holds no spectrum that can be fitted.
        FitError: too few bins for the model.
    """
    check_plots(plot)
    spectrum = read_part(reading, options)
    report = fit_report(
        spectrum, _model(spectrum, options), options.sqrt_s_gev, n_toys=2000, seed=options.seed
    )
    if plot is not None:
        from bumpscout_tools.plots.fitted import fitted_figure

        verdict = "believable" if report.believable else "not believable"
        figure = fitted_figure(
            spectrum,
            np.array(report.expected),
            note=f"{report.model}: deviance {report.deviance:.1f}/{report.ndf}, "
            f"p = {format_p(report.p_value)}, {verdict}",
            fit_label=f"fit, {report.model}",
        )
        write_plot(plot, figure)
    return report


def run_hunt(
    reading: Reading,
    options: Fitting,
    hunting: Hunting,
    *,
    plot: Path | None = None,
    tomography: Path | None = None,
    progress: Progressing | None = None,
) -> HuntReport:
    """Hunt the spectrum in a file for its most significant interval.

    Raises:
        ConfigurationError: options that do not suit the spectrum, or a plot that cannot be written.
        InputDataError: a file that holds no spectrum that can be hunted.
        FitError: too few bins for the model.
    """
    check_plots(plot, tomography)
    spectrum = read_part(reading, options, counts_for="a hunt")
    model = _model(spectrum, options)
    windows = _windows(spectrum, hunting)
    seen = windows_of_used_bins(windows, spectrum)
    if not len(seen):
        raise ConfigurationError(
            "No window lies outside of the excluded ranges: exclude less, or lower the widths."
        )
    done: Callable[[int, int], None] | None = None
    if progress is not None:
        report_to = progress
        report_to("fit", f"the background {options.model}", None, None)

        def done(count: int, total: int) -> None:
            report_to("toys", "hunting background-only spectra", count, total)

    fitted = fit_report(
        spectrum, model, options.sqrt_s_gev, n_toys=1000, seed=options.seed, errors=False
    )
    found = hunt_spectrum(
        spectrum.observed[spectrum.used],
        model,
        seen,
        n_toys=hunting.toys,
        refit=hunting.refit,
        deficits=hunting.deficits,
        side_bands=hunting.side_bands,
        seed=options.seed + 1,
        progress=done,
    )
    hint = _absorbed(spectrum, model, seen, hunting.deficits)
    report = _hunt_report(spectrum, model, len(seen), fitted, found, options, hunting, hint)
    what = "deficit" if hunting.deficits else "excess"
    note = (
        f"Largest {what}: local z = {found.local_z:.2f}, global p = "
        f"{format_p(report.global_p.value)} ({report.global_p.n_toys} toys)"
    )
    if plot is not None:
        from bumpscout_tools.plots.fitted import fitted_figure

        figure = fitted_figure(
            spectrum,
            np.array(fitted.expected),
            interval_gev=report.interval_gev,
            note=note,
            fit_label=f"background, {fitted.model}",
            interval_label=f"largest {what}",
        )
        write_plot(plot, figure)
    if tomography is not None:
        write_plot(tomography, _tomography(spectrum, seen, found, hunting, note))
    return report


def _model(spectrum: Spectrum, options: Fitting) -> Model:
    return model_of_used_bins(
        options.model,
        spectrum,
        options.sqrt_s_gev,
        test=options.order_test,
        window_bins=options.window_bins,
    )


def _windows(spectrum: Spectrum, hunting: Hunting) -> WindowSet:
    if hunting.resolution is not None:
        low, high = hunting.widths or (1, 4)
        multiples = [float(k) for k in range(low, high + 1)]
        return mass_windows(spectrum.edges, hunting.resolution, multiples)
    low, high = hunting.widths or (2, max(spectrum.n_bins // 2, 2))
    return bin_windows(spectrum.n_bins, low, high)


def _hunt_report(
    spectrum: Spectrum,
    model: Model,
    n_windows: int,
    fitted: FitReport,
    found: GlobalHunt,
    options: Fitting,
    hunting: Hunting,
    hint: str | None,
) -> HuntReport:
    interval = _interval(spectrum, found)
    outside_p, outside = _outside(spectrum, model, interval)
    return HuntReport(
        background=fitted.model,
        search_range_gev=fitted.fit_range_gev,
        excluded_gev=fitted.excluded_gev,
        deficits=hunting.deficits,
        side_bands=hunting.side_bands,
        n_windows=n_windows,
        seed=options.seed,
        interval_gev=interval,
        n_observed=found.n_observed,
        n_expected=found.n_expected,
        local_p=found.local_p if interval else None,
        local_z=found.local_z if math.isfinite(found.local_z) else None,
        global_p=GlobalP(
            value=found.global_p.value,
            low=found.global_p.low,
            high=found.global_p.high,
            method=found.method,
            n_toys=found.n_toys,
            n_reached=found.n_reached,
        ),
        fit=HuntFit(
            **FitSummary.of(fitted).model_dump(), outside_p=outside_p, outside_believable=outside
        ),
        notes=(*_hunt_notes(model, found, fitted, hunting, outside), *([hint] if hint else [])),
    )


def _hunt_notes(
    model: Model, found: GlobalHunt, fitted: FitReport, hunting: Hunting, outside: bool | None
) -> list[str]:
    notes = list(fitted.notes)
    if found.n_reached < 10:
        notes.append(
            f"only {found.n_reached} of {found.n_toys} toys reached the data: more --toys would "
            "make the global p more precise"
        )
    if model.fitted and not hunting.refit:
        notes.append("toys were not refitted: the global p is too large")
    if not fitted.believable:
        notes.append(
            "the background is not believable over the whole range, so the global p is the "
            "probability under a background that does not describe the data"
            + (", but outside of the interval it describes them" if outside else "")
        )
    return notes


def _absorbed(spectrum: Spectrum, model: Model, windows: WindowSet, deficits: bool) -> str | None:
    """Return in words that the chosen order may have absorbed a peak, None where it has not."""
    peak = absorbed_peak(spectrum.observed[spectrum.used], model, windows, deficits=deficits)
    if peak is None:
        return None
    low = spectrum.edges[spectrum.used[peak.start]]
    high = spectrum.edges[spectrum.used[peak.stop - 1] + 1]
    return (
        f"the chosen order may have absorbed {'a deficit' if deficits else 'a peak'}: beside "
        f"{low:g} to {high:g} GeV p{peak.order} describes the spectrum, and from there this range "
        f"is off by z = {peak.z:.1f} (a hint, no claim); hunt with --model p{peak.order} and "
        "compare"
    )


def _interval(spectrum: Spectrum, found: GlobalHunt) -> tuple[float, float] | None:
    if found.stop <= found.start:
        return None
    first, last = spectrum.used[found.start], spectrum.used[found.stop - 1]
    return float(spectrum.edges[first]), float(spectrum.edges[last + 1])


def _outside(
    spectrum: Spectrum, model: Model, interval: tuple[float, float] | None
) -> tuple[float | None, bool | None]:
    """Return the fit's p and verdict with the interval left out, None where it cannot be."""
    if model.basis is None or interval is None:
        return None, None
    basis = model.basis.whole if isinstance(model.basis, PartBasis) else model.basis
    mask = (spectrum.edges[:-1] < interval[1]) & (spectrum.edges[1:] > interval[0])
    if spectrum.excluded is not None:
        mask |= spectrum.excluded
    if np.count_nonzero(~mask) <= model.orders[-1] + 1:
        return None, None
    chosen = select_order(spectrum.counts, basis, model.orders, model.alpha, mask)
    return chosen.fit_p, chosen.believable


def _tomography(
    spectrum: Spectrum, windows: WindowSet, found: GlobalHunt, hunting: Hunting, note: str
) -> Figure:
    from bumpscout_tools.plots.hunt import tomography_figure

    observed = spectrum.observed[spectrum.used]
    sums = [np.append(0.0, np.cumsum(x)) for x in (observed, found.expected)]
    n, mu = (total[windows.stops] - total[windows.starts] for total in sums)
    z_of = deficit_z if hunting.deficits else poisson_z
    z = z_of(np.round(n), np.maximum(mu, EXPECTED_FLOOR))
    first, last = spectrum.used[windows.starts], spectrum.used[windows.stops - 1] + 1
    return tomography_figure(spectrum.edges, first, last, z, note=note)
