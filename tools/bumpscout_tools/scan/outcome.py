"""What a scan found: cells, guards, p-values; all of it plain JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bumpscout_tools.detectors.guards import GuardReport

__all__ = [
    "Cell",
    "CellSpectrum",
    "GridMap",
    "GridSummary",
    "Hypothesis",
    "ProcedureP",
    "ScanOutcome",
    "ScanP",
    "Stage",
    "Variant",
    "Verdict",
]

MAX_LEADING = 5

Stage = Literal["coarse", "refined", "grid"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hypothesis(_Record):
    """One cell of a grid under one order of the background family.

    `fit_p` is its goodness of fit; where that is below 0.01, that without the interval found.
    """

    order: int
    local_z: float
    fit_p: float


class Cell(_Record):
    """One test: the spectrum of one detector (its number in the plan), window and working point.

    In a grid `spectrum` says which one it is, and the window is the whole range of its fit.

    Energies in GeV; `local_p` is the raw Poisson p-value of the most significant interval inside
    the window, `believable` false where no order of the background family describes the side bands
    or the window expects too few events.
    `null_mean` and `null_width` are those of local z over refitted toys of the cell's own fit
    (scores held fixed), and `excess` is (local_z - null_mean) / null_width.
    """

    test_id: str
    detector: str
    detector_index: int
    window_gev: tuple[float, float]
    efficiency: float
    stage: Stage
    n_selected: int
    order: int
    deviance: float
    ndf: int
    fit_p: float
    believable: bool
    interval_gev: tuple[float, float]
    n_observed: int
    n_expected: float
    local_p: float
    local_z: float
    null_mean: float
    null_width: float
    excess: float
    reason: str | None = Field(default=None, description="why the cell cannot be believed")
    spectrum: str = "m_jj"
    hypotheses: tuple[Hypothesis, ...] = Field(
        default=(), description="of a grid: the same cell with each order from p2 to p6"
    )


class Variant(_Record):
    """One bump under another choice of order, window or binning.

    `excess` is measured from the null median of the original cell, in its null widths.
    """

    name: str
    local_z: float
    excess: float
    believable: bool


class CellSpectrum(_Record):
    """The spectrum of one cell with its fit, for figures and for the report."""

    test_id: str
    edges_gev: tuple[float, ...]
    observed: tuple[int, ...]
    expected: tuple[float, ...]


class GridMap(_Record):
    """Largest local z of the intervals that hold each bin, at each working point of a spectrum.

    `z` (working points, bins), the working points as `efficiencies`.
    """

    spectrum: str
    detector_index: int
    edges_gev: tuple[float, ...]
    efficiencies: tuple[float, ...]
    z: tuple[tuple[float, ...], ...]


class GridSummary(_Record):
    """One spectrum of a grid with one detector: what was fitted, or why it could not be.

    `n_events` pass the loosest cut; `fit_range_gev` is null for a spectrum that was left out;
    `described` says whether the rule of the plan found a start from which it is described.
    """

    spectrum: str
    detector_index: int
    n_events: int
    fit_range_gev: tuple[float, float] | None = None
    described: bool = False
    reason: str | None = None


class ScanOutcome(_Record):
    """All cells of one execution of a plan, the best first in `ranking`.

    `ranking` holds indices into `cells` by falling excess among believable cells of detectors that
    are not withheld; after the final scan, by the excess that replays calibrated. Cells of a
    grid are ranked by local z; its inclusive spectrum is the leading one at the loosest cut.
    """

    fit_range_gev: tuple[float, float]
    described: bool = Field(description="a fit of the inclusive spectrum can be believed")
    edges_gev: tuple[float, ...]
    windows_gev: tuple[tuple[float, float], ...]
    n_events: int
    luminosity_share: float = Field(
        default=1.0, description="share of the luminosity that these events are"
    )
    cells: tuple[Cell, ...]
    ranking: tuple[int, ...]
    inclusive: CellSpectrum
    spectra: tuple[CellSpectrum, ...] = ()
    guards: dict[str, tuple[GuardReport, ...]] = Field(
        default={}, description="by test id of a ranked bump"
    )
    variants: dict[str, tuple[Variant, ...]] = Field(
        default={}, description="of the leading bumps after the final scan, by test id"
    )
    grid: tuple[GridSummary, ...] = Field(default=(), description="the spectra of a grid")
    all_events_pb: float | None = Field(
        default=None, description="visible cross section of all events of a grid"
    )
    grid_map: GridMap | None = Field(default=None, description="of the leading spectrum of a grid")

    def best(self) -> Cell | None:
        """Return the cell with the largest excess, or None where no cell can be believed."""
        return self.cells[self.ranking[0]] if self.ranking else None

    def leading(self, most: int = MAX_LEADING) -> tuple[Cell, ...]:
        """Return the largest excesses that do not overlap in mass and spectrum, the largest first.

        Beside the largest only cells with a local z of at least one are worth a line.
        """
        chosen: list[Cell] = []
        for index in self.ranking:
            cell = self.cells[index]
            if cell.local_z >= (1.0 if chosen else 0.0) and all(_apart(cell, c) for c in chosen):
                chosen.append(cell)
            if len(chosen) == most:
                break
        return tuple(chosen)


def _apart(one: Cell, other: Cell) -> bool:
    if one.spectrum != other.spectrum:
        return True
    (a_low, a_high), (b_low, b_high) = one.interval_gev, other.interval_gev
    return a_high <= b_low or b_high <= a_low


class ScanP(_Record):
    """The p-value of the maximum excess over all cells; (k+1)/(n+1) with a 68% interval."""

    value: float
    low: float
    high: float
    method: str
    n_toys: int


class ProcedureP(_Record):
    """How often the whole procedure reached the observation on background alone."""

    value: float
    low: float
    high: float
    n_replays: int
    n_reached: int
    method: str = "(k+1)/(n+1)"
    stopped_early: bool = False


class Verdict(_Record):
    """The decision and the sentence that says it."""

    verdict: Literal["excess", "candidate", "no-excess", "undecided"]
    claim: Literal["confirmatory", "exploratory"]
    reasons: tuple[str, ...] = ()
