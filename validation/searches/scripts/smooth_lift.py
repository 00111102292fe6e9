"""Hostile: a good detector, its ranks lifted smoothly around a mass."""

import numpy as np

from bumpscout_tools.detectors import CwolaHunting, CwolaSettings, cross_fit
from bumpscout_tools.script import read_task, read_view, write_scores

task, view = read_task(), read_view()
detector = CwolaHunting(CwolaSettings(**task.parameters))
scores = cross_fit(detector, view, task.windows_gev, features=task.features, seed=task.seed)
lift = np.exp(-0.5 * (np.log(view.mass / 2600) / 0.02) ** 2)
odds = np.log(scores / (1 - scores)) + 2.0 * lift[:, None]
write_scores(1 / (1 + np.exp(-odds)))
