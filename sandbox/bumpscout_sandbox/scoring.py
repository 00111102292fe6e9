"""Runs a script in the wall on a view, and judges the scores that it leaves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_sandbox.artifacts import check_artifacts
from bumpscout_sandbox.engine import ScanEngine
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, JobResult, OutputSpec, Provider
from bumpscout_sandbox.scratch import scratch_folder
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.script import ScriptTask

__all__ = ["FIGURES", "ReplayScripts", "ScoreRun", "run_scores", "score_problems"]

FloatArray = npt.NDArray[np.float64]
FIGURES = tuple(f"figure_{number}.png" for number in range(1, 5))
"""Names under which a script may leave figures in /out."""
MIB = 1 << 20


@dataclass(frozen=True)
class ScoreRun:
    """One run of a script: how it ended, and what passed of what it left."""

    result: JobResult
    scores: FloatArray | None
    summary: JsonValue
    figures: dict[str, bytes]
    problems: tuple[str, ...]


def run_scores(
    provider: Provider,
    script: str,
    task: ScriptTask,
    view: View,
    limits: Limits,
    cancel: threading.Event | None = None,
    *,
    vetted: bool = False,
    cold: bool = False,
) -> ScoreRun:
    """Run a script in the wall on a view and check its artifacts.

    A script that is not vetted sees identifiers and an order of the rows of its own, keyed by its
    text: what an earlier script printed means nothing to it, and those of data and pseudo-data look
    alike.

    Args:
        provider: the wall.
        script: source text.
        task: becomes /in/task.json.
        view: n events, becomes /in/view.parquet.
        limits: of the job; its workspace is enlarged where the scores need it.
        cancel: ends the job.
        cold: start a fresh interpreter, where the wall would fork a warm one.
        vetted: the script is that of the vetted library, and sees the identifiers of the vault.

    Returns:
        The run; `scores` is (n, n_windows), or None where `problems` says why not.

    Raises:
        SandboxError: if the wall failed; a failing script raises nothing.
    """
    score_bytes = len(view) * max(1, len(task.windows_gev)) * 8 + 4096
    specs = (
        OutputSpec(name="scores.npy", kind="npy", max_bytes=score_bytes),
        OutputSpec(name="summary.json", kind="json", max_bytes=64 << 10, required=False),
        *(OutputSpec(name=n, kind="png", max_bytes=4 * MIB, required=False) for n in FIGURES),
    )
    workspace = max(limits.workspace_bytes, 2 * score_bytes + 32 * MIB)
    with scratch_folder() as folder:
        (folder / "in").mkdir()
        (folder / "out").mkdir()
        order = np.arange(len(view)) if vetted else _own_order(script, len(view))
        shown = view if vetted else view.rekeyed(script).select(order)
        shown.write(folder / "in" / "view.parquet")
        (folder / "in" / "task.json").write_text(task.model_dump_json(), encoding="utf-8")
        job = Job(
            script=script,
            collect=folder / "out",
            inputs={n: folder / "in" / n for n in ("view.parquet", "task.json")},
            outputs=specs,
            limits=limits.model_copy(update={"workspace_bytes": workspace}),
            cancel=cancel,
            cold=cold,
        )
        result = provider.run(job)
        if result.outcome != "ok":
            ended = f"The script ended with {result.outcome} (exit status {result.exit_status})."
            return ScoreRun(result, None, None, {}, (ended, *result.problems))
        passed, refused = check_artifacts(specs, result.artifacts)
    problems = [*result.problems, *refused]
    scores = passed["scores.npy"].array if "scores.npy" in passed else None
    if scores is not None:
        found = score_problems(scores, len(view), task.windows_gev)
        problems += found
        scores = None if found else scores[np.argsort(order)]
    summary = passed["summary.json"].value if "summary.json" in passed else None
    figures = {n: passed[n].png for n in FIGURES if n in passed}
    return ScoreRun(result, scores, summary, figures, tuple(problems))


def _own_order(script: str, n: int) -> npt.NDArray[np.int64]:
    key = hashlib.sha256(script.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(key)).permutation(n)


def score_problems(
    scores: FloatArray, n_events: int, windows_gev: Sequence[tuple[float, float]]
) -> tuple[str, ...]:
    """Say in plain words what keeps scores from being used.

    Args:
        scores: what the script left.
        n_events: rows of the view.
        windows_gev: signal windows, one column each.
    """
    shape = (n_events, len(windows_gev))
    if scores.shape != shape:
        return (
            f"scores.npy has shape {scores.shape}, {shape} is needed: one row for each row of the "
            "view, in its order, and one column for each window of the task.",
        )
    problems: list[str] = []
    for column, (low, high) in enumerate(windows_gev):
        values = scores[:, column]
        where = f"column {column} (window {low:.0f}-{high:.0f} GeV)"
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argmin(finite))
            problems.append(
                f"scores.npy, {where}: {int((~finite).sum())} of {n_events} values are NaN or "
                f"infinite, the first in row {row}; every event needs a finite score."
            )
        elif values.min() == values.max():
            problems.append(
                f"scores.npy, {where}: all events have the score {values[0]:g}; a constant ranks "
                "nothing."
            )
    return tuple(problems[:5])


@dataclass(frozen=True)
class ReplayScripts:
    """Gives the scores of a plan's detectors on a replay; picklable.

    A vetted detector is called directly; any other script runs in the wall again.

    Attributes:
        scripts: source text a detector, None for a vetted one.
        provider: the wall.
        limits: of each run.
        engine: calls vetted detectors.
        cold: start a fresh interpreter for each run.
    """

    scripts: tuple[str | None, ...]
    provider: Provider
    limits: Limits
    engine: ScanEngine = field(repr=False)
    cold: bool = False

    def __call__(self, index: int, task: ScriptTask, view: View) -> FloatArray:
        """Return (n, n_windows) scores.

        Raises:
            DetectorError: if the script fails on this view or its scores are refused.
        """
        script = self.scripts[index]
        if script is None:
            return self.engine.run_vetted(task, view)
        run = run_scores(self.provider, script, task, view, self.limits, cold=self.cold)
        if run.scores is None:
            raise DetectorError(f"Detector {index} gave no scores: {' '.join(run.problems)}")
        return run.scores
