"""The figures of a report, drawn from the evidence in a light and a dark palette."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from bumpscout.evidence import Evidence
from bumpscout.report.grid_page import grid_figures
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic
from bumpscout_tools.plots import (
    Theme,
    correlation_figure,
    differences_figure,
    features_figure,
    figure_bytes,
    heatmap_figure,
    inclusive_figure,
    replay_figure,
    spectrum_figure,
    trials_figure,
)
from bumpscout_tools.scan.limits_scan import ScanLimits
from bumpscout_tools.scan.outcome import CellSpectrum, ScanOutcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawn", "Planned", "draw_figures", "write_figures"]

Planned = tuple[str, str, Callable[[Theme], "Figure"]]
"""Name of a figure, what it shows in words, and what draws it."""


@dataclass(frozen=True)
class Drawn:
    """One figure: SVG in two palettes, PNG in the light one, and what it shows in words."""

    name: str
    alt: str
    light: bytes
    dark: bytes
    png: bytes

    def uri(self, theme: Theme) -> Markup:
        """Return the SVG of a palette as a ``data:`` address."""
        content = base64.b64encode(self.light if theme == "light" else self.dark)
        return Markup(f"data:image/svg+xml;base64,{content.decode('ascii')}")


def draw_figures(evidence: Evidence, limits: ScanLimits | None = None) -> dict[str, Drawn]:
    """Draw every figure that the evidence allows, by name."""
    drawn: dict[str, Drawn] = {}
    for name, alt, draw in (*_planned(evidence), *_limit_figures(limits)):
        light = draw("light")
        drawn[name] = Drawn(
            name=name,
            alt=alt,
            light=figure_bytes(light),
            dark=figure_bytes(draw("dark")),
            png=figure_bytes(light, "png"),
        )
    return drawn


def write_figures(folder: Path, figures: dict[str, Drawn]) -> None:
    """Write ``figures/NAME.svg`` and ``figures/NAME.png``.

    Raises:
        ConfigurationError: if the folder cannot be written, or is a link to elsewhere.
    """
    target = folder / "figures"
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigurationError(f"{target} is no folder of ours; remove it and try again.")
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {target}: {error.strerror}.") from error
    for figure in figures.values():
        write_atomic(target / f"{figure.name}.svg", figure.light)
        write_atomic(target / f"{figure.name}.png", figure.png)


def _planned(evidence: Evidence) -> Iterator[Planned]:
    outcome = evidence.outcome
    if outcome is not None:
        yield from _scan_figures(outcome)
    observed = evidence.observed_statistic
    if evidence.replay_statistics and observed is not None:
        values = [np.inf if value is None else value for value in evidence.replay_statistics]
        k = sum(value >= observed for value in values)
        yield (
            "replays",
            f"Histogram of the statistic of {len(values)} null replays with the observed value "
            f"{observed:.2f} marked; {k} reached it.",
            lambda theme: replay_figure(values, observed, label=evidence.statistic, theme=theme),
        )
    examples = evidence.examples
    if examples is not None and examples.typical and examples.anomalous and examples.names:
        typical = np.asarray(examples.typical, dtype=np.float64)
        anomalous = np.asarray(examples.anomalous, dtype=np.float64)
        yield (
            "features",
            f"Distributions of {len(examples.names)} features: {len(anomalous)} most anomalous "
            f"events over {len(typical)} typical ones.",
            lambda theme: features_figure(examples.names, typical, anomalous, theme=theme),
        )
    alike = examples.correlation if examples is not None else None
    if alike is not None and outcome is not None and len(alike.methods) > 1:
        best = outcome.best()
        cut = best.efficiency if best else None
        yield (
            "correlation",
            f"Rank correlation of the scores of {len(alike.methods)} detectors, and events that "
            "they select alike.",
            lambda theme: correlation_figure(alike, cut, theme=theme),
        )
    found = examples.differences if examples is not None else None
    if found is not None and found.features:
        yield (
            "differences",
            f"Shift of each of {len(found.features)} features between {found.n_selected} most "
            f"anomalous and {found.n_typical} typical events, and its part of the score.",
            lambda theme: differences_figure(found, theme=theme),
        )


def _scan_figures(
    outcome: ScanOutcome,
) -> Iterator[Planned]:
    best = outcome.best()
    spectrum = _spectrum_of(outcome, best.test_id) if best else None
    if best is not None and spectrum is not None:
        yield (
            "spectrum",
            f"Mass spectrum of the {100 * best.efficiency:.3g}% most anomalous events with "
            f"the background fit; the largest excess lies at {best.interval_gev[0]:.0f} to "
            f"{best.interval_gev[1]:.0f} GeV.",
            lambda theme: spectrum_figure(best, spectrum, theme=theme),
        )
    if outcome.grid:
        yield from grid_figures(outcome)
        return
    window = best.window_gev if best else None
    yield (
        "inclusive",
        f"Dijet mass spectrum of all {outcome.n_events} events with the background fit.",
        lambda theme: inclusive_figure(outcome.inclusive, window_gev=window, theme=theme),
    )
    if outcome.cells:
        yield (
            "heatmap",
            f"Local significance of {len(outcome.cells)} tests over signal window and working "
            "point.",
            lambda theme: heatmap_figure(outcome, theme=theme),
        )
        yield (
            "trials",
            f"The excess of {len(outcome.cells)} tests in the order they were made, the largest "
            "so far, and the number of tests of each step.",
            lambda theme: trials_figure(outcome, theme=theme),
        )


def _limit_figures(
    limits: ScanLimits | None,
) -> Iterator[Planned]:
    if limits is not None:
        from bumpscout_tools.plots.limits_scan import scan_limits_figure

        yield (
            "limits",
            f"Observed and expected {100 * limits.level:g}% CL upper limits on signals of "
            f"{len(limits.widths)} widths against mass behind {len(limits.points)} working points.",
            lambda theme: scan_limits_figure(limits, theme=theme),
        )


def _spectrum_of(outcome: ScanOutcome, test_id: str) -> CellSpectrum | None:
    return next((item for item in outcome.spectra if item.test_id == test_id), None)
