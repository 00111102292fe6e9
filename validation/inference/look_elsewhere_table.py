"""Global p at a local z by three methods: Gaussian field, refit toys, Gross-Vitells.

    python validation/inference/look_elsewhere_table.py [TOYS] > look_elsewhere_table.txt

The null is a four-parameter fit to the ATLAS dijet spectrum of 139/fb (arXiv:1910.08447), read from
`$BUMPSCOUT_DATA/spectra`; the scan has 260 masses from 1.3 to 6.5 TeV for a peak of 3%. Reference
values come from an independent implementation. Exit code 1 if a value lies further from its
reference than what the choice of the masses and the finite number of toys explain. The last column
takes the linear score of each toy for its significance: where few events are expected it is larger
than the profile likelihood's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from bumpscout_tools.background import DijetBasis
from bumpscout_tools.inference import (
    GaussianField,
    gross_vitells,
    peak_grid,
    scan_peaks,
    scan_peaks_batch,
    score_vectors,
    spectrum_field,
    upcrossings,
)

LEVELS = (2.0, 2.5, 3.0, 3.5)
FIELD = (0.644, 0.265, 0.0730, 0.0150)
TOYS = (0.655, 0.273, 0.0792, 0.0163)
GROSS_VITELLS = (0.911, 0.295, 0.0743, 0.0146)
SAMPLES = 200_000
TOYS_OF_REFERENCE = 20_000


def main() -> int:
    """Print the table; return the exit code."""
    n_toys = int(sys.argv[1]) if len(sys.argv) > 1 else TOYS_OF_REFERENCE
    path = Path(os.environ["BUMPSCOUT_DATA"]) / "spectra" / "atlas_dijet_13tev_139fb.csv"
    rows = [line for line in path.read_text().splitlines() if line[:1].isdigit()]
    table = np.array([[float(value) for value in row.split(",")] for row in rows])
    basis = DijetBasis(np.append(table[:, 0], table[-1, 1]), 13000.0, 4)
    peaks = peak_grid(np.linspace(1300.0, 6500.0, 260), [0.0], 0.03)
    scan = scan_peaks(table[:, 2], basis, 4, peaks)
    templates = peaks.templates(basis.edges_gev)
    field: GaussianField = spectrum_field(basis, scan.coefficients, scan.expected, templates)
    rng = np.random.default_rng(1)
    sampled = field.sample_max(rng, SAMPLES)
    counts = rng.poisson(scan.expected, (500 * (n_toys // 500), len(table)))
    z = np.concatenate(
        [
            scan_peaks_batch(counts[first : first + 500], basis, 4, peaks).z
            for first in range(0, len(counts), 500)
        ]
    )
    vectors = score_vectors(basis, scan.coefficients, scan.expected, templates)
    scores = ((counts - scan.expected) @ vectors.T).max(axis=1)
    largest = z.max(axis=1)
    crossings = upcrossings(z, 0.0)
    print(f"{SAMPLES} samples of the field, {len(z)} refit toys; reference in brackets")
    print("   z  Gaussian field    refit toys        Gross-Vitells     tail bound  score toys")
    bad = 0
    for level, a, b, c in zip(LEVELS, FIELD, TOYS, GROSS_VITELLS, strict=True):
        ours = (
            float(np.mean(sampled >= level)),
            float(np.mean(largest >= level)),
            gross_vitells(crossings, level=0.0, z=level).value,
        )
        bound = float(field.tail_bound(level))
        cells = [f"{v:7.4f} ({r:6.4f})" for v, r in zip(ours, (a, b, c), strict=True)]
        print(
            f"{level:4.1f}  "
            + "   ".join(cells)
            + f"   {bound:7.4f}     {float(np.mean(scores >= level)):7.4f}"
        )
        for value, reference, n in zip(ours, (a, b, c), (SAMPLES, len(z), len(z)), strict=True):
            counted = min(n, TOYS_OF_REFERENCE)
            spread = np.sqrt(reference * (1 - reference) * (1 / counted + 1 / TOYS_OF_REFERENCE))
            bad += abs(value - reference) > 3 * spread + 0.03 * reference
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
