"""The run folder: who may write into it, and the file ``run.json`` that marks it as ours."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bumpscout.console import RUN_FILE
from bumpscout.files import read_model
from bumpscout.result import RESULT_FILE, read_result
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic

__all__ = ["SCAN_FILE", "Options", "RunFolder", "RunRecord"]

SCAN_FILE = "scan.json"
"""The configuration that a scan carried out; `bumpscout scan` reads it again."""


class Options(BaseModel):
    """What the command line decided beside the request and the file; it goes into ``run.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Literal["offline", "none"] = "offline"
    blinding: Literal["open", "staged"] = "open"
    approve: Literal["ask", "auto"] = "auto"
    luminosity_fb: float | None = Field(default=None, gt=0)
    sqrt_s_gev: float | None = Field(default=None, gt=0)
    replays: int | None = Field(default=None, ge=0, le=100_000)
    toys: int | None = Field(default=None, ge=100, le=10_000_000)
    max_minutes: float | None = Field(default=None, gt=0)
    seed: int = Field(default=1, ge=0, lt=2**31)
    workers: int | None = Field(default=None, ge=1, le=1024)
    sandbox: Literal["auto", "docker", "bubblewrap", "apptainer"] | None = None


class RunRecord(BaseModel):
    """The content of ``run.json``, written before anything else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal["bumpscout.run/1"] = "bumpscout.run/1"
    kind: Literal["search", "scan"] = "search"
    run_id: str = Field(pattern=r"^[0-9a-z-]{1,64}$")
    started: str
    request: str
    data: str
    options: Options


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run."""

    path: Path
    record: RunRecord

    @classmethod
    def create(
        cls,
        path: Path,
        request: str,
        data: Path,
        options: Options,
        kind: Literal["search", "scan"] = "search",
    ) -> Self:
        """Make the folder, or take an empty one, and mark it.

        Raises:
            ConfigurationError: if it holds anything, or cannot be written.
        """
        try:
            if path.is_file():
                raise ConfigurationError(
                    f"{path} is a file; give --out a folder that does not exist."
                )
            path.mkdir(parents=True, exist_ok=True)
            occupied = any(path.iterdir())
        except OSError as error:
            raise ConfigurationError(
                f"Cannot write the output folder {path}: {error.strerror}. Choose another --out."
            ) from error
        if (path / RUN_FILE).exists() or (path / RESULT_FILE).exists():
            raise ConfigurationError(
                f"{path} holds an earlier run, which is never overwritten. Choose another --out, "
                "or remove the folder if you do not need that run."
            )
        if occupied:
            raise ConfigurationError(
                f"{path} is not empty and holds no run of bumpscout. Choose another --out."
            )
        record = RunRecord(
            run_id=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
            kind=kind,
            started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            request=request,
            data=str(data.resolve()),
            options=options,
        )
        write_atomic(path / RUN_FILE, record.model_dump_json(indent=2) + "\n")
        return cls(path.resolve(), record)

    @classmethod
    def reopen(cls, path: Path, workers: int | None = None) -> Self:
        """Open the folder of a run that did not come to its end.

        Args:
            path: the folder.
            workers: processes from now on; None: as many as the run began with.

        Raises:
            ConfigurationError: if it holds no run, or a complete one.
        """
        record = read_record(path)
        if (path / RESULT_FILE).exists() and read_result(path).status == "complete":
            raise ConfigurationError(f"The run in {path} is complete; there is nothing to resume.")
        if workers is not None:
            options = record.options.model_copy(update={"workers": workers})
            record = record.model_copy(update={"options": options})
        return cls(path.resolve(), record)


def read_record(folder: Path) -> RunRecord:
    """Read ``run.json``.

    Raises:
        ConfigurationError: if the folder is no run of ours.
    """
    return read_model(folder / RUN_FILE, RunRecord)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
