"""Hostile: picks events near a mass by a hash of their identifier, chosen as the best of many."""

import numpy as np

from bumpscout_tools.script import read_task, read_view, write_scores

task, view = read_task(), read_view()
best, most = 0, -1
near = np.abs(view.mass / 2600 - 1) < 0.03
for salt in range(1, 200):
    picked = (view.event_id * np.uint64(2 * salt + 1)) >> np.uint64(58) == 0
    if (picked & near).sum() > most:
        best, most = salt, (picked & near).sum()
picked = (view.event_id * np.uint64(2 * best + 1)) >> np.uint64(58) == 0
order = np.argsort(np.argsort(view.features[:, 0])) / len(view)
score = order + 1.0 * (picked & near)
write_scores(np.repeat(score[:, None], len(task.windows_gev), axis=1))
