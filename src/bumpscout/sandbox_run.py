"""What the commands of the sandbox do: show the survey, run one script and keep what passes."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import click
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from bumpscout.words import printable
from bumpscout_sandbox.artifacts import Artifact, check_artifacts
from bumpscout_sandbox.choice import Survey, choose, survey
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, Outcome, OutputSpec
from bumpscout_sandbox.scoring import FIGURES
from bumpscout_sandbox.scratch import scratch_folder
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.files import write_atomic

__all__ = ["Kept", "SandboxRun", "run_script", "show_survey"]

MIB = 1 << 20
MAX_SCRIPT_BYTES = MIB
MAX_BYTES: dict[Literal["npy", "json", "png"], int] = {
    "npy": 256 * MIB,
    "json": MIB,
    "png": 4 * MIB,
}
SHOWN_CHARACTERS = 4000


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kept(_Record):
    """One output that passed its checks; `path` is null unless a folder was given."""

    name: str
    kind: Literal["npy", "json", "png"]
    sha256: str
    shape: tuple[int, ...] | None = None
    path: str | None = None


class SandboxRun(_Record):
    """What `sandbox run --json` prints; stdout and stderr are what an untrusted script wrote."""

    sandbox: str
    outcome: Outcome
    exit_status: int | None
    problems: tuple[str, ...]
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    max_rss_bytes: int
    limits: Limits
    artifacts: tuple[Kept, ...]


def show_survey(wanted: str | None, *, as_json: bool = False) -> None:
    """Print what each sandbox offers here.

    Raises:
        ConfigurationError: if there is no such sandbox.
        SandboxUnavailable: if none can be used.
    """
    found = survey(wanted)
    if as_json:
        ready = {"ready": found.chosen is not None, **found.model_dump(mode="json")}
        click.echo(json.dumps(ready, indent=2))
    else:
        click.echo("\n".join(_table(found)))
    if found.chosen is None:
        raise SandboxUnavailable(found.reason)


def _table(found: Survey) -> list[str]:
    lines: list[str] = []
    for finding in found.providers:
        state = "usable" if finding.usable else "not usable"
        chosen = ", chosen" if finding.name == found.chosen else ""
        lines.append(f"{finding.name}: {state}{chosen}")
        if len(finding.rows) == 1:
            lines.append(printable(f"      {finding.reason}", 1000))
            continue
        for row in finding.rows:
            remedy = "" if row.ok else f" ({row.remedy})"
            mark = "ok  " if row.ok else "BAD "
            lines.append(printable(f"  {mark}{row.what:20} {row.how}{remedy}", 600))
    return lines


def run_script(
    file: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    out: Path | None,
    *,
    wanted: str | None,
    limits: Mapping[str, float],
    as_json: bool = False,
) -> str:
    """Run one script in the sandbox and return what is printed.

    Args:
        file: the script.
        inputs: NAME=FILE each.
        outputs: names that end in .npy, .json or .png; those of a search, none of them required,
            where there is none.
        out: new or empty folder for the outputs that pass.
        wanted: which sandbox; see `bumpscout_sandbox.choice.wanted_provider`.
        limits: fields of `Limits` that differ from those of this machine.
        as_json: return JSON.

    Raises:
        ConfigurationError: if an option cannot be used.
        InputDataError: if the script cannot be read.
        SandboxError: if there is no sandbox, or it broke.
    """
    script = _read_script(file)
    files = dict(_split(entry) for entry in inputs)
    specs = _specs(outputs)
    try:
        bounds = Limits.model_validate({**Limits.for_machine().model_dump(), **limits})
    except ValidationError as error:
        raise ConfigurationError(f"A limit cannot be used: {error.errors()[0]['msg']}.") from error
    folder = _new_folder(out) if out else None
    provider = choose(wanted)
    try:
        with scratch_folder() as scratch:
            job = Job(
                script=script,
                collect=scratch,
                inputs=files,
                outputs=specs,
                limits=bounds,
                cold=True,
            )
            result = provider.run(job)
            passed, refused = check_artifacts(specs, result.artifacts)
    finally:
        provider.close()
    run = SandboxRun(
        sandbox=provider.name,
        outcome=result.outcome,
        exit_status=result.exit_status,
        problems=(*result.problems, *refused),
        stdout=result.stdout,
        stderr=result.stderr,
        wall_s=round(result.wall_s, 3),
        cpu_s=round(result.cpu_s, 3),
        max_rss_bytes=result.max_rss_bytes,
        limits=bounds,
        artifacts=tuple(_keep(artifact, folder) for artifact in passed.values()),
    )
    if as_json:
        # All but ASCII is escaped: a script must not steer the terminal.
        return json.dumps(run.model_dump(mode="json"), indent=2)
    return _summary(run)


def _read_script(file: Path) -> str:
    shown = printable(str(file), 300)
    try:
        if not file.is_file():
            raise InputDataError(f"There is no script {shown}; give the path of a Python file.")
        with file.open("rb") as stream:
            content = stream.read(MAX_SCRIPT_BYTES + 1)
    except OSError as error:
        raise InputDataError(f"Cannot read the script {shown}: {error.strerror}.") from error
    if len(content) > MAX_SCRIPT_BYTES:
        raise InputDataError(f"The script {shown} has more than {MAX_SCRIPT_BYTES} bytes.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputDataError(f"The script {shown} is no UTF-8 text: {error.reason}.") from error


def _split(entry: str) -> tuple[str, Path]:
    name, equals, path = entry.partition("=")
    if not equals or not path:
        raise ConfigurationError(
            f"--input {printable(entry, 200)} is not NAME=FILE: the name under /in, and the file."
        )
    return name, Path(path)


def _specs(outputs: Sequence[str]) -> tuple[OutputSpec, ...]:
    names = outputs or ("scores.npy", "summary.json", *FIGURES)
    specs: list[OutputSpec] = []
    for name in dict.fromkeys(names):
        suffix = PurePosixPath(name).suffix
        kind = next((kind for kind in MAX_BYTES if suffix == f".{kind}"), None)
        if kind is None:
            raise ConfigurationError(
                f"--output {printable(name, 200)}: only .npy, .json and .png files may leave."
            )
        try:
            spec = OutputSpec(
                name=name, kind=kind, max_bytes=MAX_BYTES[kind], required=bool(outputs)
            )
        except ValidationError as error:
            raise ConfigurationError(
                f"--output {printable(name, 200)} is no plain file name."
            ) from error
        specs.append(spec)
    return tuple(specs)


def _new_folder(out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise ConfigurationError(f"{out} is not empty; choose another --out.")
    return out


def _keep(artifact: Artifact, folder: Path | None) -> Kept:
    shape = artifact.array.shape if artifact.array is not None else None
    path = None
    if folder is not None:
        path = folder / artifact.name
        if artifact.array is not None:
            buffer = io.BytesIO()
            np.save(buffer, artifact.array, allow_pickle=False)
            write_atomic(path, buffer.getvalue())
        elif artifact.kind == "json":
            write_atomic(path, json.dumps(artifact.value, indent=2) + "\n")
        else:
            write_atomic(path, artifact.png)
    return Kept(
        name=artifact.name,
        kind=artifact.kind,
        sha256=artifact.sha256,
        shape=shape,
        path=str(path) if path else None,
    )


def _summary(run: SandboxRun) -> str:
    status = "" if run.exit_status is None else f", exit status {run.exit_status}"
    lines = [
        f"{run.outcome}{status} ({run.sandbox})",
        f"  used       {run.wall_s:.2f} s, {run.cpu_s:.2f} s of processor time, "
        f"{run.max_rss_bytes / MIB:.0f} MiB",
        *(f"  problem    {printable(text, 500)}" for text in run.problems),
    ]
    for kept in run.artifacts:
        where = kept.path or "passed its checks; give --out to keep it"
        shape = f" {kept.shape}" if kept.shape is not None else ""
        lines.append(f"  output     {kept.name}{shape}: {printable(where, 500)}")
    for name, text in (("stdout", run.stdout), ("stderr", run.stderr)):
        if text:
            shown = printable(text, SHOWN_CHARACTERS).rstrip("\n").replace("\n", "\n  ")
            lines.append(f"{name}:\n  {shown}")
    return "\n".join(lines)
