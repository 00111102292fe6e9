"""Fits of signal and background that begin where a naive start would leave the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bumpscout_tools.background import DijetBasis
from bumpscout_tools.inference import Nuisances, PeakModel, peak_grid

Array = NDArray[Any]


def test_a_negative_spurious_signal_over_few_events_starts_at_a_possible_mean(
    basis: DijetBasis, smooth: Array
) -> None:
    counts = np.round(smooth / 2000.0)[None, :]
    peaks = peak_grid([4800.0], [0.0], 0.03)
    model = PeakModel(basis, 2, peaks, Nuisances(spurious_signal=3.0))
    background = model.background(counts)
    centres = np.array([[0.0, 0.0, 0.0, -4.0]])
    index = np.zeros(1, dtype=np.int64)
    with np.errstate(all="raise"):
        found = model.fit(counts, index, index, background.coefficients, centres=centres)
    assert np.isfinite(found.deviance).all()
    assert found.converged.all()
