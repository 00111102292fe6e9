"""The answer of `recast`: its record, its figures, and what it says in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from bumpscout.words import printable
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.reach import Estimate
from bumpscout_tools.scan.recast import ExpectedLimit, Recast, Strength, recast_signal

if TYPE_CHECKING:
    from bumpscout_tools.scan.injection import Injected
    from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["RecastReport", "SignalFile", "recast_json_schema", "recast_text", "write_recast"]

RECAST_FILE = "recast.json"
TEXT_FILE = "recast.md"
RECAST_STREAM = 60
MIN_POOL = 19
"""Scans without a signal that can show a p of 5%."""


class SignalFile(BaseModel, frozen=True, extra="forbid"):
    """A file of signal events: what was read of it, its mass and the relative width of its peak.

    `n_usable` of `n_events` reach the view; efficiencies are those of the usable ones.
    """

    name: str
    sha256: str
    format: str
    n_events: int
    n_usable: int
    mass_gev: float
    sigma_relative: float


class RecastReport(BaseModel):
    """The content of ``recast.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal["bumpscout.recast/1"] = "bumpscout.recast/1"
    data: str
    plan_sha256: str
    seed: int
    into: Literal["null", "data"]
    luminosity_fb: float | None
    expected_events: float
    background_order: int
    background_fit_p: float
    files: tuple[SignalFile, ...]
    signals: tuple[Recast, ...]
    failures: dict[str, str] = {}

    @classmethod
    def of(
        cls,
        plan: SearchPlan,
        data: str,
        background: tuple[float, int, float],
        files: Sequence[SignalFile],
        trials: Sequence[Sequence[Injected]],
        into: Literal["null", "data"],
        seed: int,
    ) -> Self:
        """Put the record together.

        Raises:
            ConfigurationError: if too few trials of a signal succeeded.
        """
        pool = [t for found in trials for t in found if t.strength == 0]
        expected, order, fit_p = background
        signals: list[Recast] = []
        failures: dict[str, str] = {}
        for number, (about, found) in enumerate(zip(files, trials, strict=True)):
            rng = np.random.default_rng((seed, RECAST_STREAM, number))
            try:
                width = about.sigma_relative
                signals.append(
                    recast_signal(plan, about.name, found, pool, sigma_relative=width, rng=rng)
                )
            except ConfigurationError as error:
                failures[about.name] = str(error)
        if not signals:
            raise ConfigurationError(next(iter(failures.values())))
        return cls(
            data=data,
            plan_sha256=plan.sha256(),
            seed=seed,
            into=into,
            luminosity_fb=plan.luminosity_fb,
            expected_events=expected,
            background_order=order,
            background_fit_p=fit_p,
            files=tuple(files),
            signals=tuple(signals),
            failures=failures,
        )


