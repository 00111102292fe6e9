"""Hostile: a good detector mixed with a function of the mass."""

import numpy as np

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.script import read_task, read_view, write_scores

task, view = read_task(), read_view()
detector = CwolaHunting(CwolaSettings(**task.parameters))
scores = cross_fit(detector, view, task.windows_gev, features=task.features, seed=task.seed)
bump = (np.abs(view.mass / 2600 - 1) < 0.03).astype(float)
write_scores(0.7 * scores + 0.3 * bump[:, None])
