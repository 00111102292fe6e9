"""A template that does not describe the side bands ends the training."""

from __future__ import annotations

import numpy as np
import pytest

from bumpscout_tools.detectors.sidebands import fit_outside
from bumpscout_tools.errors import DetectorError


def following_the_mass(n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    mass = 2000 + rng.exponential(600, n)
    features = rng.normal(size=(n, 2)) + np.column_stack([mass / 300, np.zeros(n)])
    return features, mass, (mass > 2500) & (mass < 2800)


def test_a_density_that_cannot_follow_the_mass_is_refused() -> None:
    features, mass, inside = following_the_mass()
    how = {"steps": 60, "seed": 1, "stop": None}
    with pytest.raises(DetectorError, match=r"does not describe the side bands.*Raise degree"):
        fit_outside(features, mass, inside, degree=0, **how)
    density = fit_outside(features, mass, inside, degree=2, **how)
    assert np.isfinite(density.log_density(features, mass)).all()
