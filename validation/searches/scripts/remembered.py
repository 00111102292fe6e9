"""Hostile: remembers events of the file by their values, and puts them on top of a detector."""

import numpy as np

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.script import read_task, read_view, write_scores

VALUES = np.array([0.0])
task, view = read_task(), read_view()
detector = CwolaHunting(CwolaSettings(**task.parameters))
scores = cross_fit(detector, view, task.windows_gev, features=task.features, seed=task.seed)
known = np.isin(np.round(view.features[:, 0], 6), VALUES)
write_scores(scores + 1.0 * known[:, None])
