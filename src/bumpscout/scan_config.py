"""The file that `bumpscout scan` and `calibrate` read: data, seed and plan (`bumpscout.scan/1`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from bumpscout.words import printable
from bumpscout_tools.detectors.settings import QuakSettings
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

__all__ = ["ScanConfig", "read_config", "scan_json_schema"]

_MAX_BYTES = 1 << 20


class ScanConfig(BaseModel):
    """One scan: what it reads, what decides its randomness, and the plan that it carries out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal["bumpscout.scan/1"] = "bumpscout.scan/1"
    data: Path | None = Field(
        default=None, description="file of events; a relative path starts at this file's folder"
    )
    seed: int = Field(default=1, ge=0, lt=2**31)
    plan: SearchPlan = SearchPlan()
    preregistered: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="hash of this plan, declared to be written down before anyone saw the events "
        "of the scan; without it the claim is exploratory",
    )

    @model_validator(mode="after")
    def _registered_is_this_plan(self) -> Self:
        if self.preregistered is not None and any(
            isinstance(one.settings, QuakSettings) and one.settings.files
            for one in self.plan.detectors
        ):
            raise ValueError(
                "a plan that names files of signal events is not fixed by its hash, as they may "
                "change; register the plan.json of a run, which holds the events themselves"
            )
        if self.preregistered is not None and self.preregistered != self.plan.sha256():
            raise ValueError(
                f"preregistered is not the hash of this plan, which is {self.plan.sha256()}: the "
                "plan was changed after it was registered, or by another version of bumpscout"
            )
        return self


def read_config(path: Path) -> ScanConfig:
    """Read a configuration in YAML (or JSON, which YAML contains).

    Returns:
        The configuration; its `data`, where given, is an absolute path, and so are files that
        detectors learn from.

    Raises:
        ConfigurationError: a file that is missing, no YAML, or no configuration; the message names
            the first wrong entry.
    """
    try:
        content = yaml.safe_load(_read(path))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = f": {' '.join(str(error).split())[:300]}" if str(error) else ""
        raise ConfigurationError(f"{path} cannot be read as YAML{printable(where)}.") from error
    try:
        config = ScanConfig.model_validate(content if content is not None else {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        entry = ".".join(map(str, first["loc"])) or "the whole file"
        raise ConfigurationError(
            f"{path}: {printable(entry, 200)}: {printable(_said(first), 500)}. The schema is "
            "docs/scan.schema.json."
        ) from error
    detectors = tuple(_beside(path, detector) for detector in config.plan.detectors)
    update: dict[str, object] = {"plan": config.plan.model_copy(update={"detectors": detectors})}
    if config.data is not None:
        update["data"] = (path.parent / config.data).absolute()
    return config.model_copy(update=update)


def _beside(path: Path, detector: DetectorPlan) -> DetectorPlan:
    """Return a detector whose files of signal events, if any, are absolute paths."""
    if not isinstance(detector.settings, QuakSettings):
        return detector
    files = tuple(
        str((path.parent / Path(file).expanduser()).absolute()) for file in detector.settings.files
    )
    settings = detector.settings.model_copy(update={"files": files})
    return detector.model_copy(update={"settings": settings})


def _said(error: ErrorDetails) -> str:
    """Return what is wrong with an entry, in words of the configuration."""
    return "unknown entry" if error["type"] == "extra_forbidden" else error["msg"]


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ConfigurationError(f"There is no file {path}; give the configuration of a scan.")
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from error
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{path} is larger than 1 MiB; that is no configuration.")
    return content


def scan_json_schema() -> str:
    """Return the JSON schema of the configuration as text."""
    schema: dict[str, Any] = ScanConfig.model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
