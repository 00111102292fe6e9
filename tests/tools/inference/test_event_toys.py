"""Event-level toys and the joint field of spectra made from the same events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import DijetBasis, fit_batch
from bumpscout_tools.errors import InputDataError
from bumpscout_tools.inference import (
    EventToys,
    joint_field,
    peak_grid,
    recentre,
    scan_peaks_batch,
    score_vectors,
)

Array = NDArray[Any]
N_BINS = 24
EDGES = np.geomspace(2000.0, 4500.0, N_BINS + 1)
N_LEVELS = 3


def events(rng: np.random.Generator, n: float) -> tuple[Array, Array]:
    """Return bins (n, 2) and levels (n,) of a Poisson number of null events, two masses alike."""
    size = rng.poisson(n)
    # From 1.7 TeV on, so that the smeared second mass has no turn-on within the bins.
    first = 1700.0 * np.exp(rng.exponential(0.25, size))
    second = first * np.exp(0.04 * rng.standard_normal(size))
    bins = np.stack([np.searchsorted(EDGES, m, side="right") - 1 for m in (first, second)], axis=1)
    bins[(bins < 0) | (bins >= N_BINS)] = -1
    levels = np.minimum(rng.geometric(0.5, size) - 1, N_LEVELS - 1)
    return bins, levels


def counted(bins: Array, levels: Array) -> list[Array]:
    """Count the events of each spectrum and nested working point, the slow way."""
    return [
        np.array(
            [
                np.bincount(bins[(levels >= w) & (bins[:, s] >= 0), s], minlength=N_BINS)
                for w in range(N_LEVELS)
            ]
        ).astype(float)
        for s in range(2)
    ]


def fitted(basis: DijetBasis, counts: tuple[Array, ...]) -> list[Array]:
    """Fit order 3 to each working point of each spectrum."""
    return [fit_batch(one.copy(), basis, 3).expected for one in counts]


@pytest.fixture(scope="module")
def toys() -> EventToys:
    """Return the cells of one null data set of 20 000 events."""
    bins, levels = events(np.random.default_rng(1), 20_000)
    return EventToys.from_events(bins, levels, (N_BINS, N_BINS), N_LEVELS)


@pytest.fixture(scope="module")
def family() -> DijetBasis:
    """Return the family on the bins."""
    return DijetBasis(EDGES, 13000.0, 3)


def test_cells_hold_the_data() -> None:
    bins, levels = events(np.random.default_rng(2), 3000)
    cells = EventToys.from_events(bins, levels, (N_BINS, N_BINS), N_LEVELS)
    for ours, slow in zip(cells.expected(), counted(bins, levels), strict=True):
        np.testing.assert_array_equal(ours, slow)
    assert cells.n_cells < len(bins)


def test_a_score_for_each_spectrum() -> None:
    bins = np.array([[0, 1], [2, 3], [2, -1]])
    levels = np.array([[1, -1], [0, 1], [0, 0]])
    one, two = EventToys.from_events(bins, levels, (4, 5), 2).expected()
    np.testing.assert_array_equal(one, [[1, 0, 2, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(two, [[0, 0, 0, 1, 0], [0, 0, 0, 1, 0]])


def test_shared_events_are_those_counted_pair_by_pair() -> None:
    bins, levels = events(np.random.default_rng(3), 2000)
    cells = EventToys.from_events(bins, levels, (N_BINS, N_BINS), N_LEVELS)
    shared = cells.shared(0, 1)
    assert shared.shape == (N_LEVELS, N_LEVELS, N_BINS, N_BINS)
    for w, x in ((0, 0), (2, 1)):
        both = (levels >= max(w, x)) & np.all(bins >= 0, axis=1)
        table = np.zeros((N_BINS, N_BINS))
        np.add.at(table, (bins[both, 0], bins[both, 1]), 1.0)
        np.testing.assert_array_equal(shared[w, x], table)
    np.testing.assert_array_equal(cells.shared(0, 0)[2, 0], np.diag(cells.expected()[0][2]))


def test_null_has_the_fitted_means(toys: EventToys, family: DijetBasis) -> None:
    expected = fitted(family, toys.expected())
    for wanted, got in zip(expected, toys.on_null(expected).expected(), strict=True):
        nested = np.flip(np.maximum.accumulate(np.flip(wanted, axis=0), axis=0), axis=0)
        np.testing.assert_allclose(got, nested, rtol=1e-9)


def test_empty_bins_get_their_means() -> None:
    sparse = EventToys.from_events(np.array([[3, 3]]), np.array([1]), (N_BINS, N_BINS), N_LEVELS)
    wanted = [np.outer([3.0, 2.0, 0.5], np.ones(N_BINS)), np.zeros((N_LEVELS, N_BINS))]
    null = sparse.on_null(wanted)
    np.testing.assert_allclose(null.expected()[0], wanted[0])
    assert np.all(null.expected()[1] == 0)


def test_marginals_are_poisson(toys: EventToys, family: DijetBasis) -> None:
    null = toys.on_null(fitted(family, toys.expected()))
    drawn = null.draw(np.random.default_rng(4), 4000)
    for counts, mu in zip(drawn, null.expected(), strict=True):
        assert np.all(counts == np.floor(counts))
        ratio = counts.var(axis=0, ddof=1) / mu
        assert ratio.mean() == pytest.approx(1.0, abs=0.02)
        assert np.all(np.abs(ratio - 1.0) < 5 * np.sqrt((2 + 1 / mu) / 4000))
        pull = (counts.mean(axis=0) - mu) / np.sqrt(mu / 4000)
        assert np.all(np.abs(pull) < 5)


def test_large_means_are_drawn_too() -> None:
    cells = EventToys.from_events(np.zeros((400, 1), int), np.zeros(400, int), (2,), 1)
    counts = cells.draw(np.random.default_rng(5), 4000)[0][:, 0, 0]
    assert counts.mean() == pytest.approx(400.0, abs=1.5)
    assert counts.var() == pytest.approx(400.0, rel=0.1)


def test_correlations_match_data_sets_made_anew(toys: EventToys, family: DijetBasis) -> None:
    null = toys.on_null(fitted(family, toys.expected()))
    drawn = null.draw(np.random.default_rng(6), 3000)
    rng = np.random.default_rng(7)
    anew = [counted(*events(rng, 20_000)) for _ in range(600)]
    for pair in (((0, 0, 6), (0, 2, 6)), ((0, 0, 6), (1, 0, 6)), ((0, 1, 6), (1, 0, 7))):
        (s, w, i), (t, x, j) = pair
        ours = np.corrcoef(drawn[s][:, w, i], drawn[t][:, x, j])[0, 1]
        true = np.corrcoef([a[s][w, i] for a in anew], [a[t][x, j] for a in anew])[0, 1]
        assert ours == pytest.approx(true, abs=0.12)
        mu = null.expected()
        exact = null.shared(s, t)[w, x, i, j] / np.sqrt(mu[s][w, i] * mu[t][x, j])
        assert ours == pytest.approx(exact, abs=0.05)


def test_joint_field_has_the_correlations_of_refitted_toys(
    toys: EventToys, family: DijetBasis
) -> None:
    fits = [fit_batch(one.copy(), family, 3) for one in toys.expected()]
    null = toys.on_null([one.expected for one in fits])
    peaks = peak_grid([2300.0, 2800.0, 3400.0], [0.0], 0.04)
    templates = peaks.templates(EDGES)
    vectors = [
        [
            score_vectors(family, fits[s].coefficients[w], null.expected()[s][w], templates)
            for w in range(N_LEVELS)
        ]
        for s in range(2)
    ]
    field = joint_field(null, vectors)
    assert field.root.shape[0] == 2 * N_LEVELS * 3
    np.testing.assert_allclose(np.diag(field.correlation), 1.0)
    drawn = null.draw(np.random.default_rng(8), 2500)
    z = np.concatenate(
        [
            scan_peaks_batch(drawn[s][:, w], family, 3, peaks).z
            for s in range(2)
            for w in range(N_LEVELS)
        ],
        axis=1,
    )
    brute = np.corrcoef(z.T)
    assert np.max(np.abs(brute - field.correlation)) < 0.09
    sampled = field.sample_max(np.random.default_rng(9), 20_000)
    assert stats.ks_2samp(sampled, z.max(axis=1)).pvalue > 1e-3


def global_p_values(rng: np.random.Generator, family: DijetBasis, kind: str) -> Array:
    """Return the p-value of the largest z over all spectra, for 60 null data sets."""
    peaks = peak_grid(np.linspace(2200.0, 4000.0, 8), [0.0], 0.04)

    def largest(counts: tuple[Array, ...]) -> Array:
        """Refit (t, W, b) of each spectrum and return the largest z of each toy, (t,)."""
        z = [
            scan_peaks_batch(one[:, w], family, 3, peaks).best()
            for one in counts
            for w in range(N_LEVELS)
        ]
        return np.max(z, axis=0)

    out = []
    for _ in range(60):
        data = EventToys.from_events(*events(rng, 20_000), (N_BINS, N_BINS), N_LEVELS)
        observed = data.expected()
        expected = fitted(family, observed)
        if kind == "on null":
            toys = data.on_null(expected).draw(rng, 60)
        else:
            toys = data.draw(rng, 60)
            if kind == "recentred":
                toys = tuple(
                    recentre(boot, n, mu)
                    for boot, n, mu in zip(toys, observed, expected, strict=True)
                )
        z_data = largest(tuple(n[None] for n in observed))[0]
        out.append((np.count_nonzero(largest(toys) >= z_data) + rng.random()) / 61)
    return np.array(out)


@pytest.mark.parametrize("kind", ["on null", "recentred"])
def test_p_values_of_recentred_toys_are_uniform(family: DijetBasis, kind: str) -> None:
    p = global_p_values(np.random.default_rng(10), family, kind)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_p_values_of_bootstraps_without_recentring_are_not(family: DijetBasis) -> None:
    p = global_p_values(np.random.default_rng(10), family, "raw")
    assert stats.kstest(p, "uniform").pvalue < 1e-6
    assert p.mean() > 0.8


def test_what_does_not_fit_is_refused(toys: EventToys) -> None:
    with pytest.raises(InputDataError, match="do not describe"):
        EventToys.from_events(np.zeros((3, 2)), np.zeros(4), (5, 5), 1)
    with pytest.raises(InputDataError, match="beyond the last"):
        EventToys.from_events(np.full((3, 1), 5), np.zeros(3), (5,), 1)
    with pytest.raises(InputDataError, match="expected counts"):
        toys.on_null([np.ones((N_LEVELS, 2)), np.ones((N_LEVELS, N_BINS))])
    with pytest.raises(InputDataError, match="score"):
        joint_field(toys, [[np.ones((1, N_BINS))]])
