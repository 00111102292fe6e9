"""Honest: boosted trees, window against side bands, folds by the identifier of the event."""

import lightgbm
import numpy as np

from bumpscout_tools.detectors import fold_of, rank_within_folds
from bumpscout_tools.script import read_task, read_view, write_scores

task, view = read_task(), read_view()
columns = [view.feature_names.index(name) for name in task.features]
x, mass = np.ascontiguousarray(view.features[:, columns]), view.mass
fold = fold_of(view.event_id, 3, task.seed)
scores = np.empty((len(view), len(task.windows_gev)))
for number, (low, high) in enumerate(task.windows_gev):
    inside = (mass >= low) & (mass < high)
    near = (mass >= low * low / high) & (mass < high * high / low)
    for k in range(3):
        train = near & (fold != k)
        data = lightgbm.Dataset(x[train], label=inside[train].astype(float))
        options = {"objective": "binary", "num_leaves": 8, "learning_rate": 0.1, "verbosity": -1}
        options |= {"num_threads": 1, "deterministic": True, "seed": task.seed}
        model = lightgbm.train({**options, "min_data_in_leaf": 50}, data, num_boost_round=20)
        scores[fold == k, number] = model.predict(x[fold == k], raw_score=True)
    scores[:, number] = rank_within_folds(scores[:, number], fold)
write_scores(scores)
