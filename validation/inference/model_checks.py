"""Linearity of injections, coverage and spurious signals on the ATLAS dijet background of 139/fb.

    python validation/inference/model_checks.py [TOYS] > model_checks.txt

Toys are drawn from a five-parameter fit to the spectrum (arXiv:1910.08447, read from
`$BUMPSCOUT_DATA/spectra`) and fitted with five parameters; the spurious signal of four parameters
on the same background is shown beside. Exit code 1 if a pull lies off 0 by more than 0.1, its width
off 1 by more than 0.1, or a coverage below its level by more than 3 standard deviations.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from bumpscout_tools.background import DijetBasis, fit
from bumpscout_tools.inference import (
    background_under,
    coverage,
    injection_linearity,
    peak_grid,
    spurious_signal,
)


def main() -> int:
    """Print one line a peak; return the exit code."""
    n_toys = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    path = Path(os.environ["BUMPSCOUT_DATA"]) / "spectra" / "atlas_dijet_13tev_139fb.csv"
    rows = [line for line in path.read_text().splitlines() if line[:1].isdigit()]
    table = np.array([[float(value) for value in row.split(",")] for row in rows])
    basis = DijetBasis(np.append(table[:, 0], table[-1, 1]), 13000.0, 5)
    truth = fit(table[:, 2], basis, 5).expected
    peaks = peak_grid([1500.0, 2000.0, 3000.0, 4500.0, 6000.0, 7000.0], [0.0, 0.05, 0.10, 0.15])
    under = background_under(peaks.templates(basis.edges_gev), truth)
    rng = np.random.default_rng(1)
    pulls = injection_linearity(rng, truth, basis, 5, peaks, (0.0, 2.0, 5.0), n_toys)
    covered = coverage(rng, truth, basis, 5, peaks, (1.0, 3.0), n_toys=n_toys)
    four = spurious_signal(truth, basis, 4, peaks).ratio[0]
    print(f"{n_toys} toys; signals of 0, 2, 5 sigma (pulls) and 1, 3 sigma (coverage)")
    print(
        "  mass width  background   mean of pull         width of pull      68% interval  95% CLs"
    )
    for h in range(peaks.size):
        mean = " ".join(f"{value:+.3f}" for value in pulls.mean[h])
        width = " ".join(f"{value:.3f}" for value in pulls.width[h])
        inside = " ".join(f"{value:.3f}" for value in covered.interval[h])
        below = " ".join(f"{value:.3f}" for value in covered.limit[h])
        print(
            f"{peaks.mass_gev[h]:6.0f} {peaks.width[h]:5.2f} {under[h]:11.1f}   {mean}   {width}   "
            f"{inside}   {below}   p4 spurious {four[h]:+.2f} sigma"
        )
    short = np.sqrt(np.array([0.683 * 0.317, 0.05 * 0.95]) / n_toys)
    bad = (
        np.any(np.abs(pulls.mean) > 0.1)
        or np.any(np.abs(pulls.width - 1) > 0.1)
        or np.any(covered.interval < 0.683 - 3 * short[0] - 0.01)
        or np.any(covered.limit < 0.95 - 3 * short[1] - 0.01)
    )
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
