"""Folds by a hash of the original event, and ranks within folds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from bumpscout_tools.detectors import fold_of, rank_within_folds

CONSECUTIVE = np.arange(20_000, dtype=np.uint64)
MULTIPLES = CONSECUTIVE * np.uint64(2**40)
RANDOM = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)


@pytest.mark.parametrize("ids", [CONSECUTIVE, MULTIPLES, RANDOM], ids=["counted", "wide", "random"])
@pytest.mark.parametrize("folds", [2, 5, 20])
def test_folds_are_of_equal_size_up_to_chance(ids: np.ndarray, folds: int) -> None:
    counts = np.bincount(fold_of(ids, folds, seed=4), minlength=folds)
    assert len(counts) == folds
    expected = len(ids) / folds
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), folds - 1) > 1e-4


def test_copies_of_an_event_share_their_fold_wherever_they_stand() -> None:
    ids = np.concatenate([RANDOM, RANDOM[::-1], RANDOM[:100]])
    fold = fold_of(ids, 5, seed=9)
    _, position = np.unique(ids, return_inverse=True)
    first = np.zeros(position.max() + 1, dtype=int)
    first[position] = fold
    np.testing.assert_array_equal(first[position], fold)


def test_another_seed_makes_independent_folds() -> None:
    one, other = fold_of(CONSECUTIVE, 5, seed=1), fold_of(CONSECUTIVE, 5, seed=2)
    table = np.histogram2d(one, other, bins=5)[0]
    assert chi2.sf(((table - 800) ** 2 / 800).sum(), 24) > 1e-4
    np.testing.assert_array_equal(one, fold_of(CONSECUTIVE, 5, seed=1))


def test_any_seed_is_taken() -> None:
    for seed in (0, 2**31, 2**64 - 1, 2**70):
        assert set(fold_of(CONSECUTIVE, 3, seed)) == {0, 1, 2}


def test_ranks_forget_the_scale_of_each_fold() -> None:
    rng = np.random.default_rng(5)
    score, fold = rng.normal(size=1000), rng.integers(0, 4, 1000)
    rank = rank_within_folds(score, fold)
    stretched = rank_within_folds(score * np.array([1, 50, 0.1, 7])[fold] + 10.0 * fold, fold)
    np.testing.assert_array_equal(rank, stretched)
    for number in range(4):
        inside = np.sort(rank[fold == number])
        n = len(inside)
        np.testing.assert_allclose(inside, (np.arange(n) + 0.5) / n)


def test_ranks_rise_with_the_score_and_ties_share() -> None:
    fold = np.zeros(5, dtype=np.int64)
    rank = rank_within_folds(np.array([3.0, 1.0, 3.0, 9.0, 2.0]), fold)
    np.testing.assert_allclose(rank, [0.6, 0.1, 0.6, 0.9, 0.3])
