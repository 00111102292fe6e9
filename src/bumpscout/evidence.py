"""What the report draws (``evidence.json``): final scan, null replays and example events."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bumpscout.files import read_model
from bumpscout_tools.detectors.correlation import Correlation
from bumpscout_tools.detectors.explain import Anomalous
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.outcome import CellSpectrum, ScanOutcome

__all__ = ["CardSummary", "Drop", "Evidence", "Examples", "read_evidence", "write_evidence"]

EVIDENCE_FILE = "evidence.json"
MAX_CELLS = 100_000
MAX_BINS = 2_000
MAX_EXAMPLES = 5_000


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Drop(_Record):
    """Events that were left out, or mended, and why."""

    reason: str
    n_events: int = Field(ge=0)


class CardSummary(_Record):
    """What the vault says about the file: columns, events that were used, drops."""

    format: str
    n_events: int = Field(ge=0)
    n_used: int = Field(ge=0)
    drops: tuple[Drop, ...] = ()
    columns: tuple[str, ...] = Field(default=(), max_length=1000)
    notes: tuple[str, ...] = Field(default=(), max_length=100)


class Examples(_Record):
    """Features of the events that pass the cut of the best bump, and of typical ones beside it."""

    names: tuple[str, ...] = Field(max_length=64)
    typical: tuple[tuple[float, ...], ...] = Field(max_length=MAX_EXAMPLES)
    anomalous: tuple[tuple[float, ...], ...] = Field(max_length=MAX_EXAMPLES)
    differences: Anomalous | None = None
    correlation: Correlation | None = None

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        rows = itertools.chain(self.typical, self.anomalous)
        if any(len(row) != len(self.names) for row in rows):
            raise ValueError("each example needs one value a feature")
        return self


class Evidence(_Record):
    """The records behind the figures; a replay that failed is null and counts as having reached."""

    schema_version: Literal["bumpscout.evidence/1"] = "bumpscout.evidence/1"
    card: CardSummary | None = None
    outcome: ScanOutcome | None = None
    statistic: str = "Largest local z of the whole search"
    observed_statistic: float | None = None
    replay_statistics: tuple[float | None, ...] = Field(default=(), max_length=MAX_CELLS)
    calibration: tuple[str, ...] = ()
    examples: Examples | None = None

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        if self.outcome is None:
            return self
        outcome = self.outcome
        if len(outcome.cells) > MAX_CELLS:
            raise ValueError(f"more than {MAX_CELLS} cells")
        if any(not 0 <= index < len(outcome.cells) for index in outcome.ranking):
            raise ValueError("the ranking points outside the cells")
        for cell in outcome.cells:
            numbers = (*cell.window_gev, *cell.interval_gev, cell.efficiency)
            if not (_finite(numbers) and _finite((cell.local_z, cell.n_expected, cell.deviance))):
                raise ValueError(f"cell {cell.test_id!r} holds numbers that are not finite")
            if min(numbers) <= 0 or cell.efficiency > 1:
                raise ValueError(f"cell {cell.test_id!r} holds impossible energies or efficiency")
        for spectrum in (outcome.inclusive, *outcome.spectra):
            _check_spectrum(spectrum)
        return self


def _finite(values: tuple[float, ...]) -> bool:
    return all(math.isfinite(value) for value in values)


def _check_spectrum(spectrum: CellSpectrum) -> None:
    edges = spectrum.edges_gev
    n_bins = len(spectrum.observed)
    if not 1 <= n_bins <= MAX_BINS or len(edges) != n_bins + 1:
        raise ValueError(f"spectrum {spectrum.test_id!r} has edges and counts that do not fit")
    if len(spectrum.expected) != n_bins or not _finite((*edges, *spectrum.expected)):
        raise ValueError(f"spectrum {spectrum.test_id!r} has an unusable expectation")
    if any(low >= high for low, high in itertools.pairwise(edges)) or edges[0] <= 0:
        raise ValueError(f"spectrum {spectrum.test_id!r} has bins that do not rise")
    if min(spectrum.expected) < 0 or min(spectrum.observed) < 0:
        raise ValueError(f"spectrum {spectrum.test_id!r} has negative counts")


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write ``evidence.json`` atomically.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    write_atomic(folder / EVIDENCE_FILE, evidence.model_dump_json() + "\n")


def read_evidence(folder: Path) -> Evidence | None:
    """Read ``evidence.json`` of a run folder, or None where the run ended before it was written.

    Raises:
        ConfigurationError: if the file does not follow the schema.
    """
    path = folder / EVIDENCE_FILE
    if not path.exists() and not path.is_symlink():
        return None
    return read_model(path, Evidence)