def write_recast(folder: Path, report: RecastReport) -> None:
    """Write ``recast.json``, ``recast.md`` and the figures.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    from bumpscout_tools.plots import figure_bytes
    from bumpscout_tools.plots.recast import (
        efficiency_figure,
        excluded_figure,
        sensitivity_figure,
    )

    figures = {"efficiency": efficiency_figure(report.signals)}
    figures["excluded"] = excluded_figure(report.signals, in_pb=report.luminosity_fb is not None)
    for number, signal in enumerate(report.signals):
        figures[f"sensitivity-{number}"] = sensitivity_figure(signal)
    for name, figure in figures.items():
        write_atomic(folder / "figures" / f"{name}.svg", figure_bytes(figure, "svg"))
        write_atomic(folder / "figures" / f"{name}.png", figure_bytes(figure, "png"))
    write_atomic(folder / TEXT_FILE, _markdown(report, tuple(figures)))
    write_atomic(folder / RECAST_FILE, report.model_dump_json(indent=2) + "\n")


def recast_text(report: RecastReport, folder: Path) -> str:
    """Return the recast for a terminal."""
    lines: list[str] = []
    for signal in report.signals:
        lines.append(f"{signal.name} at {signal.mass_gev:.0f} GeV")
        for at in signal.detected:
            found = f"found in {at.found_5pc.k} of {at.n} at procedure p <= 5%"
            if signal.n_pool < MIN_POOL:
                found = f"{signal.n_pool} scans without a signal show no p <= 5%: more --n-null"
            lines.append(f"  S/sqrt(B) {at.strength:g} ({at.mean_signal:.0f} events): {found}")
        lines += [f"  {line}" for line in _needed_lines(signal)]
        lines += [f"  {line}" for line in _limit_lines(signal)]
    lines += [f"failed: {why}" for why in report.failures.values()]
    lines.append(f"Figures and tables: {folder / TEXT_FILE}")
    return "\n".join(printable(line, 400) for line in lines)


def _kept(efficiency: float | None) -> str:
    return "all events" if efficiency is None else f"{100 * efficiency:.3g}% kept"


def _needed_lines(signal: Recast) -> list[str]:
    by_cut: dict[float | None, list[str]] = {}
    for one in signal.needed:
        by_cut.setdefault(one.efficiency, []).append(_strength(one))
    return [f"{_kept(cut)}: {'; '.join(values)}" for cut, values in by_cut.items()]


def _strength(one: Strength) -> str:
    if one.strength is None:
        return f"{one.sigma:g} sigma outside the strengths injected"
    low, high = ("..." if end is None else f"{end:.2g}" for end in _ends(one.strength))
    pb = "" if one.cross_section_pb is None else f", {one.cross_section_pb:.3g} pb"
    return f"{one.sigma:g} sigma at S/sqrt(B) {one.strength.value:.2g} ({low} to {high}){pb}"


def _ends(value: Estimate) -> tuple[float | None, float | None]:
    return value.low, value.high


def _limit_lines(signal: Recast) -> list[str]:
    return [f"{_kept(row.efficiency)}: {_limit(row)}" for row in signal.limits]


def _limit(row: ExpectedLimit) -> str:
    if row.visible_events is None:
        return "no expected limit, the fit cannot be believed"
    visible = (
        f"expects to exclude {row.visible_events:.3g} events that pass "
        f"({row.low_events:.3g} to {row.high_events:.3g})"
    )
    if row.injected_events is None:
        return f"{visible}; the strengths injected do not reach it"
    pb = "" if row.cross_section_pb is None else f", {row.cross_section_pb:.3g} pb"
    return f"{visible}: {row.injected_events:.0f} produced{pb}, S/sqrt(B) {row.strength:.2g}"


def _markdown(report: RecastReport, figures: Sequence[str]) -> str:
    where = (
        "background-only pseudo-experiments drawn from a density fitted to the data"
        if report.into == "null"
        else "the data themselves, with any signal that they hold; repetitions without it are "
        "background-only pseudo-experiments"
    )
    lines = [
        "# Recast of a plan",
        "",
        f"Plan {report.plan_sha256[:16]} on data like {printable(report.data, 100)} "
        f"({report.expected_events:.0f} events expected from a p{report.background_order} "
        f"spectrum, goodness of fit p = {report.background_fit_p:.2g}). Signals are injected into "
        f"{where}; detectors are trained anew each time. Strength is the expected S/sqrt(B) within "
        "5% of the mass before any cut. Intervals are 68%.",
        "",
        "A cut that is trained on the data keeps more of a strong signal than of a weak one, so an "
        "efficiency belongs to a strength, and an excluded cross section is the one at which "
        "events that pass, with the efficiency that such a signal trains, reach the limit on "
        "them. Efficiencies, and so cross sections, are relative to the usable events of the "
        "file: sigma x branching ratio x the acceptance of whatever made and reconstructed it. "
        "They do not know how well the simulation describes the signal.",
    ]
    about = {one.name: one for one in report.files}
    for signal in report.signals:
        lines += _signal_lines(about[signal.name], signal)
    lines += ["", *(f"- Failed: {printable(why, 400)}" for why in report.failures.values())]
    lines += ["", "## Figures", ""]
    lines += [f"![{name}](figures/{name}.png)" for name in figures]
    return "\n".join(lines) + "\n"


def _signal_lines(about: SignalFile, signal: Recast) -> list[str]:
    lines = [
        "",
        f"## {printable(about.name, 100)} at {signal.mass_gev:.0f} GeV",
        "",
        f"{about.n_usable} of {about.n_events} events ({about.format}) can be used; the peak is "
        f"{100 * signal.sigma_relative:.2g}% wide; S/sqrt(B) = 1 is "
        f"{signal.events_per_strength:.0f} events; {signal.n_null} repetitions without the signal.",
        "",
        "| S/sqrt(B) | signal events | found, p <= 5% | found, p <= 1% | median p | mass bias |",
        "|---|---|---|---|---|---|",
    ]
    least = 1 / (signal.n_pool + 1)
    for at in signal.detected:
        bias = "" if at.mass_bias is None else f"{100 * at.mass_bias:+.2f}%"
        five, one = (
            f"{r.k} of {r.n} ({r.low:.2f} to {r.high:.2f})" if least <= level else "needs --n-null"
            for r, level in ((at.found_5pc, 0.05), (at.found_1pc, 0.01))
        )
        lines.append(
            f"| {at.strength:g} | {at.mean_signal:.0f} | {five} | {one} | {at.median_p:.2g} | "
            f"{bias} |"
        )
    lines += [
        "",
        f"{signal.n_pool} scans without a signal rank these: none has p below {least:.2g}.",
        "",
        "| S/sqrt(B) | cut | signal efficiency | spread from training to training | near the mass "
        "| found by the fit |",
        "|---|---|---|---|---|---|",
    ]
    for strength, rows in signal.efficiencies.items():
        for row in rows:
            lines.append(
                f"| {strength} | {_kept(row.efficiency)} | {row.mean:.3f} ± {row.error:.3f} | "
                f"{100 * row.spread:.0f}% | {row.near:.3f} | {row.response:.2f} |"
            )
    lines += ["", "Strength at which the median significance at the true mass is 3 and 5 sigma:"]
    lines += ["", *(f"- {line}." for line in _needed_lines(signal))]
    lines += ["", "Median expected upper limits (95% CL where the plan says nothing else):"]
    return [*lines, "", *(f"- {line}." for line in _limit_lines(signal))]


def recast_json_schema() -> str:
    """Return the JSON schema of ``recast.json`` as text."""
    schema: dict[str, Any] = RecastReport.model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
