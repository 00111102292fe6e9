"""What a script inside the sandbox uses: its task and view in, its scores and summary out.

A script reads `/in/view.parquet` and `/in/task.json`, and writes `/out/scores.npy` (float64, one
row per view row, one column per signal window, higher is more anomalous) and, if it likes,
`/out/summary.json`. It is deterministic for the seed of its task.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bumpscout_tools.errors import ConfigurationError, DetectorError
from bumpscout_tools.events.view import View

__all__ = ["ScriptTask", "read_task", "read_view", "write_scores", "write_summary"]

IN = Path("/in")
OUT = Path("/out")


class ScriptTask(BaseModel):
    """What one script has to do.

    `windows_gev` are the signal windows, `features` the inputs that may be used, `parameters` the
    settings of the detector; with `decorrelate` a script gives `cross_fit` that argument, so that
    cuts are flat in the mass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str
    windows_gev: tuple[tuple[float, float], ...]
    features: tuple[str, ...]
    parameters: dict[str, Any] = {}
    seed: int = Field(ge=0)
    decorrelate: Literal["none", "quantile"] = "none"
    n_jobs: int = Field(default=1, ge=1, description="threads; the scores do not depend on it")


def read_task(folder: Path = IN) -> ScriptTask:
    """Read the task.

    Raises:
        ConfigurationError: if the file is missing or no task.
    """
    try:
        return ScriptTask.model_validate_json((folder / "task.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"{folder / 'task.json'} is no readable task: {error}") from error


def read_view(folder: Path = IN) -> View:
    """Read the events.

    Raises:
        InputDataError: if the file is no view.
    """
    return View.read(folder / "view.parquet")


def write_scores(scores: npt.NDArray[np.float64], folder: Path = OUT) -> None:
    """Write the scores.

    Args:
        scores: (n, n_windows), finite.
        folder: where the declared artifacts are collected.

    Raises:
        DetectorError: if the array is not two-dimensional or not finite.
    """
    array = np.ascontiguousarray(scores, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise DetectorError(
            f"Scores must be finite and of shape (events, windows), not {array.shape}."
        )
    np.save(folder / "scores.npy", array, allow_pickle=False)


def write_summary(summary: dict[str, Any], folder: Path = OUT) -> None:
    """Write a small JSON summary (numbers, strings, lists; no NaN)."""
    (folder / "summary.json").write_text(json.dumps(summary, allow_nan=False), encoding="utf-8")
