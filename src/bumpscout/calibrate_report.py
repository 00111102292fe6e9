"""The answer of `calibrate`: its record, its figures, and what it says in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from bumpscout.calibrate_tables import (
    contamination_markdown,
    estimate_text,
    rate_text,
    verdict_markdown,
)
from bumpscout.words import printable
from bumpscout_tools.errors import InputDataError
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.alarms import AlarmRates, NullTrial, alarm_rates, pooled_p
from bumpscout_tools.scan.injection import Injected
from bumpscout_tools.scan.performance import Performance, performance
from bumpscout_tools.scan.reach import Reach
from bumpscout_tools.scan.verdict_rates import VerdictRates

if TYPE_CHECKING:
    from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["Calibration", "calibration_text", "write_calibration"]

CALIBRATION_FILE = "calibration.json"
TEXT_FILE = "calibration.md"


class Background(BaseModel):
    """The generator of the background-only data sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expected_events: float
    order: int
    fit_p: float


class Calibration(BaseModel):
    """The content of ``calibration.json``; `signal` is null where none was injected.

    `null_p` are the procedure p of the background-only data sets, each ranked among replays of the
    others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal["bumpscout.calibration/1"] = "bumpscout.calibration/1"
    data: str
    plan_sha256: str
    seed: int
    background: Background
    alarms: AlarmRates
    null_p: tuple[float, ...]
    signal: Performance | None = None

    @classmethod
    def of(
        cls,
        plan: SearchPlan,
        data: str,
        background: tuple[float, int, float],
        nulls: Sequence[NullTrial],
        injected: Sequence[Injected],
        seed: int,
    ) -> Self:
        """Put the record together.

        Raises:
            InputDataError: if no background-only data set could be scanned.
        """
        failed = [trial.error for trial in nulls if trial.error is not None]
        if len(failed) == len(nulls):
            raise InputDataError(f"No background-only data set could be scanned: {failed[0]}")
        expected, order, fit_p = background
        p, _, _ = pooled_p(plan, nulls, np.random.default_rng((seed, 40)))
        return cls(
            data=data,
            plan_sha256=plan.sha256(),
            seed=seed,
            background=Background(expected_events=expected, order=order, fit_p=fit_p),
            alarms=alarm_rates(plan, nulls, np.random.default_rng((seed, 40))),
            null_p=tuple(map(float, p)),
            signal=performance(plan, nulls, injected) if injected else None,
        )


def write_calibration(folder: Path, report: Calibration) -> None:
    """Write ``calibration.json``, ``calibration.md`` and the figures.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    from bumpscout_tools.plots import figure_bytes
    from bumpscout_tools.plots.calibration import (
        alarm_figure,
        detection_figure,
        reach_figure,
        yield_figure,
    )
    from bumpscout_tools.plots.verdicts import closure_figure, verdict_figure

    figures = {"false-alarms": alarm_figure(np.array(report.null_p), report.alarms)}
    figures["verdicts"] = verdict_figure(report.alarms.verdicts, report.signal)
    if report.alarms.closures is not None:
        figures["closure"] = closure_figure(report.alarms.closures, report.signal)
    if report.signal is not None:
        figures["detection"] = detection_figure(report.signal)
        if report.signal.reach:
            figures["yields"] = yield_figure(report.signal)
            figures["reach"] = reach_figure(report.signal)
    for name, figure in figures.items():
        write_atomic(folder / "figures" / f"{name}.svg", figure_bytes(figure, "svg"))
        write_atomic(folder / "figures" / f"{name}.png", figure_bytes(figure, "png"))
    write_atomic(folder / TEXT_FILE, _markdown(report, tuple(figures)))
    write_atomic(folder / CALIBRATION_FILE, report.model_dump_json(indent=2) + "\n")


def calibration_text(report: Calibration, folder: Path) -> str:
    """Return the calibration for a terminal."""
    lines = ["False alarms", *(f"  {line}" for line in _alarm_lines(report.alarms))]
    if report.signal is not None:
        signal = report.signal
        lines.append(f"Signal at {signal.mass_gev:.0f} GeV, found within 5% of its mass")
        for at in signal.strengths:
            bias = "" if at.mass_bias is None else f", median mass {100 * at.mass_bias:+.1f}%"
            lines.append(
                f"  S/sqrt(B) {at.strength:g}: {rate_text(at.found_5pc)} at p <= 5%, "
                f"{rate_text(at.found_1pc)} at p <= 1%{bias}"
            )
            if at.verdicts is not None:
                lines.append(f"    verdicts: {_verdicts(at.verdicts)}")
        lines += [f"  {line}" for line in _notes(signal)]
    lines.append(f"Figures and tables: {folder / TEXT_FILE}")
    return "\n".join(printable(line, 400) for line in lines)


def _alarm_lines(alarms: AlarmRates) -> list[str]:
    lines = [
        f"procedure p <= {level} in {rate_text(found)} background-only data sets"
        for level, found in alarms.below.items()
    ]
    return [
        *lines,
        f"data sets against {alarms.n_replays} replays: Kolmogorov-Smirnov p = {alarms.ks_p:.2g}",
        f"local z above 3 in {rate_text(alarms.local_z_above_3)}: what local p alone would claim",
        f"a guard fired on the largest excess of {rate_text(alarms.guard_fired)}",
        f"verdicts: {_verdicts(alarms.verdicts)}",
    ]


