"""The golden test of pyBumpHunter: location, width and local p, exactly; global p within errors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bumpscout_tools.statistics import best_interval, best_interval_batch, toy_p_value


def test_the_golden_result_comes_out() -> None:
    uproot = pytest.importorskip("uproot", reason="uproot reads the golden histograms")
    folder = os.environ.get("BUMPSCOUT_DATA")
    if not folder:
        pytest.skip("BUMPSCOUT_DATA is unset: the golden histograms are not available")
    with uproot.open(Path(folder) / "spectra" / "pybumphunter_golden.root") as file:
        data, background = (
            np.histogram(file[name].arrays(library="np")[name], 60, (0, 20))[0]
            for name in ("data", "bkg")
        )
    found = best_interval(data, background, 0, None, 2, 6)
    assert (found.start, found.stop - found.start) == (16, 4)
    assert found.local_p == pytest.approx(0.0001734, abs=5e-8)
    assert round(found.n_observed - found.n_expected) == 208
    toys = np.random.default_rng(666).poisson(background, (20_000, 60))
    z = best_interval_batch(toys, background, 0, None, 2, 6).z
    p = toy_p_value(int(np.count_nonzero(z >= found.local_z)), 20_000)
    # 10,000 toys gave 0.01770, so that its own error is 0.0013.
    assert p.value == pytest.approx(0.0177, abs=0.004)
