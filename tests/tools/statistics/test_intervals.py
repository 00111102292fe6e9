"""p-values counted from toys."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.statistics import besag_clifford, clopper_pearson, toy_p_value


def test_value_is_k_plus_one_over_n_plus_one() -> None:
    assert toy_p_value(0, 999).value == 0.001
    assert toy_p_value(9, 99).value == 0.1
    assert toy_p_value(0, 0) == (1.0, 0.0, 1.0)


def test_interval_is_that_of_scipy() -> None:
    for reached, n in ((0, 100), (1, 100), (37, 100), (100, 100)):
        reference = stats.binomtest(reached, n).proportion_ci(0.6826894921370859, method="exact")
        low, high = clopper_pearson(reached, n)
        assert low == pytest.approx(reference.low, rel=1e-9, abs=1e-12)
        assert high == pytest.approx(reference.high, rel=1e-9)


def test_interval_covers_at_least_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    reached = rng.binomial(200, 0.03, 2000)
    bounds = {k: clopper_pearson(int(k), 200) for k in np.unique(reached)}
    covered = np.mean([bounds[k][0] <= 0.03 <= bounds[k][1] for k in reached])
    assert 0.68 < covered < 0.85


def test_value_never_lies_outside_its_interval() -> None:
    for n in (0, 1, 5, 1000):
        for reached in {0, n // 2, n}:
            p = toy_p_value(reached, n)
            assert p.low <= p.value <= p.high


def test_sequence_that_stopped_gives_h_over_n() -> None:
    stopped = besag_clifford(10, 250, stop_after=10)
    assert stopped.value == 10 / 250
    assert stopped.low < stopped.value < stopped.high
    assert besag_clifford(4, 999, stop_after=10) == toy_p_value(4, 999)


def test_sequential_p_is_valid_under_the_null() -> None:
    rng = np.random.default_rng(11)
    h, limit = 5, 200
    values = []
    for data in rng.random(4000):
        reached = np.cumsum(rng.random(limit) < data)
        n = int(np.argmax(reached >= h)) + 1 if reached[-1] >= h else limit
        values.append(besag_clifford(int(reached[n - 1]), n, h).value)
    p = np.array(values)
    for level in (0.01, 0.05, 0.1, 0.5):
        allowed = 3 * np.sqrt(level * (1 - level) / p.size)
        assert np.mean(p <= level) <= level + allowed
    assert np.mean(p <= 0.1) > 0.07


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="3 of 2"):
        toy_p_value(3, 2)
    with pytest.raises(ConfigurationError, match="ends after 5"):
        besag_clifford(6, 100, stop_after=5)
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        toy_p_value(1, 2, level=1.0)
