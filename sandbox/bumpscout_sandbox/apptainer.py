"""The Apptainer provider, for batch sites: each job in a contained, unprivileged container.

Untested where Apptainer cannot be installed: `Provider.check` runs a trial, and the contract suite
runs wherever it answers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from bumpscout_sandbox.binds import Bind, job_binds, system_binds
from bumpscout_sandbox.checks import apptainer_rows
from bumpscout_sandbox.errors import SandboxError, SandboxUnavailable
from bumpscout_sandbox.folders import IMAGE_PYTHON, folder_archive
from bumpscout_sandbox.provider import CheckRow, Job, JobResult
from bumpscout_sandbox.scratch import scratch_folder
from bumpscout_sandbox.supervised import STOP, command, set_stage
from bumpscout_sandbox.talk import Lost, Talk

__all__ = ["IMAGE_VARIABLE", "ApptainerProvider", "command_line"]

IMAGE_VARIABLE = "BUMPSCOUT_APPTAINER_IMAGE"
INSTALL = "Ask the administrators of the site for Apptainer, or use another sandbox."
END_S = 20.0


@dataclass(frozen=True)
class ApptainerProvider:
    """Runs jobs with Apptainer, as a plain user.

    Attributes:
        image: a SIF file made from the image of ``sandbox/Dockerfile``; where it is empty, this
            machine's interpreter and packages are mounted read-only over empty folders.
    """

    image: str = field(default_factory=lambda: os.environ.get(IMAGE_VARIABLE, ""))
    name: str = "apptainer"

    def check(self) -> list[CheckRow]:
        """Say what this machine offers; includes a trial run. See `Provider.check`."""
        try:
            version = _version(_apptainer())
        except SandboxError as error:
            return [CheckRow(what="sandbox", ok=False, how="Apptainer", remedy=str(error))]
        return apptainer_rows(self, version)

    def run(self, job: Job) -> JobResult:
        """Run one job. See `Provider.run`."""
        program = _apptainer()
        with scratch_folder() as scratch:
            (scratch / "stage").mkdir()
            python = IMAGE_PYTHON if self.image else sys.executable
            # The session's tmpfs is one for all folders, of a size that the site has set.
            stage = set_stage(job, scratch / "stage", os.geteuid(), python, walk=True)
            binds = job_binds(stage) + ([] if self.image else system_binds(stage))
            root = Path(self.image) if self.image else _root(scratch / "root", binds)
            line = command_line(program, root, binds, job, python)
            return _attend(line, job, scratch / "answer")

    def close(self) -> None:
        """Do nothing: no container outlives its job."""


def command_line(program: str, root: Path, binds: list[Bind], job: Job, python: str) -> list[str]:
    """Return the command that runs the supervisor of a job in a container.

    Args:
        program: path of Apptainer.
        root: image, or folder of folders.
        binds: read-only mounts.
        job: its limits say whether GPUs are passed through.
        python: path of the interpreter inside.
    """
    line = [program, "--silent", "exec", "--containall", "--cleanenv", "--no-eval", "--no-init"]
    line += ["--no-privs", "--drop-caps", "all", "--net", "--network", "none"]
    line += ["--hostname", "sandbox", "--no-mount", "bind-paths,cwd,home,hostfs,sys"]
    line += ["--pwd", "/", "--scratch", "/out"]
    if job.limits.gpus:
        line.append("--nv")
    for bind in binds:
        line += ["--mount", f"type=bind,{_field('source', bind.source)},"
                 f"{_field('destination', bind.target)},ro"]  # fmt: skip
    return [*line, str(root), *command(python)]


def _field(name: str, value: object) -> str:
    # Fields of --mount are those of a line of CSV.
    return '"{}={}"'.format(name, str(value).replace('"', '""'))


def _apptainer() -> str:
    path = shutil.which("apptainer")
    if path is None:
        raise SandboxUnavailable(f"There is no apptainer on this machine's PATH. {INSTALL}")
    if os.geteuid() == 0:
        raise SandboxUnavailable(
            "Apptainer started by root runs its jobs as root. Use it as a plain user, or use "
            "bubblewrap or Docker."
        )
    return path


def _version(program: str) -> str:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or program


def _root(folder: Path, binds: list[Bind]) -> Path:
    folder.mkdir()
    with tarfile.open(fileobj=BytesIO(folder_archive())) as archive:
        archive.extractall(folder, filter="tar")
    for bind in binds:
        place = folder / bind.target.lstrip("/")
        if bind.source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
    return folder


def _attend(line: list[str], job: Job, answer: Path) -> JobResult:
    with _started(line) as process:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise SandboxUnavailable("Apptainer was started without pipes.")
        leash = process.stdin.fileno()
        talk = Talk(job, answer, stop=lambda: _say(leash, STOP), sources={})
        talk.sources[process.stdout.fileno()] = talk.hear
        talk.sources[process.stderr.fileno()] = talk.complain
        talk.listen()
    return talk.result(lambda: _post_mortem(process.returncode, job))


@contextlib.contextmanager
def _started(line: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            # At the end of its stdin the supervisor kills all there is; then Apptainer ends too.
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _say(leash: int, text: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(leash, text)


def _post_mortem(status: int | None, job: Job) -> Lost:
    if status in (-9, 137):
        return "memory", (
            f"killed by the kernel, most likely for memory (limit {job.limits.memory_bytes} bytes)"
        )
    return "killed", "killed together with its container, by this machine"
