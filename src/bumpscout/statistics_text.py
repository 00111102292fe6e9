"""The answers of `fit` and `bumphunt` in words."""

from __future__ import annotations

from bumpscout.statistics_run import HuntReport
from bumpscout.words import format_p
from bumpscout_tools.background.report import FitReport

__all__ = ["fit_text", "hunt_text"]


def fit_text(report: FitReport) -> str:
    """Return a fit in words."""
    low, high = report.fit_range_gev
    lines = [
        f"Model {report.model} (asked for: {report.requested}), {low:g} to {high:g} GeV, "
        f"{report.n_events:g} events",
        f"Deviance {report.deviance:.2f} for {report.ndf} degrees of freedom: p = "
        f"{format_p(report.p_value)} ({report.p_method})",
    ]
    if report.formula:
        lines.append(f"f(x) = {report.formula}, x = m / {report.sqrt_s_gev:g} GeV")
    for name, value in report.parameters.items():
        spread = report.parameter_errors.get(name)
        error = f"  {spread[0]:+.3g} {spread[1]:+.3g}" if spread else "  (no MINOS error)"
        lines.append(f"  {name} = {value:.6g}{error}")
    for row in report.orders:
        gain = "" if row.lr_p is None else f", gain p = {format_p(row.lr_p)} (likelihood ratio)"
        gain += "" if row.f_p is None else f", {format_p(row.f_p)} (F-test)"
        taken = ", taken" if row.taken else "" if row.converged else ", no finite optimum"
        lines.append(f"  p{row.order}: deviance {row.deviance:.2f}/{row.ndf}{gain}{taken}")
    lines.append("Believable." if report.believable else "Not believable:")
    lines += [f"  - {reason}" for reason in report.reasons]
    lines += [f"Note: {note}." for note in report.notes]
    return "\n".join(lines)


def hunt_text(report: HuntReport) -> str:
    """Return a hunt in words."""
    what = "deficit" if report.deficits else "excess"
    if report.interval_gev is None:
        head = f"No window has an undisturbed {what}: the side bands forbid all of them."
    else:
        low, high = report.interval_gev
        head = (
            f"Most significant {what}: {low:g} to {high:g} GeV, {report.n_observed} events where "
            f"{report.n_expected:.1f} are expected; local p = {format_p(report.local_p or 0.0)}, "
            f"z = {report.local_z or 0.0:.2f}"
        )
    p, fit = report.global_p, report.fit
    lines = [
        head,
        f"Global p = {format_p(p.value)} ({format_p(p.low)} to {format_p(p.high)}; {p.n_reached} "
        f"reached it): {p.method}; {report.n_windows} windows",
        f"Background {fit.model}: deviance {fit.deviance:.1f}/{fit.ndf}, p = "
        f"{format_p(fit.p_value)}, {'believable' if fit.believable else 'not believable'}",
    ]
    lines += [f"  - {reason}" for reason in fit.reasons]
    if fit.outside_p is not None:
        lines.append(f"  outside of the interval: p = {format_p(fit.outside_p)}")
    lines += [f"Note: {note}." for note in report.notes]
    return "\n".join(lines)
