"""Reproduce the golden test of pyBumpHunter with our bump hunt.

    BUMPSCOUT_DATA=... python validation/statistics/pybumphunter_golden.py

Needs uproot (not a dependency of bumpscout). pyBumpHunter's test (10,000 toys, seed 666) finds bin
16, width 4, local p 0.0001734, signal 208 and global p 0.01770. Exit code 1 on a disagreement.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import uproot

from bumpscout_tools.statistics import best_interval, best_interval_batch, toy_p_value


def main() -> int:
    """Print what is found beside what is expected; return the exit code."""
    path = Path(os.environ["BUMPSCOUT_DATA"]) / "spectra" / "pybumphunter_golden.root"
    with uproot.open(path) as file:
        data, background = (
            np.histogram(file[name].arrays(library="np")[name], 60, (0, 20))[0]
            for name in ("data", "bkg")
        )
    found = best_interval(data, background, 0, None, 2, 6)
    signal = found.n_observed - found.n_expected
    n_toys = 200_000
    toys = np.random.default_rng(666).poisson(background, (n_toys, 60))
    z = best_interval_batch(toys, background, 0, None, 2, 6).z
    p = toy_p_value(int(np.count_nonzero(z >= found.local_z)), n_toys)
    print(f"bin {found.start} (16), width {found.stop - found.start} (4)")
    print(f"local p {found.local_p:.7f} (0.0001734), signal {signal:.0f} (208)")
    print(f"global p {p.value:.5f}, {p.low:.5f} to {p.high:.5f} (0.01770 +- 0.0013)")
    right = (
        (found.start, found.stop - found.start, round(signal)) == (16, 4, 208)
        and abs(found.local_p - 0.0001734) < 1e-7
        and abs(p.value - 0.0177) < 3 * 0.0013
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
