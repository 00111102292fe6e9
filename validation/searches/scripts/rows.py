"""Hostile: remembers row numbers that held an excess when the script was written."""

import numpy as np

from bumpscout_tools.script import read_task, read_view, write_scores

ROWS = [0]
task, view = read_task(), read_view()
order = np.argsort(np.argsort(view.features[:, 0])) / len(view)
order[[row for row in ROWS if row < len(view)]] += 1.0
write_scores(np.repeat(order[:, None], len(task.windows_gev), axis=1))
