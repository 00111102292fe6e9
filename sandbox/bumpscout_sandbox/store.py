"""Accepted scripts and their scores on disk, by content, so that an interrupted search resumes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bumpscout_sandbox.artifacts import read_npy
from bumpscout_sandbox.records import TaskRun
from bumpscout_sandbox.scoring import score_problems
from bumpscout_tools.code import code_sha256
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import DetectorPlan
from bumpscout_tools.script import ScriptTask

__all__ = ["ScoreStore", "content_key", "text_sha256"]

FloatArray = npt.NDArray[np.float64]
MAX_SCRIPT_BYTES = 1 << 20
REPEATABLE = ("ok", "error")


def text_sha256(text: str) -> str:
    """Return the hash of a source text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def content_key(script: str, view: View, task: ScriptTask) -> str:
    """Return what a script's scores depend on: script, library, view and task; not the threads."""
    shared = task.model_dump(mode="json", exclude={"n_jobs"})
    parts = [
        text_sha256(script),
        code_sha256(),
        view.sha256(),
        json.dumps(shared, sort_keys=True),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class ScoreStore:
    """A folder that may come from a stranger: what is read back is parsed like any artifact."""

    def __init__(self, folder: Path) -> None:
        """Create the folder.

        Raises:
            ConfigurationError: if it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{folder} cannot be made: {error.strerror}.") from error
        self.folder = folder
        self._scores: dict[str, FloatArray] = {}

    def save(self, key: str, run: TaskRun, scores: FloatArray | None) -> None:
        """Keep one run; runs that a limit or the caller ended may go better another time."""
        if run.outcome not in REPEATABLE:
            return
        if scores is not None:
            self.save_scores(key, scores)
        self._write(f"{key}.run.json", run.model_dump_json().encode())

    def save_scores(self, key: str, scores: FloatArray) -> None:
        """Keep accepted scores."""
        header = np.lib.format.header_data_from_array_1_0(scores)
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(scores).data)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self.folder / f"{key}.scores.npy")
        self._scores[key] = scores

    def load_run(self, key: str) -> TaskRun | None:
        """Return a kept run; one that was accepted only together with its scores."""
        try:
            run = TaskRun.model_validate_json((self.folder / f"{key}.run.json").read_bytes())
        except (OSError, ValidationError):
            return None
        if run.accepted and not (self.folder / f"{key}.scores.npy").is_file():
            return None
        return run

    def load_scores(
        self, key: str, n_events: int, windows_gev: Sequence[tuple[float, float]]
    ) -> FloatArray | None:
        """Return kept scores that still pass all checks, or None."""
        if key in self._scores:
            return self._scores[key]
        path = self.folder / f"{key}.scores.npy"
        if not path.is_file() or path.is_symlink():
            return None
        try:
            scores = read_npy(path, n_events * max(1, len(windows_gev)) * 8 + 4096)
        except InputDataError:
            return None
        if score_problems(scores, n_events, windows_gev):
            return None
        self._scores[key] = scores
        return scores

    def accept(self, detector: DetectorPlan, script: str) -> None:
        """Make a script the one of a detector with these settings."""
        digest = text_sha256(script)
        self._write(f"{digest}.py", script.encode("utf-8", "surrogatepass"))
        self._write(f"{_detector_key(detector)}.script", digest.encode())

    def accepted(self, detector: DetectorPlan) -> str | None:
        """Return the script of a detector with these settings, or None."""
        try:
            digest = (self.folder / f"{_detector_key(detector)}.script").read_text("ascii")
        except (OSError, UnicodeDecodeError):
            return None
        return self.script(digest) if re.fullmatch(r"[0-9a-f]{64}", digest) else None

    def script(self, sha256: str) -> str:
        """Return a kept script.

        Raises:
            ConfigurationError: if it is missing or not what its hash says.
        """
        path = self.folder / f"{sha256}.py"
        try:
            with path.open("rb") as file:
                text = file.read(MAX_SCRIPT_BYTES).decode("utf-8", "surrogatepass")
        except (OSError, UnicodeDecodeError):
            text = ""
        if text_sha256(text) != sha256:
            raise ConfigurationError(
                f"The script {sha256[:12]} in {self.folder} is missing or was changed; run its "
                "task again."
            )
        return text

    def _write(self, name: str, content: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self.folder / name)


def _detector_key(detector: DetectorPlan) -> str:
    return text_sha256(detector.model_dump_json())
