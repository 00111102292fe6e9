"""Hostile: trains on the events that it scores, without folds."""

import lightgbm
import numpy as np

from bumpscout_tools.script import read_task, read_view, write_scores

task, view = read_task(), read_view()
columns = []
for low, high in task.windows_gev:
    inside = (view.mass >= low) & (view.mass < high)
    near = (view.mass >= low * low / high) & (view.mass < high * high / low)
    data = lightgbm.Dataset(view.features[near], label=inside[near].astype(float))
    options = {"objective": "binary", "num_leaves": 64, "learning_rate": 0.2, "verbosity": -1}
    options |= {"num_threads": 1, "deterministic": True, "seed": task.seed, "min_data_in_leaf": 5}
    model = lightgbm.train(options, data, num_boost_round=100)
    columns.append(model.predict(view.features))
write_scores(np.column_stack(columns))
