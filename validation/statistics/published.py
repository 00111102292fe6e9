"""The published dijet spectra: deviances, intervals and global p with and without refitted toys.

    BUMPSCOUT_DATA=... python validation/statistics/published.py > published.txt

Windows of 2 bins to half of the spectrum, step 1, no side bands. Against the published background:
20,000 toys, p = 0.63 (ATLAS 37/fb, arXiv:1703.09127) and 0.89 (139/fb, arXiv:1910.08447), +- 0.02.
Fits over the full range: 4000 toys; the expected numbers are those of an independent
computation with as many toys, deviances +- 0.1, p +- 0.03. Exit code 1 on a disagreement.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bumpscout_tools.background import Spectrum, hunt_spectrum, make_model, read_spectrum
from bumpscout_tools.statistics import bin_windows

NAMES = {
    "37/fb": "atlas_dijet_13tev_37fb",
    "139/fb": "atlas_dijet_13tev_139fb",
    "CMS 137/fb": "cms_dijet_13tev_137fb",
}
# Spectrum, model, deviance, degrees of freedom, interval, p refitted, p not refitted.
ROWS = (
    ("37/fb", "p4", 69.7, 88, (4326, 4595), 0.643, 0.741),
    ("37/fb", "p5", 69.7, 87, (4326, 4595), 0.606, 0.729),
    ("139/fb", "p3", 144.5, 88, (3672, 5487), 0.037, 0.067),
    ("139/fb", "p4", 123.8, 87, (1341, 1416), 0.664, 0.752),
    ("139/fb", "p5", 118.5, 86, (7904, 8208), 0.512, 0.653),
    ("139/fb", "p6", 117.0, 85, (7904, 8208), 0.204, 0.404),
    ("CMS 137/fb", "p4", 41.3, 38, (4509, 5058), 0.653, 0.762),
)
PUBLISHED = (("37/fb", (4326, 4595), 0.63), ("139/fb", (1341, 1416), 0.89))


def read(name: str) -> Spectrum:
    """Read one of the spectra."""
    return read_spectrum(Path(os.environ["BUMPSCOUT_DATA"]) / "spectra" / f"{NAMES[name]}.csv")


def main() -> int:
    """Print what is found beside what is expected; return the exit code."""
    good = True
    print("against the published background:")
    for name, interval, p in PUBLISHED:
        spectrum = read(name)
        model = make_model("expected", spectrum)
        found = hunt_spectrum(
            spectrum.observed, model, bin_windows(spectrum.n_bins), n_toys=20_000, seed=1
        )
        low, high = spectrum.edges[found.start], spectrum.edges[found.stop]
        right = (low, high) == interval and abs(found.global_p.value - p) <= 0.02
        good &= right
        print(
            f"  {name:10s} {low:.0f}-{high:.0f} GeV (expected {interval[0]}-{interval[1]}), p = "
            f"{found.global_p.value:.4f}, {found.global_p.low:.4f} to {found.global_p.high:.4f} "
            f"(expected {p}) {'ok' if right else 'DISAGREES'}"
        )
    print("fits over the full range, 4000 toys:")
    for name, kind, deviance, ndf, interval, p_refit, p_kept in ROWS:
        spectrum = read(name)
        model = make_model(kind, spectrum)
        windows = bin_windows(spectrum.n_bins)
        refit, kept = (
            hunt_spectrum(spectrum.observed, model, windows, n_toys=4000, refit=again, seed=2)
            for again in (True, False)
        )
        fitted = model.fit(spectrum.observed[None])
        low, high = spectrum.edges[refit.start], spectrum.edges[refit.stop]
        right = (
            (low, high) == interval
            and spectrum.n_bins - int(fitted.order[0]) == ndf
            and abs(float(fitted.deviance[0]) - deviance) <= 0.1
            and abs(refit.global_p.value - p_refit) <= 0.03
            and abs(kept.global_p.value - p_kept) <= 0.03
        )
        good &= right
        print(
            f"  {name:10s} {kind}: deviance {fitted.deviance[0]:.2f}/{ndf} (expected {deviance}), "
            f"{low:.0f}-{high:.0f} GeV, p = {refit.global_p.value:.3f} refitted ({p_refit}), "
            f"{kept.global_p.value:.3f} not refitted ({p_kept}) {'ok' if right else 'DISAGREES'}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
