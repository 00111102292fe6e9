"""A smooth falling spectrum for the tests of inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis

Array = NDArray[Any]


@pytest.fixture
def edges() -> Array:
    """Return 40 logarithmic bins, 2 to 5.4 TeV."""
    return np.geomspace(2000.0, 5400.0, 41)


@pytest.fixture
def basis(edges: Array) -> DijetBasis:
    """Return the family on these bins, up to order 4."""
    return DijetBasis(edges, 13000.0, 4)


@pytest.fixture
def smooth(edges: Array) -> Array:
    """Return expected counts of order 3 with 200 000 events, 60 in the last bin."""
    x = np.sqrt(edges[1:] * edges[:-1]) / 13000.0
    shape: Array = (1 - x) ** 8 * x**-4.5 * np.diff(edges)
    return 2e5 * shape / shape.sum()
