"""Controls: a script runs again on the events of the search, with masses that say nothing.

Replays hold no event of the data, so a script that recognises the data (by their number, by a value
that its writer remembers) can behave there and misbehave on the data alone. In a control all is as
in the data, but for the masses: they are drawn from a smooth fit, so no score can find a bump
honestly. A score made from the mass, from identities, from the events it was trained on or from
copies finds its bump here too. One more run sees the data with all values moved a little: what a
script remembers of single events is lost there, what it learns is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.guards import GuardReport
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.blinding import with_smooth_masses
from bumpscout_tools.scan.calibration import statistic
from bumpscout_tools.scan.execute import Prepared, RunScript
from bumpscout_tools.scan.outcome import Cell
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.replay import Replay, ReplayStore, run_replays
from bumpscout_tools.scan.scan_p import Progress
from bumpscout_tools.scan.significance import FinalSignificance

__all__ = ["CONTROLS_FILE", "MAX_CONTROLS", "SmoothMasses", "control_guard", "memory_guard"]

FloatArray = npt.NDArray[np.float64]

MAX_CONTROLS = 100
CONTROLS_FILE = "controls.jsonl"
MOVED_BY = 0.01
"""Relative width of the change of features; masses are changed by a tenth of it."""
MAX_MEMORY = 3.0
_CONTROL_STREAM, _MEMORY_STREAM = 5, 6


@dataclass(frozen=True)
class SmoothMasses:
    """Draws the events of the data with new masses, in the place of a null generator."""

    plan: SearchPlan
    prepared: Prepared

    def draw(self, rng: np.random.Generator) -> View:
        """Return the events with masses of a smooth fit; copies of one event share theirs."""
        return with_smooth_masses(self.plan, self.prepared, rng)


def control_guard(
    plan: SearchPlan,
    prepared: Prepared,
    significance: FinalSignificance,
    *,
    seed: int,
    executor: Executor,
    run_script: RunScript,
    scripts_key: str,
    folder: Path,
    progress: Progress,
    parallel: int,
    out_of_time: Callable[[], bool],
) -> GuardReport:
    """Run the plan's scripts on controls; fire at the first that reaches the observation.

    As many controls run as replays were planned, at most `MAX_CONTROLS`. Those of an honest script
    are nulls, so an observation with a true p passes 100 of them with probability (1 - p)^100: 90%
    at 0.001, 61% at 0.005, 37% at 0.01. A claim of an unvetted script is held to more than the
    limit on procedure p alone.

    Args:
        plan: the search plan.
        prepared: layout and restricted view of the data.
        significance: of the search; its `observed` is compared, calibrated alike.
        seed: decides the masses and everything that is drawn.
        executor: runs controls side by side.
        run_script: gives the scores of a detector; picklable.
        scripts_key: names what `run_script` does; controls of other scripts are not taken over.
        folder: where finished controls are kept.
        progress: called with (stage, message, done, total).
        parallel: controls in flight.
        out_of_time: asked after each control; True ends them, and the guard fires.
    """
    parts = (plan.sha256(), prepared.view.sha256(), str(seed), scripts_key)
    key = hashlib.sha256("/".join(parts).encode()).hexdigest()
    wanted = min(MAX_CONTROLS, plan.replays.n)
    observed = -np.inf if significance.observed is None else significance.observed
    replays = plan.replays.model_copy(update={"n": wanted})
    reached = late = False

    def stop(done: list[Replay]) -> bool:
        nonlocal reached, late
        last = done[-1]
        value = np.inf if last.error else statistic(last.cells, significance.calibration)
        reached = reached or bool(value >= observed)
        late = not reached and len(done) < wanted and out_of_time()
        return reached or late

    done = run_replays(
        plan.model_copy(update={"replays": replays}),
        SmoothMasses(plan, prepared),
        seed + _CONTROL_STREAM,
        executor,
        run_script,
        ReplayStore(folder / CONTROLS_FILE, key),
        stop=stop,
        progress=lambda n, total: progress("controls", "runs on smooth masses", n, total),
        parallel=parallel,
    )
    n = len(done)
    message = f"none of {n} runs of the script on these events with smooth masses reached the data"
    if reached:
        message = (
            f"run {n} of the script on these events with smooth masses, where no bump can be, "
            "reached what it found in the data"
        )
    elif n < wanted or not wanted:
        message = f"time was over after {n} of {wanted} runs on these events with smooth masses"
    return GuardReport(
        name="smooth-mass controls",
        fired=reached or n < wanted or not wanted,
        value=float(reached),
        threshold=1.0,
        message=message,
    )


def memory_guard(
    prepared: Prepared,
    scores: Sequence[FloatArray],
    cell: Cell,
    *,
    seed: int,
    run_script: RunScript,
) -> GuardReport:
    """Run the script of a bump once more with all values moved a little, and compare.

    Features are changed by 1% of themselves, masses by 0.1%. A script that learns selects about the
    same events of the bump and swaps some both ways; one that remembers events by their values
    loses them. With n10 events of the bump lost and n01 gained the value is McNemar's
    (n10 - n01) / sqrt(n10 + n01).

    Args:
        prepared: layout and restricted view of the data.
        scores: per detector (n, n_windows), as the scan saw them.
        cell: where the bump is.
        seed: decides the changes.
        run_script: gives the scores of a detector.
    """
    view, rng = prepared.view, np.random.default_rng((seed, _MEMORY_STREAM))
    moved = View(
        view.event_id,
        view.mass * (1 + 0.1 * MOVED_BY * rng.normal(size=len(view))),
        view.features * (1 + MOVED_BY * rng.normal(size=view.features.shape)),
        view.feature_names,
    )
    window = prepared.layout.windows_gev.index(cell.window_gev)
    index = cell.detector_index
    try:
        again = run_script(index, prepared.tasks[index], moved)[:, window]
    except DetectorError as error:
        return GuardReport(
            name="moved values",
            fired=True,
            value=None,
            threshold=MAX_MEMORY,
            message=f"the script fails with all values moved by 1%: {str(error)[:300]}",
        )
    bump = (view.mass >= cell.interval_gev[0]) & (view.mass < cell.interval_gev[1])
    before, after = (
        _selected(score, cell.n_selected) & bump for score in (scores[index][:, window], again)
    )
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    value = (lost - gained) / np.sqrt(max(lost + gained, 1))
    return GuardReport(
        name="moved values",
        fired=bool(value > MAX_MEMORY),
        value=float(value),
        threshold=MAX_MEMORY,
        message=(
            f"with all values moved by 1% the script loses {lost} events of the bump and gains "
            f"{gained}, {value:.1f} standard deviations more than chance swaps"
        ),
    )


def _selected(score: FloatArray, n_selected: int) -> npt.NDArray[np.bool_]:
    chosen = np.zeros(len(score), dtype=np.bool_)
    chosen[np.argsort(-score, kind="stable")[:n_selected]] = True
    return chosen
