"""The answer of a search: the records of ``result.json`` (schema ``bumpscout.result/1``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bumpscout.files import read_model
from bumpscout_tools.detectors.correlation import Correlation
from bumpscout_tools.detectors.explain import Anomalous
from bumpscout_tools.detectors.guards import GuardReport
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.outcome import ProcedureP, ScanP, Variant

__all__ = [
    "Bump",
    "Cost",
    "Dataset",
    "LedgerSummary",
    "Measured",
    "PlanSummary",
    "Result",
    "Software",
    "TaskSummary",
    "WorkingPoint",
    "json_schema",
    "read_result",
    "write_result",
]

RESULT_FILE = "result.json"
Verdict = Literal["excess", "candidate", "no-excess", "undecided"]
Claim = Literal["confirmatory", "exploratory"]
Status = Literal["complete", "stopped", "failed"]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Dataset(_Record):
    """The file that was searched; `n_events` counts what is in the file, before any drop.

    `n_searched` events lie in the mass range `searched_gev` that could be fitted, or were scored
    where there are several spectra; both are null while nothing was scanned.
    """

    name: str
    sha256: str
    n_events: int = Field(ge=0)
    format: str
    n_searched: int | None = None
    searched_gev: tuple[float, float] | None = None


class PlanSummary(_Record):
    """The frozen plan in short; the whole of it is in ``plan.json``."""

    sha256: str
    detectors: tuple[str, ...]
    spectra: tuple[str, ...]
    working_points: tuple[float, ...]
    background: str
    blinding: Literal["open", "staged"]


class WorkingPoint(_Record):
    """The cut on the score, as efficiency and, with a luminosity, as visible cross section."""

    efficiency: float = Field(gt=0, le=1)
    cross_section_pb: float | None = Field(default=None, ge=0)


class Measured(_Record):
    """A value with its standard error."""

    value: float
    error: float = Field(ge=0)


class Bump(_Record):
    """One excess; energies in GeV. `result_id` is the id of its test in the ledger."""

    result_id: str
    detector: str
    spectrum: str
    working_point: WorkingPoint
    mass_gev: float
    interval_gev: tuple[float, float]
    n_observed: int
    n_expected: float
    n_signal: Measured
    local_p: Probability
    local_z: float
    excess: float | None = Field(
        default=None,
        description="from the null median, in null widths at this cut; what bumps are ranked by, "
        "those of a grid by local_z",
    )
    guards: tuple[GuardReport, ...] = ()
    variants: tuple[Variant, ...] = Field(
        default=(), description="the bump under the neighbouring order, window and binning"
    )
    scan_p: ScanP | None = None
    procedure_p: ProcedureP | None = None


class LedgerSummary(_Record):
    """The chain in ``ledger.jsonl``: its head, distinct tests, and all lines."""

    head_sha256: str
    n_tests: int = Field(ge=0)
    n_lines: int = Field(ge=0)


class TaskSummary(_Record):
    """One step of the search that wrote and ran code, failed ones included."""

    id: str
    role: str
    status: str
    attempts: int = Field(ge=0)
    error: str | None = None
    script_sha256: str | None = None


class Cost(_Record):
    """What the search used."""

    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    bytes_to_model: int = Field(default=0, description="sent to an endpoint; none for offline")
    wall_s: float = 0.0
    sandbox_s: float = 0.0


class Software(_Record):
    """What made the numbers."""

    versions: dict[str, str]
    seed: int
    platform: str
    sandbox_provider: str | None
    model: str = Field(default="offline", description="offline: a policy, no language model")


class Result(_Record):
    """The content of ``result.json``; `verdict` and `claim` are null while nothing was decided."""

    schema_version: Literal["bumpscout.result/1"] = "bumpscout.result/1"
    run_id: str
    request: str
    understood: tuple[str, ...] = ()
    not_understood: tuple[str, ...] = ()
    status: Status
    reason: str | None = None
    dataset: Dataset | None = None
    plan: PlanSummary | None = None
    verdict: Verdict | None = None
    claim: Claim | None = None
    headline: str
    bumps: tuple[Bump, ...] = ()
    anomalous: Anomalous | None = Field(
        default=None,
        description="how the events behind the first bump differ from typical ones of its masses",
    )
    correlation: Correlation | None = Field(
        default=None, description="how alike the detectors of the plan are, where there are several"
    )
    ledger: LedgerSummary | None = None
    tasks: tuple[TaskSummary, ...] = ()
    cost: Cost = Cost()
    software: Software


def write_result(folder: Path, result: Result) -> None:
    """Write ``result.json`` atomically.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    write_atomic(folder / RESULT_FILE, result.model_dump_json(indent=2) + "\n")


def read_result(folder: Path) -> Result:
    """Read ``result.json`` of a run folder.

    Raises:
        ConfigurationError: if it is missing or does not follow the schema.
    """
    return read_model(folder / RESULT_FILE, Result)


def json_schema() -> str:
    """Return the JSON schema of ``result.json`` as text."""
    schema: dict[str, Any] = Result.model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
