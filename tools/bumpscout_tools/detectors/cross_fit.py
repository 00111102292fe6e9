"""Cross-fitting: no event is scored by a model that was trained on it or on a copy of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from bumpscout_tools.detectors.cwola import CwolaHunting
from bumpscout_tools.detectors.folds import fold_of, rank_within_folds
from bumpscout_tools.errors import DetectorError
from bumpscout_tools.events.view import View

__all__ = ["cross_fit"]

FloatArray = npt.NDArray[np.float64]


def cross_fit(
    detector: CwolaHunting,
    view: View,
    windows_gev: Sequence[tuple[float, float]],
    *,
    features: Sequence[str],
    seed: int,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Score every event in every signal window by k-folding.

    Each event keeps the models of its own fold, inside and outside the window (averaging all
    folds outside makes a step at the window's edge), and is ranked within its fold.

    Args:
        detector: what is trained for each window and fold.
        view: n events.
        windows_gev: signal windows (low, high).
        features: names of the inputs, among those of the view; the scanned mass is none of them.
        seed: fixes folds and trainings; the result does not depend on `n_jobs`.
        n_jobs: trainings side by side (threads; LightGBM releases the interpreter lock).
        progress: called with (done, total) trainings.

    Returns:
        (n, n_windows) rank within the fold in (0, 1), higher is more anomalous.

    Raises:
        DetectorError: if a feature is unknown or a window cannot be trained.
    """
    unknown = [name for name in features if name not in view.feature_names]
    if unknown or not features:
        raise DetectorError(
            f"Unknown features {unknown}; this view offers {', '.join(view.feature_names)}."
        )
    inputs = np.ascontiguousarray(view.features[:, [view.feature_names.index(f) for f in features]])
    folds = detector.settings.folds
    fold = fold_of(view.event_id, folds, seed)
    raw = np.empty((len(view), len(windows_gev)))
    jobs = [(w, f) for w in range(len(windows_gev)) for f in range(folds)]
    seeds = np.random.SeedSequence(seed).generate_state(len(jobs), np.uint32) // 4
    done = 0
    lock = threading.Lock()

    def run(number: int) -> None:
        nonlocal done
        window, test_fold = jobs[number]
        test = fold == test_fold
        raw[test, window] = detector.fit_score(
            inputs, view.mass, ~test, test, windows_gev[window], int(seeds[number])
        )
        with lock:
            done += 1
            if progress is not None:
                progress(done, len(jobs))

    with ThreadPoolExecutor(max(1, n_jobs)) as pool:
        for future in [pool.submit(run, number) for number in range(len(jobs))]:
            future.result()
    return np.column_stack([rank_within_folds(column, fold) for column in raw.T])
