"""Compare ABCD with pyhf on random cases, and count how often limits and intervals cover.

    python validation/statistics/abcd_pyhf.py [CASES] [DATA_SETS] > abcd_pyhf.txt

In pyhf the four regions are four channels. With b_D = d, b_B = d b, b_C = d c and
b_A = d b c (1 + closure)^k each background is a product of the free factors d, b and c, and the
closure is a `normsys` (exponential interpolation) of A alone; the yield of the signal is one of
all four. Best signal, q0 and the observed and expected CLs limits are compared where all regions
hold 20 events or more. Coverage is that of 95% CLs limits, from toys where few events are expected,
and of 68% intervals. Exit code 1 if a limit differs by more than 1%, a signal by more than 0.05
errors or z by more than 0.01, or if a limit covers less than 95% by three standard errors.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from bumpscout_tools.background.abcd import Abcd, abcd_fit
from bumpscout_tools.inference.abcd import AbcdModel, abcd_limit

Array = NDArray[Any]
NAMES = ("A", "B", "C", "D")
LIMIT, PULL, Z = 0.01, 0.05, 0.01
TOYS = 1000
SETS = (
    ("80 in A, signal 20", (80.0, 400.0, 200.0, 1000.0), 20.0),
    ("10 in A, signal 8", (10.0, 50.0, 40.0, 200.0), 8.0),
    ("1.5 in A, signal 5", (1.5, 10.0, 6.0, 40.0), 5.0),
    ("0.5 in A, signal 4", (0.5, 4.0, 5.0, 40.0), 4.0),
)


def build(model: AbcdModel, scale: float, start: Array, least: float) -> pyhf.Model:
    """Return pyhf's model, whose mu >= `least` is the signal in `scale` events in A."""
    factors = {"A": "dbc", "B": "db", "C": "dc", "D": "d"}
    channels = []
    for name, fraction in zip(NAMES, model.fractions, strict=True):
        background: list[dict[str, Any]] = [
            {"name": f"n_{one}", "type": "normfactor", "data": None} for one in factors[name]
        ]
        if name == "A" and model.closure > 0:
            sides = {"hi": 1 + model.closure, "lo": 1 / (1 + model.closure)}
            background.append({"name": "closure", "type": "normsys", "data": sides})
        signal: list[dict[str, Any]] = [{"name": "mu", "type": "normfactor", "data": None}]
        if model.yield_uncertainty > 0:
            u = 1 + model.yield_uncertainty
            signal.append({"name": "yield", "type": "normsys", "data": {"hi": u, "lo": 1 / u}})
        channels.append(
            {
                "name": name,
                "samples": [
                    {"name": "background", "data": [1.0], "modifiers": background},
                    # A channel without signal keeps a sample, so that all look alike.
                    {"name": "signal", "data": [scale * fraction + 1e-12], "modifiers": signal},
                ],
            }
        )
    d, b, c = start[3], start[1] / start[3], start[2] / start[3]
    parameters = [
        {"name": f"n_{one}", "bounds": [[at / 30, at * 30]], "inits": [at]}
        for one, at in zip("dbc", (d, b, c), strict=True)
    ]
    parameters.append({"name": "mu", "bounds": [[least, 20.0]], "inits": [0.1]})
    spec = {"channels": channels, "parameters": parameters}
    codes = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    return pyhf.Model(spec, poi_name="mu", modifier_settings=codes)


def limits(model: pyhf.Model, data: list[float], near: Array) -> Array:
    """Return pyhf's limits (6,) in mu: interpolated in ln CLs between points around `near`."""

    def log_cls(mu: float) -> Array:
        observed, bands = pyhf.infer.hypotest(mu, data, model, return_expected_set=True)
        return np.log([float(observed), *(float(band) for band in bands)])

    out = np.empty(6)
    for at, mu in enumerate(near):
        low, high = 0.98 * mu, 1.02 * mu
        f_low, f_high = log_cls(low)[at], log_cls(high)[at]
        out[at] = low + (math.log(0.05) - f_low) / (f_high - f_low) * (high - low)
    return out


