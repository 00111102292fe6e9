"""The scripts of the vetted detectors: their text, and the same computation called directly."""

from __future__ import annotations

from string import Template

import numpy as np
import numpy.typing as npt

from bumpscout_tools.events.view import View
from bumpscout_tools.scan.plan import DetectorPlan
from bumpscout_tools.script import ScriptTask

__all__ = ["render", "run_vetted"]

_SCRIPT = Template('''\
"""$title: scores for every signal window of the task."""

from bumpscout_tools.detectors import $imports, cross_fit
from bumpscout_tools.script import read_task, read_view, write_scores, write_summary

task = read_task()
view = read_view()
detector = $detector($settings(**task.parameters))
scores = cross_fit(
    detector,
    view,
    task.windows_gev,
    features=task.features,
    seed=task.seed,
    n_jobs=task.n_jobs,
    decorrelate=task.decorrelate,
)
write_scores(scores)
write_summary({"detector": task.detector, "events": len(view), "windows": len(task.windows_gev)})
''')

_DETECTORS = {
    "cwola": ("CWoLa hunting", "CwolaHunting", "CwolaSettings"),
    "cathode": ("CATHODE", "Cathode", "CathodeSettings"),
    "anode": ("ANODE", "Anode", "AnodeSettings"),
    "r-anode": ("R-ANODE", "RAnode", "RAnodeSettings"),
    "quak": ("QUAK", "Quak", "QuakSettings"),
    "tag-n-train": ("Tag N' Train", "TagNTrain", "TagNTrainSettings"),
    "column": ("A score of the file", "ColumnScore", "ColumnSettings"),
    "isolation-forest": (
        "Isolation forest",
        "IsolationForestDetector",
        "IsolationForestSettings",
    ),
    "autoencoder": ("Autoencoder", "AutoencoderDetector", "AutoencoderSettings"),
    "vae": ("Variational autoencoder", "VaeDetector", "VaeSettings"),
    "combination": ("A combination of detectors", "Combination", "CombinationSettings"),
}


def render(detector: DetectorPlan) -> str:
    """Return the script of a vetted detector; settings and windows come from the task."""
    title, name, settings = _DETECTORS[detector.name]
    return _SCRIPT.substitute(
        title=title, imports=f"{name}, {settings}", detector=name, settings=settings
    )


def run_vetted(task: ScriptTask, view: View, n_jobs: int = 1) -> npt.NDArray[np.float64]:
    """Compute what the rendered script computes, without a sandbox.

    Args:
        task: windows, features, settings and seed.
        view: n events.
        n_jobs: threads.

    Returns:
        (n, n_windows) scores, equal to those that the script writes.

    Raises:
        ConfigurationError: if there is no such detector or it has no such parameters.
        DetectorError: if a window cannot be trained.
    """
    from bumpscout_tools.detectors import cross_fit, make_detector

    return cross_fit(
        make_detector(task.detector, task.parameters),
        view,
        task.windows_gev,
        features=task.features,
        seed=task.seed,
        n_jobs=n_jobs,
        decorrelate=task.decorrelate,
    )
