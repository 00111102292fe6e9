"""The scripts of the vetted detectors: their text, and the same computation called directly."""

from __future__ import annotations

from string import Template

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bumpscout_tools.detectors.settings import CwolaSettings
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import DetectorPlan
from bumpscout_tools.script import ScriptTask

__all__ = ["render", "run_vetted"]

_TEMPLATES = {
    "cwola": Template('''\
"""$title: scores for every signal window of the task."""

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.script import read_task, read_view, write_scores, write_summary

task = read_task()
view = read_view()
detector = CwolaHunting(CwolaSettings(**task.parameters))
scores = cross_fit(
    detector,
    view,
    task.windows_gev,
    features=task.features,
    seed=task.seed,
    n_jobs=task.n_jobs,
)
write_scores(scores)
write_summary({"detector": task.detector, "events": len(view), "windows": len(task.windows_gev)})
''')
}


def render(detector: DetectorPlan) -> str:
    """Return the script of a vetted detector; settings and windows come from the task."""
    return _TEMPLATES[detector.name].substitute(title="CWoLa hunting")


def run_vetted(task: ScriptTask, view: View, n_jobs: int = 1) -> npt.NDArray[np.float64]:
    """Compute what the rendered script computes, without a sandbox.

    Args:
        task: windows, features, settings and seed.
        view: n events.
        n_jobs: threads.

    Returns:
        (n, n_windows) scores, equal to those that the script writes.

    Raises:
        ConfigurationError: if the task's parameters are none of the detector's.
        DetectorError: if a window cannot be trained.
    """
    from bumpscout_tools.detectors import CwolaHunting, cross_fit

    try:
        settings = CwolaSettings(**task.parameters)
    except ValidationError as error:
        raise ConfigurationError(f"Unusable settings of {task.detector}: {error}") from error
    return cross_fit(
        CwolaHunting(settings),
        view,
        task.windows_gev,
        features=task.features,
        seed=task.seed,
        n_jobs=n_jobs,
    )