def _verdicts(rates: VerdictRates) -> str:
    return ", ".join(f"{name} {found.k} of {found.n}" for name, found in rates.verdicts.items())


def _reach_lines(reach: Sequence[Reach]) -> list[str]:
    lines = []
    for point in reach:
        cut = "no cut" if point.efficiency is None else f"{100 * point.efficiency:.3g}% kept"
        needed = [
            f"{estimate_text(value)} for {sigma} sigma"
            for sigma, value in ((3, point.for_3_sigma), (5, point.for_5_sigma))
            if value is not None
        ]
        dz = point.gain_percent
        gain = "" if dz is None else f"; dZ {estimate_text(dz, '+.0f')}%"
        where = ", ".join(needed) if needed else "3 and 5 sigma lie outside the strengths injected"
        lines.append(f"{cut}: S/sqrt(B) {where}{gain}")
    return lines


def _markdown(report: Calibration, figures: Sequence[str]) -> str:
    background, alarms = report.background, report.alarms
    lines = [
        "# Calibration of a plan",
        "",
        f"Plan {report.plan_sha256[:16]} on data like {printable(report.data, 100)}: "
        f"background-only pseudo-experiments of {background.expected_events:.0f} events from a "
        f"p{background.order} spectrum (goodness of fit p = {background.fit_p:.2g}) and the "
        "density of the features at each mass. Data that such a density cannot describe are not "
        "tested. Intervals are 68%; those of p know that the pool of replays is finite.",
        "",
        "## False alarms",
        "",
        *(f"- {line}." for line in _alarm_lines(alarms)),
        *verdict_markdown(alarms, report.signal),
    ]
    if report.signal is not None:
        lines += _signal_markdown(report.signal)
    lines += ["", "## Figures", ""]
    lines += [f"![{name}](figures/{name}.png)" for name in figures]
    return "\n".join(lines) + "\n"


def _signal_markdown(signal: Performance) -> list[str]:
    lines = [
        "",
        f"## A signal at {signal.mass_gev:.0f} GeV",
        "",
        "Injected into new background, detectors retrained. Strength is the expected S/sqrt(B) "
        "within 5% of the mass before any cut; found means within 5% of the mass. Each is ranked "
        "among the replays of background-only data sets. Intervals of the reach and of dZ are from "
        "a bootstrap over the repetitions.",
        "",
        "| S/sqrt(B) | signal events | found, p <= 5% | found, p <= 1% | median p | local z | "
        "mass bias | mass spread |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for at in signal.strengths:
        z = "" if at.median_local_z is None else f"{at.median_local_z:.1f}"
        bias = "" if at.mass_bias is None else f"{100 * at.mass_bias:+.2f}%"
        spread = "" if at.mass_spread is None else f"{100 * at.mass_spread:.2f}%"
        lines.append(
            f"| {at.strength:g} | {at.mean_signal:.0f} | {rate_text(at.found_5pc)} | "
            f"{rate_text(at.found_1pc)} | {at.median_p:.2g} | {z} | {bias} | {spread} |"
        )
    lines += contamination_markdown(signal)
    if not signal.reach:
        return [*lines, "", *(f"- {line}." for line in _notes(signal))]
    lines += [
        "",
        "Yields near the true mass, in an interval that does not depend on the events, behind the "
        "plan's first detector; pull is (measured - mean true) / error, and the 68% interval "
        "should hold the mean truth in 68%. Bias and width that repetitions without a signal "
        "show, and the spread of the efficiency from training to training, are in the interval. z "
        "is local, with the error of the fit; behind a cut it is in null widths, and empty where "
        "too few events are expected for a fit that can be believed. dZ is the gain in Z = "
        "s/sqrt(b) at the largest strength.",
        "",
        "| S/sqrt(B) | kept | true | measured | pull mean | pull width | truth in 68% interval | "
        "median z |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for at in signal.strengths:
        for row in at.yields:
            kept = "all" if row.efficiency is None else f"{100 * row.efficiency:.3g}%"
            mean = "" if row.pull_mean is None else f"{row.pull_mean:+.2f}"
            z = "" if row.median_z is None else f"{row.median_z:.1f}"
            width = "" if row.pull_width is None else f"{row.pull_width:.2f}"
            lines.append(
                f"| {at.strength:g} | {kept} | {row.mean_true:.1f} | {row.mean_measured:.1f} | "
                f"{mean} | {width} | {rate_text(row.covered)} | {z} |"
            )
    return [*lines, "", *(f"- {line}." for line in _notes(signal))]


def _notes(signal: Performance) -> list[str]:
    failed = [
        f"S/sqrt(B) {at.strength:g}: {at.n_failed} of {at.n} failed and count as not found: "
        f"{printable((at.failure or '').rstrip('.'), 300)}"
        for at in signal.strengths
        if at.n_failed
    ]
    reach = _reach_lines(signal.reach) or [
        f"no window of the plan holds {signal.mass_gev:.0f} GeV: no yields were measured"
    ]
    return [*failed, *_pool_note(signal), *reach]


def _pool_note(signal: Performance) -> list[str]:
    least = 1 / (signal.n_pool + 1)
    if least <= 0.01:
        return []
    return [f"{signal.n_pool} null replays show no p below {least:.2g}: more --n-null are needed"]
