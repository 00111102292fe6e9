"""Are smooth spectra outside the dijet family fitted, and steps, kinks and turn-ons refused?

    python validation/statistics/believability.py > validation/statistics/believability.txt

Each truth is fitted once, with a fixed seed, by `--model auto` (p2..p6, likelihood ratio at 0.05).
At least 18 of the 20 smooth spectra must be believed and at least 8 of the 10 others refused; exit
code 1 otherwise. How often that happens over many seeds is printed beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bumpscout_tools.background.models import make_model
from bumpscout_tools.background.report import fit_report
from bumpscout_tools.background.spectrum import Spectrum

Array = NDArray[Any]
Truth = tuple[str, Callable[[Array], Array], tuple[float, float], int, float]
SQRT_S = 13000.0
REPEATS = 20


def stretched(m: Array) -> Array:
    """An exponential of a root."""
    return np.exp(-14.0 * (m / 1000.0) ** 0.5)


# Name, density in the mass, range in GeV, bins, events.
SMOOTH: tuple[Truth, ...] = (
    ("UA2", lambda m: (m / SQRT_S) ** -4.5 * np.exp(-8 * m / SQRT_S), (1000, 6000), 60, 1e5),
    ("UA2, curved", lambda m: m**-5.0 * np.exp(-20 * (m / SQRT_S) ** 2), (1100, 7000), 90, 1e6),
    ("power law", lambda m: m**-6.0, (800, 5000), 50, 3e4),
    ("two power laws", lambda m: (m / 1e3) ** -7 + 0.02 * (m / 1e3) ** -4, (1000, 6000), 80, 1e5),
    ("power law, shifted", lambda m: (m + 400.0) ** -7.0, (500, 4000), 100, 2e5),
    ("exponential", lambda m: np.exp(-m / 450.0), (1500, 6000), 40, 2e4),
    (
        "two exponentials",
        lambda m: np.exp(-m / 300) + 0.01 * np.exp(-m / 700),
        (1000, 5000),
        60,
        1e5,
    ),
    ("stretched exponential", stretched, (1000, 5000), 70, 1e5),
    (
        "diphoton",
        lambda m: (1 - (m / SQRT_S) ** (1 / 3)) ** 12 * (m / SQRT_S) ** -2,
        (200, 3000),
        140,
        5e4,
    ),
    ("Tsallis", lambda m: m * (1 + m / (8 * 150.0)) ** -9, (1200, 6000), 50, 1e5),
    (
        "CDF 1997",
        lambda m: (1 - m / SQRT_S + 0.8 * (m / SQRT_S) ** 2) ** 9 / m**5,
        (1000, 8000),
        90,
        1e6,
    ),
    ("gamma", lambda m: m**-2.0 * np.exp(-m / 600.0), (800, 5000), 60, 1e4),
    ("Weibull", lambda m: (m / 700) ** -0.4 * np.exp(-((m / 700) ** 0.8)), (900, 7000), 45, 1e4),
    (
        "log-normal tail",
        lambda m: np.exp(-0.5 * (np.log(m / 150) / 0.55) ** 2) / m,
        (600, 4000),
        80,
        5e4,
    ),
    ("logistic tail", lambda m: 1 / (1 + np.exp((m - 900) / 250.0)), (1500, 4500), 30, 3e3),
    (
        "power of a sum",
        lambda m: (1 - m / SQRT_S) ** 8 / (m**2 + 500.0**2) ** 2.5,
        (700, 7000),
        120,
        1e6,
    ),
    ("few events", lambda m: (m + 200.0) ** -5.0, (2000, 9000), 20, 300),
    ("very few events", lambda m: np.exp(-m / 900.0), (1500, 8000), 41, 100),
    (
        "cubic exponent",
        lambda m: np.exp(-4 * m / 1e3 + 0.3 * (m / 1e3) ** 2 - 0.02 * (m / 1e3) ** 3),
        (1000, 6000),
        60,
        5e4,
    ),
    (
        "sum of p3 and p3",
        lambda m: (1 - m / SQRT_S) ** 10 * m**-5.0 + 3e-6 * (1 - m / SQRT_S) ** 6 * m**-3.5,
        (1100, 7500),
        170,
        5e5,
    ),
)


def dijet(m: Array) -> Array:
    """A p3 of the family, on which steps, kinks and turn-ons are put."""
    return (1 - m / SQRT_S) ** 10 * (m / SQRT_S) ** -5


def kink(m: Array, at: float, slope: float) -> Array:
    """A change of the logarithmic slope."""
    return np.where(m > at, (m / at) ** slope, 1.0)


def turn_on(m: Array, at: float, width: float) -> Array:
    """An efficiency that rises from 0 to 1."""
    return special.ndtr((m - at) / width)


BROKEN: tuple[Truth, ...] = (
    ("step of 10% down", lambda m: dijet(m) * np.where(m > 2000, 0.9, 1), (1100, 7000), 90, 1e6),
    ("step of 30% down", lambda m: dijet(m) * np.where(m > 2500, 0.7, 1), (1100, 7000), 60, 1e5),
    ("step of 20% up", lambda m: dijet(m) * np.where(m > 1500, 1.2, 1), (1100, 7000), 80, 1e5),
    ("step of 50% down", lambda m: dijet(m) * np.where(m > 2000, 0.5, 1), (1100, 6000), 40, 1e4),
    ("kink by 3", lambda m: dijet(m) * kink(m, 1800, -3), (1100, 7000), 90, 1e6),
    ("kink by 5", lambda m: dijet(m) * kink(m, 2000, -5), (1100, 7000), 60, 1e5),
    ("kink up by 3", lambda m: dijet(m) * kink(m, 2000, 3), (1100, 7000), 90, 1e6),
    ("turn-on, sharp", lambda m: dijet(m) * turn_on(m, 1200, 60), (1000, 6000), 60, 1e5),
    ("turn-on, slow", lambda m: dijet(m) * turn_on(m, 1300, 200), (1000, 6000), 80, 1e6),
    ("turn-on, few events", lambda m: dijet(m) * turn_on(m, 1300, 100), (1000, 5000), 40, 5e3),
)


# Drawn up after the criteria were fixed, which were chosen with the ten above in sight.
LATER: tuple[Truth, ...] = (
    (
        "dip of 15%",
        lambda m: dijet(m) * (1 - 0.15 * ((m > 2200) & (m < 2600))),
        (1200, 7000),
        70,
        3e5,
    ),
    ("step of 15% up", lambda m: dijet(m) * np.where(m > 3000, 1.15, 1), (1100, 7000), 90, 2e6),
    ("step of 25% down", lambda m: dijet(m) * np.where(m > 1400, 0.75, 1), (1100, 5000), 50, 5e4),
    ("kink by 2", lambda m: dijet(m) * kink(m, 1500, -2), (1100, 7000), 100, 2e6),
    ("kink by 4", lambda m: dijet(m) * kink(m, 2500, -4), (1500, 7000), 60, 2e5),
    ("kink up by 4", lambda m: dijet(m) * kink(m, 1600, 4), (1100, 6000), 80, 1e5),
    ("turn-on by half", lambda m: dijet(m) * (1 + turn_on(m, 1500, 80)), (1100, 6000), 80, 2e5),
    ("exponential turn-on", lambda m: dijet(m) * -np.expm1((900 - m) / 200), (1000, 6000), 90, 1e6),
    ("turn-on, 30,000 events", lambda m: dijet(m) * turn_on(m, 1400, 150), (1100, 6000), 50, 3e4),
    (
        "two steps of 12%",
        lambda m: dijet(m) * np.where((m > 1600) & (m < 2800), 0.88, 1),
        (1100, 7000),
        90,
        5e5,
    ),
)


def believed(truth: Truth, seed: int) -> tuple[bool, str]:
    """Draw one spectrum and fit it; return the verdict and a line about it."""
    _, density, (low, high), bins, events = truth
    edges = np.geomspace(low, high, bins + 1)
    x, weight = np.polynomial.legendre.leggauss(16)
    half = 0.5 * np.diff(edges)
    mass = 0.5 * (edges[1:] + edges[:-1]) + half * x[:, None]
    mean = half * (weight @ density(mass))
    counts = np.random.default_rng(seed).poisson(events * mean / mean.sum()).astype(np.float64)
    spectrum = Spectrum(edges, counts)
    report = fit_report(spectrum, make_model("auto", spectrum), errors=False, n_toys=1000)
    line = f"{report.model} deviance {report.deviance:7.1f}/{report.ndf:<3d} p {report.p_value:.2g}"
    return report.believable, f"{line}  {'; '.join(report.reasons)[:90]}"


def main() -> int:
    """Print the verdicts; return the exit code."""
    counts = {}
    groups = (("smooth, outside the family", SMOOTH), ("broken", BROKEN), ("broken, later", LATER))
    for title, truths in groups:
        print(f"{title}:")
        counts[title] = 0
        for number, truth in enumerate(truths, start=len(SMOOTH) if truths is LATER else 0):
            believable, line = believed(truth, 1000 + number)
            counts[title] += believable
            often = sum(believed(truth, 10_000 + 100 * number + k)[0] for k in range(REPEATS))
            word = "believed" if believable else "refused "
            print(f"  {truth[0]:22s} {truth[4]:8.0f} events, {truth[3]:3d} bins: {word} {line}")
            print(f"  {'':22s} believed with {often} of {REPEATS} other seeds")
    smooth, broken, later = counts.values()
    print(f"smooth spectra believed: {smooth} of {len(SMOOTH)} (at least 18)")
    print(f"broken spectra refused: {len(BROKEN) - broken} of {len(BROKEN)} (at least 8)")
    print(f"broken spectra drawn up later refused: {len(LATER) - later} of {len(LATER)}")
    return 0 if smooth >= 18 and len(BROKEN) - broken >= 8 else 1


if __name__ == "__main__":
    sys.exit(main())
