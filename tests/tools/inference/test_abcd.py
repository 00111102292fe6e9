"""Limits and significances of ABCD: against exact counting, the other fit, and by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from bumpscout_tools.background.abcd import SIGNAL_IN_A, Abcd, abcd_fit
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.inference.abcd import AbcdModel, abcd_limit

LEAKING = Abcd(1.0, 0.1, 0.2, 0.05)


def cls_limit(n: int, part: float, b: float) -> float:
    """Return the limit of a counting experiment with a known background.

    `part` of the experiments that count n too are as extreme: what else fluctuates orders them.
    """

    def low(mean: float) -> float:
        return float(stats.poisson.cdf(n - 1, mean) + part * stats.poisson.pmf(n, mean))

    return float(optimize.brentq(lambda s: low(b + s) / low(b) - 0.05, 0.1, 50.0))


@pytest.mark.parametrize("n", [0, 4, 7])
def test_with_a_background_that_is_known_it_is_a_counting_experiment(n: int) -> None:
    counts = Abcd(n, 20_000, 20_000, 200_000_000)
    found = abcd_limit(counts, AbcdModel(), rng=np.random.default_rng(1), n_toys=3000)
    assert found.method == "toys"
    assert found.observed == pytest.approx(cls_limit(n, 0.5, 2.0), rel=0.05)
    # The median of 2 expected events: all that count 0 or 1, and this part of those that count 2.
    part = float((0.5 - stats.poisson.cdf(1, 2.0)) / stats.poisson.pmf(2, 2.0))
    assert found.expected[2] == pytest.approx(cls_limit(2, part, 2.0), rel=0.05)
    assert np.all(np.diff(found.expected) >= 0)
    if n > 2:
        exact = float(stats.poisson.sf(n, 2.0) + 0.5 * stats.poisson.pmf(n, 2.0))
        assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 3000))
        assert found.p_low <= found.p <= found.p_high


@pytest.mark.parametrize("closure", [0.0, 0.2])
def test_the_excess_is_that_of_the_other_fit(closure: float) -> None:
    counts = Abcd(45, 150, 100, 500)
    other = abcd_fit(counts, closure, LEAKING)
    found = abcd_limit(counts, AbcdModel(LEAKING, closure))
    assert found.method == "asymptotic"
    assert found.p == pytest.approx(other.local_p, rel=1e-4)
    assert found.observed > other.signal + other.error_high
    # Data that are what a signal makes of the background alone have its significance.
    background = np.array([30.0, 150.0, 100.0, 500.0])
    alone = abcd_limit(Abcd(*background), AbcdModel(LEAKING, closure))
    data = np.round(1000 * (background + alone.discovery_3 * np.array(LEAKING))) / 1000
    model = AbcdModel(LEAKING, closure)
    q0 = model.fit(data[None], np.zeros(1)).deviance - model.fit(data[None]).deviance
    assert np.sqrt(q0[0]) == pytest.approx(3.0, abs=0.02)


def test_every_uncertainty_costs() -> None:
    counts = Abcd(30, 100, 150, 500)
    plain = abcd_limit(counts, AbcdModel())
    closure = abcd_limit(counts, AbcdModel(closure=0.3))
    yields = abcd_limit(counts, AbcdModel(yield_uncertainty=0.3))
    leaking = abcd_limit(counts, AbcdModel(Abcd(1.0, 0.5, 0.5, 0.0)))
    for worse in (closure, yields, leaking):
        assert worse.expected[2] > 1.05 * plain.expected[2]
        assert worse.discovery_5 >= plain.discovery_5 * 0.999
    assert abcd_limit(counts, AbcdModel(), 0.9).observed < plain.observed


def test_fits_of_sparse_counts_reach_their_optimum() -> None:
    model = AbcdModel(LEAKING, 0.3, 0.1)
    rng = np.random.default_rng(3)
    counts = rng.poisson([2, 2, 2, 4], (12, 4)).astype(float)
    counts[:, 3] += 1
    centres = rng.standard_normal((12, 2))
    found = model.fit(counts, np.full(12, 3.0), centres)

    for i in range(12):

        def cost(x: np.ndarray, i: int = i) -> float:
            mu = model.means(np.clip(x[None], -14, 45), np.array([3.0]))[0]
            terms = mu - counts[i]
            some = counts[i] > 0
            terms[some] += counts[i][some] * np.log(counts[i][some] / mu[some])
            return float(2 * terms.sum() + ((x[3:] - centres[i]) ** 2).sum())

        start = np.append(np.log(np.maximum(counts[i, 1:], 0.3)), centres[i])
        best = start
        for _ in range(2):
            options = {"maxfev": 20_000, "maxiter": 20_000, "xatol": 1e-6, "fatol": 1e-8}
            best = optimize.minimize(cost, best, method="Nelder-Mead", options=options).x
        assert found.deviance[i] <= cost(best) + 1e-3
        assert found.deviance[i] == pytest.approx(cost(found.x[i]), abs=1e-6)


def test_what_makes_no_limit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="signal of 1 in A"):
        AbcdModel(Abcd(0.5, 0, 0, 0))
    with pytest.raises(ConfigurationError, match="closure uncertainty"):
        AbcdModel(SIGNAL_IN_A, -0.1)
    with pytest.raises(ConfigurationError, match=r"between 0\.5 and 1"):
        abcd_limit(Abcd(3, 3, 3, 3), AbcdModel(), 1.0)
    with pytest.raises(InputDataError, match="nothing predicts"):
        abcd_limit(Abcd(3, 0, 0, 0), AbcdModel())