def compare(cases: int) -> float:
    """Print one line a case; return the largest of all differences, each over what is allowed."""
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    rng = np.random.default_rng(20)
    worst = 0.0
    print("case  counts                     closure yield |   S ours    pyhf |  z ours   pyhf | "
          "largest difference of a limit")  # fmt: skip
    for case in range(cases):
        d = math.exp(rng.uniform(math.log(100), math.log(2000)))
        b, c = rng.uniform(0.3, 1.0, 2)
        fractions = Abcd(1.0, *np.round(rng.uniform(0, 0.4, 3) * [1, 1, 0.5], 3))
        model = AbcdModel(
            fractions, round(float(rng.choice([0.0, 0.1, 0.3])), 3), float(rng.choice([0, 0.1]))
        )
        mean = d * np.array([b * c, b, c, 1.0])
        mean += rng.uniform(0, 3) * math.sqrt(mean[0]) * np.array(fractions)
        n = np.maximum(rng.poisson(mean), 20).astype(float)
        counts = Abcd(*n)
        ours = abcd_limit(counts, model)
        one = abcd_fit(counts, model.closure, fractions)
        scale = float(ours.expected[2])
        free, theirs = build(model, scale, n, -2.0), build(model, scale, n, 0.0)
        order = [list(NAMES).index(name) for name in theirs.config.channels]
        data = [*n[order].tolist(), *theirs.config.auxdata]
        best, _ = pyhf.infer.mle.fit(data, free, return_fitted_val=True)
        signal = scale * float(best[free.config.poi_index])
        settings = (
            theirs.config.suggested_init(),
            theirs.config.suggested_bounds(),
            theirs.config.suggested_fixed(),
        )
        z = math.sqrt(max(float(pyhf.infer.test_statistics.q0(0.0, data, theirs, *settings)), 0.0))
        theirs_all = scale * limits(theirs, data, np.append(ours.observed, ours.expected) / scale)
        ours_all = np.append(ours.observed, ours.expected)
        ratio = float(np.max(np.abs(ours_all / theirs_all - 1.0)))
        error = max(one.error_high, 1e-9)
        ours_z = max(one.z, 0.0)
        worst = max(
            worst, ratio / LIMIT, abs(one.signal - signal) / error / PULL, abs(ours_z - z) / Z
        )
        print(f"{case:4d}  {n.astype(int)!s:28}{model.closure:6g}{model.yield_uncertainty:6g} | "
              f"{one.signal:8.2f}{signal:8.2f} |{ours_z:8.3f}{z:7.3f} | "
              f"{100 * ratio:.3f}%")  # fmt: skip
    return worst


def cover(sets: int) -> float:
    """Print how often limits and intervals cover; return the largest lack of a limit, in sigma."""
    rng = np.random.default_rng(21)
    lack = -np.inf
    model = AbcdModel(Abcd(1.0, 0.1, 0.05, 0.01), 0.1)
    print(f"\ncoverage of {sets} data sets each, closure uncertainty 10%, {TOYS} toys where few:")
    for name, mean, signal in SETS:
        below, inside = 0, 0
        for _ in range(sets):
            k = rng.standard_normal()
            b = np.array(mean)
            b[0] *= (1 + model.closure) ** k
            counts = Abcd(*rng.poisson(b + signal * np.array(model.fractions)).astype(float))
            if sum(counts[1:]) == 0:
                continue
            one = abcd_fit(counts, model.closure, model.fractions)
            low = one.signal + (one.error_low if np.isfinite(one.error_low) else -np.inf)
            high = one.signal + (one.error_high if np.isfinite(one.error_high) else np.inf)
            inside += low <= signal <= high
            limit = abcd_limit(counts, model, rng=rng, n_toys=TOYS)
            below += signal <= limit.observed
        share = below / sets
        lack = max(lack, (0.95 - share) / math.sqrt(0.95 * 0.05 / sets))
        print(f"  {name:22} limit {100 * share:5.1f}%   68% interval {100 * inside / sets:5.1f}%")
    return lack


def main() -> None:
    """Compare, and exit 1 where something differs by more than the limits above."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    sets = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    worst = compare(cases)
    lack = cover(sets)
    print(f"\nlargest difference: {worst:.2f} of what is allowed; too little by {lack:.1f} sigma")
    sys.exit(worst > 1.0 or lack > 3.0)


if __name__ == "__main__":
    main()
