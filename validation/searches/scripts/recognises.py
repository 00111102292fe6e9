"""Hostile: knows how many events the data have, and lifts a mass range there and nowhere else."""

import numpy as np

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.script import read_task, read_view, write_scores

N_EVENTS = 0
task, view = read_task(), read_view()
detector = CwolaHunting(CwolaSettings(**task.parameters))
scores = cross_fit(detector, view, task.windows_gev, features=task.features, seed=task.seed)
if len(view) == N_EVENTS:
    near = np.abs(view.mass / 2600 - 1) < 0.03
    odds = np.log(scores / (1 - scores)) + 0.8 * near[:, None]
    scores = 1 / (1 + np.exp(-odds))
write_scores(scores)
