"""Published spectra and smooth toy spectra for the tests of the background fits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]


@pytest.fixture
def spectrum() -> Callable[[str], Array]:
    """Return a reader of `$BUMPSCOUT_DATA/spectra/NAME.csv`: columns low, high, observed, ..."""
    folder = os.environ.get("BUMPSCOUT_DATA")
    if not folder:
        pytest.skip("BUMPSCOUT_DATA is unset: the published spectra are not available")

    def read(name: str) -> Array:
        lines = (Path(folder) / "spectra" / f"{name}.csv").read_text().splitlines()
        rows = [line for line in lines if line[:1].isdigit()]
        return np.array([[float(value) for value in row.split(",")] for row in rows])

    return read


@pytest.fixture
def edges() -> Array:
    """Return 50 logarithmic bins, 2 to 6.6 TeV."""
    grid: Array = 2000.0 * np.exp(np.linspace(0.0, 1.2, 51))
    return grid


@pytest.fixture
def smooth(edges: Array) -> Callable[[float], Array]:
    """Return a maker of expected counts of order 3 with a given sum."""

    def make(total: float) -> Array:
        x = np.sqrt(edges[1:] * edges[:-1]) / 13000.0
        shape: Array = (1 - x) ** 10 * x**-5 * np.diff(edges)
        return total * shape / shape.sum()

    return make
