from __future__ import annotations

import numpy as np

from bumpscout_tools.detectors.density.coordinates import find_coordinates


def test_the_derived_column_is_the_one_that_cannot_turn_negative() -> None:
    rng = np.random.default_rng(0)
    light, delta, tau = rng.exponential((100.0, 150.0, 0.3), (2000, 3)).T
    features = np.column_stack([light, light + delta, delta, tau])
    coordinates = find_coordinates(features)
    assert coordinates.columns.tolist() == [0, 2, 3]
    np.testing.assert_allclose(coordinates.outer(coordinates.inner(features)), features, rtol=1e-9)


def test_chained_relations_are_resolved() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.exponential((1.0, 2.0), (2000, 2)).T
    features = np.column_stack([2 * a + 3 * b, a, a + b, b])
    coordinates = find_coordinates(features)
    assert len(coordinates.columns) == 2
    np.testing.assert_allclose(coordinates.outer(coordinates.inner(features)), features, rtol=1e-8)


def test_strongly_correlated_columns_are_not_derived() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=2000)
    features = np.column_stack([a, a + 1e-2 * rng.normal(size=2000)])
    assert find_coordinates(features).columns.tolist() == [0, 1]
