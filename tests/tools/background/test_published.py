"""Published dijet spectra: what must come out of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis, fit, fit_batch, select_order
from bumpscout_tools.statistics import best_interval, best_interval_batch, toy_p_value

Array = NDArray[Any]


def basis_of(table: Array) -> DijetBasis:
    return DijetBasis(np.append(table[:, 0], table[-1, 1]), 13000.0, 6)


@pytest.mark.parametrize(
    ("name", "order", "deviance", "ndf"),
    [
        ("atlas_dijet_13tev_37fb", 4, 69.7, 88),
        ("atlas_dijet_13tev_37fb", 5, 69.7, 87),
        ("atlas_dijet_13tev_139fb", 3, 144.5, 88),
        ("atlas_dijet_13tev_139fb", 4, 123.8, 87),
        ("atlas_dijet_13tev_139fb", 5, 118.5, 86),
        ("atlas_dijet_13tev_139fb", 6, 117.0, 85),
        ("cms_dijet_13tev_137fb", 4, 41.3, 38),
    ],
)
def test_deviances(
    spectrum: Callable[[str], Array], name: str, order: int, deviance: float, ndf: int
) -> None:
    table = spectrum(name)
    one = fit(table[:, 2], basis_of(table), order)
    assert one.converged
    assert one.ndf == ndf
    assert one.deviance == pytest.approx(deviance, abs=0.1)


def test_four_parameters_do_not_describe_139fb(spectrum: Callable[[str], Array]) -> None:
    table = spectrum("atlas_dijet_13tev_139fb")
    one = select_order(table[:, 2], basis_of(table), (3, 4))
    assert one.order == 4
    assert one.fit_p == pytest.approx(0.006, abs=0.002)
    assert not one.believable


@pytest.mark.parametrize(
    ("name", "low", "high", "global_p"),
    [
        ("atlas_dijet_13tev_37fb", 4326, 4595, 0.63),
        ("atlas_dijet_13tev_139fb", 1341, 1416, 0.89),
    ],
)
def test_intervals_against_the_published_background(
    spectrum: Callable[[str], Array], name: str, low: float, high: float, global_p: float
) -> None:
    table = spectrum(name)
    observed, expected = table[:, 2], table[:, 3]
    widest = len(table) // 2
    found = best_interval(observed, expected, 0, None, 2, widest)
    assert (table[found.start, 0], table[found.stop - 1, 1]) == (low, high)
    toys = np.random.default_rng(1).poisson(expected, (4000, len(table)))
    z = best_interval_batch(toys, expected, 0, None, 2, widest).z
    p = toy_p_value(int(np.count_nonzero(z >= found.local_z)), 4000)
    assert p.value == pytest.approx(global_p, abs=0.025)


def test_refitting_the_toys_lowers_the_global_p(spectrum: Callable[[str], Array]) -> None:
    table = spectrum("atlas_dijet_13tev_139fb")
    basis = basis_of(table)
    one = fit(table[:, 2], basis, 3)
    widest = len(table) // 2
    found = best_interval(table[:, 2], one.expected, 0, None, 2, widest)
    assert (table[found.start, 0], table[found.stop - 1, 1]) == (3672, 5487)
    toys = np.random.default_rng(2).poisson(one.expected, (4000, len(table)))
    kept = best_interval_batch(toys, one.expected, 0, None, 2, widest).z
    refitted = fit_batch(toys, basis, 3).expected
    again = best_interval_batch(toys, refitted, 0, None, 2, widest).z
    assert np.mean(kept >= found.local_z) == pytest.approx(0.067, abs=0.015)
    assert np.mean(again >= found.local_z) == pytest.approx(0.037, abs=0.012)
