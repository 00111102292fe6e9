"""Do yield intervals and limits cover? Behind retrained cuts and with fixed scores.

    python validation/searches/yield_coverage.py --work DIR --output FILE

Retrained cuts: the trials of `coverage_trials.py` in DIR. Fixed scores: spectra of a smooth truth
outside the background family, with a Gaussian signal, drawn here; the order of the background is
chosen anew in each. Finished rows are kept in DIR, so the script resumes.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from bumpscout_tools.background import DijetBasis, select_order
from bumpscout_tools.inference import peak_grid
from bumpscout_tools.scan.injection import Yield, fit_error
from bumpscout_tools.scan.layout import Layout
from bumpscout_tools.scan.limits_plan import LimitPlan
from bumpscout_tools.scan.limits_spectrum import CutSpectrum, cut_limits
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.yields import efficiency_spread, null_yield, yield_interval
from bumpscout_tools.statistics import clopper_pearson

PLAN = SearchPlan()
NEAR = 0.05
RETRAINED_WIDTH = 0.04
FIXED_WIDTH = 0.03
FIXED_MASS = 3700.0
FIXED_EVENTS = (50_000, 1500, 500)
FIXED_SIGMAS = (0.0, 1.0, 2.0, 4.0)
TOYS = 500


def layout_of(edges: list[float], window: list[int]) -> Layout:
    """Return the layout of one trial."""
    return Layout(np.array(edges), ((window[0], window[1]),), True, 13000.0, 5)


def near_bins(layout: Layout, mass_gev: float) -> slice:
    """Return the bins of the window within 5% of a mass, as injections count them."""
    first, last = layout.windows[0]
    centres = np.sqrt(layout.edges[1:] * layout.edges[:-1])
    bins = np.flatnonzero(np.abs(centres / mass_gev - 1) < NEAR)
    bins = bins[(bins >= first) & (bins < last)]
    return slice(int(bins[0]), int(bins[-1]) + 1)


def measure(
    layout: Layout, counts: np.ndarray, true: np.ndarray, mass: float, rng: np.random.Generator
) -> tuple[Yield, float]:
    """Return the yield near a mass, and the limit on the whole peak with fluctuations of 1."""
    mask, bins = layout.window_mask(layout.windows[0]), near_bins(layout, mass)
    selection = select_order(
        counts, layout.basis, PLAN.background.orders, PLAN.background.alpha, mask
    )
    n, b = float(counts[bins].sum()), float(selection.fit.expected[bins].sum())
    spread = fit_error(PLAN, layout, counts, selection, mask, bins, rng)
    row = Yield(
        efficiency=None,
        n_observed=int(n),
        n_expected=b,
        error=float(np.sqrt(n + spread**2)),
        n_true=int(true[bins].sum()),
        n_passed=int(true.sum()),
        local_z=0.0,
        believable=selection.believable,
    )
    return row, spread


def limit(
    layout: Layout,
    counts: np.ndarray,
    mass: float,
    relative: float,
    null_width: float,
    rng: np.random.Generator,
) -> float | None:
    """Return the observed 95% limit at a mass, or None where the fit cannot be believed."""
    found = cut_limits(
        CutSpectrum(counts, layout.window_mask(layout.windows[0]), null_width),
        DijetBasis(layout.edges, 13000.0, 6),
        PLAN.background.orders,
        PLAN.background.alpha,
        LimitPlan(widths=(0.0,), resolution=relative, toys=200),
        np.array([mass]),
        rng,
        1,
    )
    return found.rows[0].observed if found.rows else None


def share(k: int, n: int) -> str:
    """Return k of n as a share with its 68% interval."""
    low, high = clopper_pearson(k, n)
    return f"{k / n:.3f} ({low:.3f} to {high:.3f}), n = {n}"


def retrained(work: Path) -> list[str]:
    """Return the table of the trials with retraining."""
    trials = [json.loads(line) for line in (work / "trials.jsonl").read_text().splitlines()]
    kept = work / "measured.jsonl"
    known = {}
    if kept.exists():
        known = {tuple(r["key"]): r for r in map(json.loads, kept.read_text().splitlines())}
    groups = defaultdict(list)
    for trial in trials:
        layout = layout_of(trial["edges"], trial["window"])
        low, high = layout.windows_gev[0]
        if not low <= trial["mass_gev"] < high:
            continue
        for place, spectrum in enumerate(trial["spectra"]):
            key = (trial["mass_gev"], trial["strength"], trial["number"], spectrum["cut"])
            if key not in known:
                rng = np.random.default_rng([7, int(key[0]), int(10 * key[1]), key[2], place])
                counts, true = np.array(spectrum["counts"]), np.array(spectrum["true"])
                row, _ = measure(layout, counts.astype(float), true, key[0], rng)
                values = [
                    limit(layout, counts.astype(float), key[0], RETRAINED_WIDTH, w, rng)
                    for w in ((1.0, 1.3) if key[1] > 0 else ())
                ]
                known[key] = {"key": list(key), "row": row.model_dump(), "limits": values}
                with kept.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(known[key]) + "\n")
            groups[key[0], key[1], key[3]].append(known[key])
    plain, mended, limits = defaultdict(list), defaultdict(list), defaultdict(list)
    for (mass, strength, cut), found in groups.items():
        rows = [Yield.model_validate(one["row"]) for one in found]
        true = np.array([row.n_true for row in rows], dtype=float)
        null = null_yield([Yield.model_validate(one["row"]) for one in groups[mass, 0.0, cut]])
        spread = efficiency_spread(true)
        for one, row in zip(found, rows, strict=True):
            old = row.n_observed - row.n_expected - true.mean()
            plain[cut, strength > 0].append(abs(old) <= row.error)
            value, error = yield_interval(row, null, spread)
            mended[cut, strength > 0].append(abs(value - true.mean()) <= error)
            passed = np.mean([r.n_passed for r in rows])
            for number, observed in enumerate(one["limits"]):
                if strength > 0 and observed is not None:
                    limits[cut, number].append(observed >= passed)
    lines = [
        "## Behind retrained cuts",
        "",
        "Masses 3200, 3700 and 4200 GeV, S/sqrt(B) 1, 2, 3; the cut is trained anew in each trial. "
        "Truth is the mean number of signal events over the trials of one mass, strength and cut. "
        "`counting`: n - b with the Poisson error and that of the fit (the order chosen in its "
        "toys); `all`: with bias and width of trials without signal and the spread of the "
        "efficiency. Limits: on the whole peak, Gaussian of "
        f"{RETRAINED_WIDTH:.0%}; `training` takes a null width of 1.3 into the limit.",
        "",
        "| kept | 68% interval, counting | 68% interval, all | 95% limit above the truth | with "
        "training |",
        "|---|---|---|---|---|",
    ]
    for cut in (None, 0.1, 0.03, 0.01, 0.003):
        cells = [
            share(sum(map(int, of)), len(of)) if of else ""
            for of in (plain[cut, True], mended[cut, True], limits[cut, 0], limits[cut, 1])
        ]
        name = "all" if cut is None else f"{100 * cut:g}%"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def truth(edges: np.ndarray, events: float) -> np.ndarray:
    """Return a smooth spectrum that no order of the family is: exp(-a t - b t^2 - c t^3)."""
    t = np.log(edges / 2700.0)
    fine = np.linspace(t[0], t[-1], 20_001)
    density = np.exp(-6.2 * fine - 1.1 * fine**2 - 0.9 * fine**3 + fine)
    total = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2))
    at = np.diff(np.interp(t, fine, total))
    return events * at / at.sum()


def fixed(work: Path, n: int) -> list[str]:
    """Return the table of fixed scores: n spectra for each strength and size."""
    kept = work / "fixed.jsonl"
    known = {}
    if kept.exists():
        known = {tuple(r["key"]): r for r in map(json.loads, kept.read_text().splitlines())}
    edges = 2718.28 * np.exp(0.02 * np.arange(56))
    window = (13, 19)
    layout = layout_of(edges.tolist(), list(window))
    template = peak_grid([FIXED_MASS], (0.0,), FIXED_WIDTH).templates(edges)[0]
    lines = [
        "## With fixed scores",
        "",
        f"A Gaussian of {FIXED_WIDTH:.0%} at {FIXED_MASS:.0f} GeV on a smooth truth outside the "
        "family; strength in sqrt(B) under the peak, B within 5% of the mass. Intervals near the "
        "mass, limits on the whole peak with the spurious signal as nuisance; the order is chosen "
        "in each spectrum. Limits of spectra whose fit cannot be believed are not counted.",
        "",
        "| events | signal | 68% interval | 95% limit above the truth |",
        "|---|---|---|---|",
    ]
    for events in FIXED_EVENTS:
        mean, bins = truth(edges, events), near_bins(layout, FIXED_MASS)
        for sigmas in FIXED_SIGMAS:
            signal = sigmas * np.sqrt(mean[bins].sum())
            inside = signal * template[bins].sum()
            covered, above, limits = 0, 0, 0
            for number in range(n):
                key = (events, sigmas, number)
                if key not in known:
                    rng = np.random.default_rng([9, events, int(10 * sigmas), number])
                    true = rng.poisson(signal * template)
                    counts = (rng.poisson(mean) + true).astype(float)
                    row, _ = measure(layout, counts, true, FIXED_MASS, rng)
                    value, error = yield_interval(row, None, 0.0)
                    found = limit(layout, counts, FIXED_MASS, FIXED_WIDTH, 1.0, rng)
                    known[key] = {
                        "key": list(key),
                        "covered": bool(abs(value - inside) <= error),
                        "limit": found,
                    }
                    with kept.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(known[key]) + "\n")
                covered += known[key]["covered"]
                if known[key]["limit"] is not None:
                    limits += 1
                    above += known[key]["limit"] >= signal
            lines.append(
                f"| {events} | {signal:.1f} ({sigmas:g} sqrt(B)) | {share(covered, n)} | "
                f"{share(above, limits) if limits else ''} |"
            )
    return [*lines, ""]


def main() -> None:
    """Measure what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--n", type=int, default=250, help="spectra with fixed scores of each kind")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    lines = [
        "# Coverage of yields and limits",
        "",
        "`yield_coverage.py`. Shares with their 68% intervals; 0.683 and at least 0.95 are wanted.",
        "",
        *fixed(options.work, options.n),
        *retrained(options.work),
    ]
    options.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
