"""The outer side of `bumpscout_sandbox.supervisor`: writes its plan, checks its answer."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import bumpscout_sandbox
from bumpscout_sandbox.collect import problem, store
from bumpscout_sandbox.mounts import WORKSPACES
from bumpscout_sandbox.provider import Job, JobResult, Outcome
from bumpscout_sandbox.runtime import interpreter, job_environment
from bumpscout_sandbox.seccomp import filter_program
from bumpscout_sandbox.supervisor import HELLO, PLAN_AT
from bumpscout_sandbox.text import printable
from bumpscout_tools.errors import ConfigurationError

__all__ = ["PROCESSORS", "STOP", "Stage", "answer_bytes", "command", "read_answer", "set_stage"]

STOP = b"stop\n"
PROCESSORS = "/sys/devices/system/cpu"
"""All of /sys that a job sees: numerical libraries count processors there."""
LIBRARY = ("__init__.py", "supervisor.py", "watchdog.py")
MAX_HEADER_BYTES = 1 << 20
BOOT = (
    "import sys; sys.path.insert(0, '/job/lib'); "
    "from bumpscout_sandbox.supervisor import main; main()"
)


@dataclass(frozen=True)
class Stage:
    """What a container is to show beside the system and the library.

    Attributes:
        job: folder for /job.
        inputs: name under /in -> readable file.
        passwd: file for /etc/passwd.
        nothing: an empty file.
        hollow: an empty folder.
        sys: folder for /sys, with nothing in it but a place for `PROCESSORS`.
    """

    job: Path
    inputs: dict[str, Path]
    passwd: Path
    nothing: Path
    hollow: Path
    sys: Path


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    size: int = Field(ge=0)
    refusal: str


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    outcome: Outcome
    reason: str
    exit_status: int | None
    wall_s: float = Field(ge=0, allow_inf_nan=False)
    cpu_s: float = Field(ge=0, allow_inf_nan=False)
    max_rss_bytes: int = Field(ge=0)
    stdout: int = Field(ge=0)
    stderr: int = Field(ge=0)
    files: list[_File]


def command(python: str = sys.executable) -> list[str]:
    """Return the command line of the supervisor.

    Args:
        python: path of the interpreter inside.
    """
    return [python, "-I", "-S", "-B", "-c", BOOT]


def set_stage(
    job: Job, scratch: Path, uid: int, python: str = sys.executable, *, walk: bool = False
) -> Stage:
    """Write what the supervisor of a job needs into a scratch folder.

    Args:
        job: the job.
        scratch: empty folder of ours.
        uid: user id inside.
        python: path of the interpreter inside.
        walk: count the files of the workspaces, which share a file system with others.

    Raises:
        ConfigurationError: if an input cannot be read.
    """
    folder = scratch / "job"
    library = folder / "lib" / "bumpscout_sandbox"
    library.mkdir(parents=True)
    home = Path(bumpscout_sandbox.__file__).parent
    for name in LIBRARY:
        shutil.copyfile(home / name, library / name)
    plan = {
        "command": interpreter(python),
        "environment": job_environment(job.limits),
        "workspaces": list(WORKSPACES),
        "limits": job.limits.model_dump(),
        "outputs": [{"name": spec.name, "max_bytes": spec.max_bytes} for spec in job.outputs],
        "filter": (filter_program(shared_memory=job.limits.gpus > 0) or b"").hex(),
        "walk": walk,
    }
    (folder / Path(PLAN_AT).name).write_text(json.dumps(plan), encoding="utf-8")
    (folder / "script.py").write_bytes(job.script.encode("utf-8", "surrogatepass"))
    passwd, nothing, hollow = scratch / "passwd", scratch / "nothing", scratch / "hollow"
    passwd.write_text(f"bumpscout:x:{uid}:{uid}::/tmp:/bin/sh\n", encoding="utf-8")
    nothing.write_bytes(b"")
    hollow.mkdir()
    (scratch / PROCESSORS.lstrip("/")).mkdir(parents=True)
    inputs = {name: _readable(path, scratch / "in" / name) for name, path in job.inputs.items()}
    for path in (scratch, *scratch.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    # Nobody else on this machine gets past here; the container is given what lies below.
    scratch.chmod(0o700)
    return Stage(folder, inputs, passwd, nothing, hollow, scratch / "sys")


def _readable(path: Path, copy: Path) -> Path:
    # The job's own user must be able to read it; a private file is handed over as a copy.
    try:
        if path.stat().st_mode & stat.S_IROTH:
            return path.resolve(strict=True)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, copy)
    except OSError as error:
        raise ConfigurationError(f"The input {path} cannot be read: {error.strerror}.") from error
    return copy


def answer_bytes(job: Job) -> int:
    """Return the most that the supervisor of a job may say."""
    outputs = sum(spec.max_bytes for spec in job.outputs)
    return len(HELLO) + MAX_HEADER_BYTES + 2 * job.limits.output_bytes + outputs


def read_answer(answer: Path, job: Job) -> JobResult | None:
    """Check what a supervisor said and copy the outputs of the job to where they belong.

    Args:
        answer: file with all of its stdout.
        job: the job.

    Returns:
        The result, or None where the answer is not whole or not one that a supervisor gives.
    """
    size = answer.stat().st_size
    with answer.open("rb", buffering=0) as file:
        if file.read(len(HELLO)) != HELLO:
            return None
        start = file.read(MAX_HEADER_BYTES)
        line, found, _ = start.partition(b"\n")
        if not found:
            return None
        try:
            header = _Answer.model_validate_json(line)
        except ValidationError:
            return None
        body = len(HELLO) + len(line) + 1
        if not _agrees(header, job) or size != body + header.stdout + header.stderr + sum(
            entry.size for entry in header.files
        ):
            return None
        file.seek(body)
        stdout, stderr = _text(file.fileno(), header.stdout), _text(file.fileno(), header.stderr)
        artifacts: dict[str, Path] = {}
        problems: list[str] = []
        for spec, entry in zip(job.outputs, header.files, strict=True):
            if entry.refusal:
                refusal = "" if entry.refusal == "missing" else printable(entry.refusal, 200)
                problems += problem(spec, refusal)
            else:
                target = job.collect / spec.name
                artifacts[spec.name] = store(file.fileno(), entry.size, target)
    if header.reason:
        problems.insert(0, f"The script was {printable(header.reason, 200)}.")
    return JobResult(
        outcome=header.outcome,
        exit_status=header.exit_status,
        stdout=stdout,
        stderr=stderr,
        wall_s=header.wall_s,
        cpu_s=header.cpu_s,
        max_rss_bytes=header.max_rss_bytes,
        artifacts=artifacts,
        problems=tuple(problems),
    )


def _agrees(header: _Answer, job: Job) -> bool:
    cap = job.limits.output_bytes
    return (
        max(header.stdout, header.stderr) <= cap
        and [entry.name for entry in header.files] == [spec.name for spec in job.outputs]
        and all(
            entry.size <= (0 if entry.refusal else spec.max_bytes)
            for spec, entry in zip(job.outputs, header.files, strict=True)
        )
    )


def _text(descriptor: int, size: int) -> str:
    content = bytearray()
    while len(content) < size and (chunk := os.read(descriptor, size - len(content))):
        content += chunk
    return content.decode("utf-8", "replace")
