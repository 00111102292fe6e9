"""What `limits` does: read, fit, scan, set limits, draw; the answer is a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bumpscout.limits_peaks import hypotheses
from bumpscout.limits_report import GlobalRow, Limiting, LimitReport, LimitRow
from bumpscout.plot_files import check_plots, write_plot
from bumpscout.statistics_files import Reading
from bumpscout.statistics_shared import FitSummary, Progressing, read_part
from bumpscout.words import format_p
from bumpscout_tools.background.fit import fit_batch
from bumpscout_tools.background.masked import model_of_used_bins
from bumpscout_tools.background.models import Model
from bumpscout_tools.background.report import FitReport, fit_report
from bumpscout_tools.background.spectrum import Spectrum
from bumpscout_tools.errors import ConfigurationError, FitError
from bumpscout_tools.inference import Nuisances, PeakGrid, PeakLimits
from bumpscout_tools.inference.piece_limits import (
    Scanned,
    impacts_of,
    limits_of,
    scan_of,
    spurious_of,
)
from bumpscout_tools.inference.pieces import Piece, peaks_of, pieces_of
from bumpscout_tools.statistics import p_from_z

__all__ = ["run_limits"]

FloatArray = NDArray[np.float64]

_GLOBAL_TOYS = 2000


def run_limits(
    reading: Reading,
    options: Limiting,
    plot: Path | None = None,
    plot_p: Path | None = None,
    *,
    progress: Progressing | None = None,
) -> LimitReport:
    """Set limits on the spectrum in a file.

    Raises:
        ConfigurationError: options that do not suit the spectrum, or a plot that cannot be written.
        InputDataError: a file that holds no spectrum of counts.
        FitError: too few bins for the model.
    """
    check_plots(plot, plot_p)
    spectrum = read_part(reading, options, counts_for="a limit")

    def say(stage: str, message: str) -> None:
        if progress is not None:
            progress(stage, message, None, None)

    model = model_of_used_bins(
        options.model, spectrum, options.sqrt_s_gev, window_bins=options.window_bins
    )
    say("fit", f"the background {options.model}")
    alone = model.fit(np.atleast_2d(spectrum.counts[spectrum.used]))
    if alone.status_of(0) != "converged":
        raise FitError(
            f"The background {options.model} has no finite optimum ({alone.status_of(0)}): too few "
            "events determine it, so no signal can be fitted on it. Lower its order, take more "
            "bins, or give a background as `--model expected`."
        )
    order = int(alone.order[0])
    wanted, notes = hypotheses(spectrum, options)
    pieces = pieces_of(
        spectrum, model, order, wanted, options.sqrt_s_gev, options.background_uncertainty
    )
    fitted = _fitted(spectrum, model, pieces, options)
    peaks = peaks_of(pieces)
    if peaks.size < wanted.size:
        notes.append(
            f"{wanted.size - peaks.size} of {wanted.size} hypotheses are wider than the sliding "
            "window around them and were left out"
        )
    spurious = _spurious(pieces, options, notes)
    say("scan", f"{peaks.size} hypotheses")
    rng = np.random.default_rng(options.seed)
    scan = scan_of(pieces, np.array(fitted.expected), rng, _GLOBAL_TOYS)
    nuisances = Nuisances(
        luminosity=options.lumi_uncertainty,
        efficiency=options.efficiency_uncertainty,
        mass_scale=options.mass_scale_uncertainty,
        resolution=options.resolution_uncertainty,
        spurious_signal=tuple(float(value) for value in spurious),
    )
    say("limits", "asymptotic formulae, toys where few events are expected")

    def done(count: int, total: int) -> None:
        if progress is not None:
            progress("limits", "toys where few events are expected", count, total)

    limits = limits_of(
        pieces,
        nuisances,
        options.level,
        rng=rng if options.toys else None,
        n_toys=max(options.toys, 1),
        progress=done,
    )
    impacts = impacts_of(pieces, nuisances, options.level)
    if options.background_uncertainty > 0:
        known = pieces_of(spectrum, model, order, wanted, options.sqrt_s_gev)
        certain = limits_of(known, nuisances, options.level).expected[:, 2]
        unsure = limits_of(pieces, nuisances, options.level).expected[:, 2]
        impacts["background"] = float(np.max(1.0 - certain / unsure))
    if not fitted.believable:
        notes.append("the background is not believable: no limit or significance is to be quoted")
    if not limits.converged.all():
        notes.append(f"{np.count_nonzero(~limits.converged)} fits did not converge")
    report = LimitReport(
        model=fitted.model,
        believable=fitted.believable,
        reasons=fitted.reasons,
        fit=FitSummary.of(fitted),
        range_gev=fitted.fit_range_gev,
        excluded_gev=fitted.excluded_gev,
        level=options.level,
        resolution=options.resolution,
        luminosity_fb=options.luminosity_fb,
        efficiency=options.efficiency,
        nuisances={
            "luminosity": options.lumi_uncertainty,
            "efficiency": options.efficiency_uncertainty,
            "mass_scale": options.mass_scale_uncertainty,
            "resolution": options.resolution_uncertainty,
            "background": options.background_uncertainty,
            "spurious_signal_max_events": float(spurious.max()),
        },
        impacts=impacts,
        excess=_excess(peaks, scan),
        limits=_rows(options, peaks, scan, limits, spurious),
        seed=options.seed,
        notes=(*fitted.notes, *notes),
    )
    _draw(report, options, limits, peaks, scan, plot, plot_p)
    return report


def _fitted(
    spectrum: Spectrum, model: Model, pieces: tuple[Piece, ...], options: Limiting
) -> FitReport:
    """Return the verdict on the background, a given one scaled to the data where it may move."""
    judged = spectrum
    if options.background_uncertainty > 0 and spectrum.expected is not None:
        alone = pieces[0]
        fits = fit_batch(np.atleast_2d(alone.counts), alone.basis, alone.order).expected[0]
        scale = fits[alone.data].sum() / spectrum.expected[alone.bins].sum()
        judged = Spectrum(
            spectrum.edges, spectrum.observed, spectrum.expected * scale, None, spectrum.excluded
        )
        model = model_of_used_bins(options.model, judged, options.sqrt_s_gev)
    return fit_report(
        judged, model, options.sqrt_s_gev, n_toys=1000, seed=options.seed, errors=False
    )


def _spurious(pieces: tuple[Piece, ...], options: Limiting, notes: list[str]) -> FloatArray:
    """Return the spurious signal (h,) in events: given, or fitted to another background."""
    size = peaks_of(pieces).size
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
        return np.full(size, given)
    found, complete = spurious_of(pieces)
    if not complete:
        notes.append(
            "there is no other background function to compare to"
            f"{'' if not np.any(found) else ' for some masses'}: no spurious signal is included "
            "(give one with --spurious)"
        )
    return found


def _pb(options: Limiting) -> float | None:
    if options.luminosity_fb is None:
        return None
    return PeakLimits.pb_per_event(options.luminosity_fb, options.efficiency)


def _five(values: FloatArray) -> tuple[float, float, float, float, float]:
    a, b, c, d, e = (float(value) for value in values)
    return a, b, c, d, e


def _excess(peaks: PeakGrid, scan: Scanned) -> GlobalRow:
    found = scan.found
    return GlobalRow(
        mass_gev=float(peaks.mass_gev[scan.best]),
        width_percent=round(100.0 * float(peaks.width[scan.best]), 6),
        local_z=float(scan.z[scan.best]),
        local_p=float(p_from_z(scan.z[scan.best])),
        global_p=found.value,
        global_p_low=found.low,
        global_p_high=found.high,
        method=found.method,
        n=found.n,
    )


def _rows(
    options: Limiting, peaks: PeakGrid, scan: Scanned, limits: PeakLimits, spurious: FloatArray
) -> tuple[LimitRow, ...]:
    scale = _pb(options)
    local_p = p_from_z(scan.z)

    def pb(events: float) -> float | None:
        return None if scale is None else float(events) * scale

    return tuple(
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


def _draw(
    report: LimitReport,
    options: Limiting,
    limits: PeakLimits,
    peaks: PeakGrid,
    scan: Scanned,
    plot: Path | None,
    plot_p: Path | None,
) -> None:
    if plot is not None:
        from bumpscout_tools.plots.limits import limits_figure

        figure = limits_figure(limits, pb_per_event=_pb(options), excluded_gev=report.excluded_gev)
        write_plot(plot, figure)
    if plot_p is not None:
        from bumpscout_tools.plots.limits import scan_figure

        found = scan.found
        note = f"Largest z = {found.z:.2f}, global p = {format_p(found.value)} ({found.method})"
        figure = scan_figure(peaks, scan.z, note=note, excluded_gev=report.excluded_gev)
        write_plot(plot_p, figure)
