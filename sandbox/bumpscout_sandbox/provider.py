"""What a sandbox is: a provider that checks itself and runs jobs, whoever implements it.

A job is one Python script. Inside the wall it finds its inputs read-only under ``/in``, may write
to ``/out``, can import the vetted library ``bumpscout_tools``, and has no network. What it wrote
under declared names is copied out after all of its processes are dead; nothing else leaves.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from bumpscout_sandbox.limits import Limits
from bumpscout_tools.errors import ConfigurationError

__all__ = ["NAME_PATTERN", "CheckRow", "Job", "JobResult", "Outcome", "OutputSpec", "Provider"]

Outcome = Literal[
    "ok", "error", "timeout", "memory", "processes", "disk", "output_truncated", "killed"
]
"""How a job ended.

=================== ===================================================================
``ok``              the script ended with exit status 0
``error``           it ended with another one, or by a signal of its own
``timeout``         stopped at `Limits.wall_s` or `Limits.cpu_s`
``memory``          stopped, or refused memory, at `Limits.memory_bytes`
``processes``       stopped at `Limits.processes`
``disk``            stopped at, or failed for, `Limits.workspace_bytes` or `..._inodes`
``output_truncated`` stopped at `Limits.output_bytes`
``killed``          stopped by the caller (`Job.cancel`), or by the machine
=================== ===================================================================

A sandbox that is unavailable, or that breaks, is never an outcome: `Provider.run` raises, so that
nobody takes it for what the script did.
"""

NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"
"""Plain file names, which can mean nothing but a file in a given folder."""


class OutputSpec(BaseModel):
    """One file that a script may leave in /out; undeclared files never leave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    kind: Literal["npy", "json", "png"]
    max_bytes: int = Field(gt=0)
    required: bool = True


class CheckRow(BaseModel):
    """One line of what this machine offers: a property, whether it holds, and who enforces it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    ok: bool
    how: str
    remedy: str = ""


@dataclass(frozen=True)
class Job:
    """One run of one script.

    Attributes:
        script: source text; it is never imported on this side.
        collect: existing host folder that receives the raw copies of the outputs.
        inputs: name under /in -> host file.
        outputs: what may leave.
        limits: what the job may use.
        cancel: set it from another thread to end the job (outcome ``killed``).
        cold: start a fresh interpreter even where the provider keeps a warm one.
    """

    script: str
    collect: Path
    inputs: dict[str, Path] = field(default_factory=dict)
    outputs: tuple[OutputSpec, ...] = ()
    limits: Limits = field(default_factory=Limits.for_machine)
    cancel: threading.Event | None = None
    cold: bool = False

    def __post_init__(self) -> None:
        """Refuse names that could mean anything but a file in /in or /out.

        Raises:
            ConfigurationError: if a name is unusable, an input is no file or `collect` no folder.
        """
        for name, path in self.inputs.items():
            if not re.fullmatch(NAME_PATTERN, name):
                raise ConfigurationError(f"The input name {name!r} of a sandbox job is not plain.")
            if not path.is_file():
                raise ConfigurationError(f"The input {name} of a sandbox job is no file: {path}.")
        names = [spec.name for spec in self.outputs]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"A sandbox job declares an output twice: {sorted(names)}.")
        if not self.collect.is_dir():
            raise ConfigurationError(f"The folder for outputs does not exist: {self.collect}.")


@dataclass(frozen=True)
class JobResult:
    """How a job ended and what it left; all of it is untrusted.

    Attributes:
        outcome: see `Outcome`.
        exit_status: of the script, 128+n after signal n; None where the job was stopped.
        stdout: decoded, capped at `Limits.output_bytes`.
        stderr: decoded, capped likewise.
        wall_s: seconds from the start of the script.
        cpu_s: seconds of processor time at the last poll of the watchdog.
        max_rss_bytes: largest sum of resident memory that the watchdog saw.
        artifacts: name -> raw copy in `Job.collect`; `bumpscout_sandbox.artifacts` parses them.
        problems: sentences about limits and about outputs that are missing or were refused.
    """

    outcome: Outcome
    exit_status: int | None
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    max_rss_bytes: int
    artifacts: dict[str, Path]
    problems: tuple[str, ...] = ()


@runtime_checkable
class Provider(Protocol):
    """A sandbox; picklable, so that replays can run on other processes."""

    @property
    def name(self) -> str:
        """Return the short name that reports show."""

    def check(self) -> list[CheckRow]:
        """Say what this machine offers and how each limit is enforced; includes a trial run.

        Returns:
            Rows; the sandbox is usable when all of them are ok.
        """

    def run(self, job: Job) -> JobResult:
        """Run one job to its end and return after all of its processes are dead.

        Raises:
            SandboxUnavailable: if this machine offers no such sandbox.
            SandboxFailure: if the sandbox itself failed.
            ConfigurationError: if an input vanished, or a limit asks for what cannot be given.
        """

    def close(self) -> None:
        """End what is kept between jobs; may be called twice, and a later `run` starts anew."""
