"""Cross-fitting: no event is scored by a model that was trained on it or on a copy of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from bumpscout_tools.detectors.combine import Combination, combined
from bumpscout_tools.detectors.copies import refuse_copies
from bumpscout_tools.detectors.flat_cuts import flat_scores
from bumpscout_tools.detectors.folds import fold_of, order_of, rank_within_folds
from bumpscout_tools.detectors.inputs import inputs_of
from bumpscout_tools.detectors.protocol import Detector, NeedsNames, Progress, Stop, check_stop
from bumpscout_tools.errors import TrainingStopped
from bumpscout_tools.events.view import View

__all__ = ["cross_fit"]

FloatArray = npt.NDArray[np.float64]


def cross_fit(
    detector: Detector,
    view: View,
    windows_gev: Sequence[tuple[float, float]],
    *,
    features: Sequence[str],
    seed: int,
    n_jobs: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
    allow_copies: bool = False,
    decorrelate: Literal["none", "quantile"] = "none",
) -> FloatArray:
    """Score every event in every signal window by k-folding.

    Each event keeps the models of its own fold, inside and outside the window (averaging all
    folds outside makes a step at the window's edge), and is ranked within its fold. A detector
    that knows nothing of windows is trained once a fold on the events of all masses, and its
    score is repeated for each window. Members of a combination are cross-fitted one by one, and
    what is combined is ranked among all events.

    Args:
        detector: what is trained for each window and fold.
        view: n events.
        windows_gev: signal windows (low, high).
        features: names of the inputs, among those of the view; the scanned mass is none of them.
        seed: fixes folds and trainings; the result depends neither on `n_jobs` nor on the order
            of the events.
        n_jobs: trainings side by side (threads; LightGBM and torch release the interpreter lock).
        progress: called with (done, total) trainings.
        stop: asked between the steps of all trainings; True ends them and nothing is returned.
        allow_copies: score events that occur under several ids in several folds all the same;
            only to show the fake bumps that they make.
        decorrelate: "quantile" gives each score as its place among events of its mass, so that cuts
            are flat in the mass; see `flat_scores`.

    Returns:
        (n, n_windows) rank within the fold in (0, 1), higher is more anomalous.

    Raises:
        DetectorError: if a feature is unknown, a window cannot be trained, or events have copies
            in other folds.
        TrainingStopped: if `stop` said so.
    """
    if isinstance(detector, NeedsNames):
        detector = detector.named(features)
    if isinstance(detector, Combination):
        seeds = np.random.SeedSequence(seed).generate_state(len(detector.members()), np.uint32) // 4
        parts = [
            cross_fit(
                member,
                view,
                windows_gev,
                features=features,
                seed=int(own),
                n_jobs=n_jobs,
                progress=progress,
                stop=stop,
                allow_copies=allow_copies,
            )
            for member, own in zip(detector.members(), seeds, strict=True)
        ]
        score = combined(parts, detector.settings.rule)
        score = np.asarray((rankdata(score, axis=0) - 0.5) / len(view), dtype=np.float64)
        return flat_scores(score, view, windows_gev) if decorrelate == "quantile" else score
    order = order_of(view.event_id, view.mass)
    inputs, mass = inputs_of(view, features)[order], view.mass[order]
    fold = fold_of(view.event_id[order], detector.folds, seed)
    if not allow_copies:
        refuse_copies(view.select(order), fold)
    trained_for = tuple(windows_gev) if detector.uses_window else (None,)
    raw = np.empty((len(view), len(trained_for)))
    jobs = [(w, f) for w in range(len(trained_for)) for f in range(detector.folds)]
    seeds = np.random.SeedSequence(seed).generate_state(len(jobs), np.uint32) // 4
    done = 0
    failed = threading.Event()
    lock = threading.Lock()

    def ended() -> bool:
        return failed.is_set() or (stop is not None and stop())

    def run(number: int) -> None:
        nonlocal done
        column, test_fold = jobs[number]
        test = fold == test_fold
        train = ~test if detector.folds > 1 else test
        try:
            check_stop(ended)
            fitted = detector.fit(
                inputs[train], mass[train], trained_for[column], int(seeds[number]), stop=ended
            )
            raw[test, column] = fitted.score(inputs[test], mass[test])
        except BaseException:
            failed.set()
            raise
        with lock:
            done += 1
            if progress is not None:
                progress(done, len(jobs))

    with ThreadPoolExecutor(max(1, n_jobs)) as pool:
        _raise_first([pool.submit(run, number) for number in range(len(jobs))])
    ranks = np.empty_like(raw)
    for column in range(raw.shape[1]):
        ranks[order, column] = rank_within_folds(raw[:, column], fold)
    ranks = ranks if detector.uses_window else np.repeat(ranks, len(windows_gev), axis=1)
    return flat_scores(ranks, view, windows_gev) if decorrelate == "quantile" else ranks


def _raise_first(futures: list[Future[None]]) -> None:
    """Wait for all, and raise the error that ended the others rather than their being stopped."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, TrainingStopped)):
        raise error
