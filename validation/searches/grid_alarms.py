"""False alarms of `bumpscout scan` on grids: the p-values of background-only data sets.

    python validation/searches/grid_alarms.py [--sets 200] [--workers 2] > .../grid_alarms.txt

Each set has about 20000 events with up to three masses in three categories, which overlap: nine
spectra at 20 working points, 180 cells. Each event has a leading mass from a power law, another
that equals it in 60% and differs by some 10% otherwise, and a third in 30%; the score knows nothing
of the masses, or (`tilted`) rises gently with them, as that of an autoencoder does. Every set is
scanned as `bumpscout scan` would: start of the fits by the rule `described`, orders p2 to p5 by
likelihood ratio, cells that no fit describes left out.

Warm speed: each set makes one block of 32 scan toys and one of 32 replays of *its own* fitted null,
and its largest local z is ranked among the toys of all the other sets. A p-value that is right is
uniform: the table gives how often it is below 5% and 1% with 68% binomial intervals, and the
Kolmogorov-Smirnov probability. Beside them stands how often the set's own 32 toys alone were all
below the data, and how often the smallest local p would have claimed 3 sigma. A broken null goes
the same way and must fail: toys without recentring, drawn on the data themselves.

Finished sets are lines of `grid_alarms.jsonl` beside this file and are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.detectors.fixed import FixedScores
from bumpscout_tools.events.spectra import SpectraTable
from bumpscout_tools.events.view import View
from bumpscout_tools.scan.grid_layout import grid_events
from bumpscout_tools.scan.grid_scan import scan_grid
from bumpscout_tools.scan.grid_toys import NullGrid, make_block, null_grid
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.serial import SerialExecutor
from bumpscout_tools.statistics import clopper_pearson

Array = NDArray[Any]
KEPT = Path(__file__).with_suffix(".jsonl")
N_DRAWN = 65_000
"""Events from 750 GeV on, so that the smeared masses have no turn-on where the spectra begin."""
LOWEST_GEV = 1000.0
KINDS = ("flat", "tilted")
SHARES = (0.8, 0.5, 0.3)
MASSES, CATEGORIES = ("lead", "near", "rare"), ("a", "b", "c")
PLAN = SearchPlan.model_validate(
    {
        "detectors": [{"name": "column", "features": ["score"]}],
        "spectra": [
            {
                "masses": MASSES,
                "categories": CATEGORIES,
                "min_gev": LOWEST_GEV,
            }
        ],
        "working_points": {"efficiencies": {"from": 1.0, "to": 0.005, "n": 20}},
    }
)


def events(rng: np.random.Generator, kind: str) -> View:
    """Return a background-only data set."""
    n = rng.poisson(N_DRAWN)
    lead = 750.0 * np.exp(rng.exponential(0.22, n))
    other = lead * np.exp(0.1 * rng.standard_normal(n))
    near = np.where(rng.random(n) < 0.6, lead, other)
    rare = np.where(rng.random(n) < 0.3, near, np.nan)
    categories = np.zeros(n, dtype=np.uint64)
    for bit, share in enumerate(SHARES):
        categories |= (rng.random(n) < share).astype(np.uint64) << np.uint64(bit)
    masses = np.stack([lead, near, rare], axis=1)
    score = rng.standard_normal(n) + (0.3 * np.log(lead / 1000.0) if kind == "tilted" else 0.0)
    table = SpectraTable(masses, MASSES, categories, CATEGORIES)
    view = View(np.arange(n, dtype=np.uint64), lead, score[:, None], ("score",), table)
    return view.select(np.nan_to_num(masses).max(axis=1) >= LOWEST_GEV)


def one_set(kind: str, number: int) -> dict[str, Any]:
    """Scan one data set and make its toys."""
    rng = np.random.default_rng((20261122, KINDS.index(kind), number))
    view = events(rng, kind)
    nothing = np.zeros(len(view), dtype=np.bool_)
    found = FixedScores(view.features[:, 0], nothing, nothing)
    scan = scan_grid(PLAN, grid_events(view, [found]), SerialExecutor(), list)
    best = scan.outcome.best()
    null = null_grid(PLAN, scan)
    broken = replace(null, cells=scan.grid.cells)
    return {
        "kind": kind,
        "number": number,
        "z": round(best.local_z, 5) if best else None,
        "local_p": best.local_p if best else 1.0,
        "undescribed": sum(not cell.believable for cell in scan.outcome.cells),
        "cells": len(scan.outcome.cells),
        "scan": _largest(null, "scan", number),
        "replay": _largest(null, "replay", number),
        "not recentred": _largest(broken, "scan", number),
    }


def _largest(null: NullGrid, kind: Literal["scan", "replay"], number: int) -> list[float]:
    return [round(z, 5) for z in make_block(null, kind, number, 0).largest]


def ranks(sets: list[dict[str, Any]], toys: str) -> Array:
    """Return p of each set: its rank among the toys of all the others."""
    z = np.array([-np.inf if one["z"] is None else one["z"] for one in sets])
    pool = np.array([one[toys] for one in sets])
    above = (pool[None] >= z[:, None, None] - 1e-9).sum(axis=2)
    others = above.sum(axis=1) - np.diagonal(above)
    return (others + 1.0) / (pool.size - pool.shape[1] + 1.0)


def row(name: str, p: Array) -> str:
    """Return a line of the table."""
    said = []
    for level in (0.05, 0.01):
        k = int((p <= level).sum())
        low, high = clopper_pearson(k, len(p))
        said.append(f"{k / len(p):6.3f} ({low:.3f}-{high:.3f})")
    ks = stats.kstest(p, "uniform").pvalue
    return f"{name:24s} {len(p):5d}  {'  '.join(said)}  {p.mean():5.3f}  {ks:8.2g}"


def table(sets: list[dict[str, Any]]) -> str:
    """Return the results in words."""
    lines = [
        "p of background-only grids, ranked among the toys of the other sets' fitted nulls",
        f"{'':24s} {'sets':>5s}  {'P(p < 5%)':>20s}  {'P(p < 1%)':>20s}   mean  KS p",
    ]
    for kind in KINDS:
        some = [one for one in sets if one["kind"] == kind]
        if not some:
            continue
        lines += [row(f"{kind}: {toys}", ranks(some, toys)) for toys in ("scan", "replay")]
        lines.append(row(f"{kind}: not recentred", ranks(some, "not recentred")))
        local = np.mean([one["local_p"] < 1.35e-3 for one in some])
        doubted = sum(one["undescribed"] for one in some) / sum(one["cells"] for one in some)
        own = np.mean([all(z < one["z"] for z in one["replay"]) for one in some if one["z"]])
        lines.append(
            f"  smallest local p below 3 sigma: {local:.2f} of the sets; cells that no fit "
            f"describes: {doubted:.3f}; above all of its own 32 replays: {own:.3f} (1/33 is due)"
        )
    return "\n".join(lines)


def main() -> int:
    """Make the sets that are missing, and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200, help="of each kind")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []
    sets = [json.loads(line) for line in lines]
    known = {(one["kind"], one["number"]) for one in sets}
    due = [(k, i) for i in range(options.sets) for k in KINDS if (k, i) not in known]
    with ProcessPoolExecutor(options.workers) as executor, KEPT.open("a") as kept:
        for found in executor.map(one_set, *zip(*due, strict=True)) if due else ():
            kept.write(json.dumps(found) + "\n")
            kept.flush()
            sets.append(found)
    wanted = [one for one in sets if one["number"] < options.sets]
    print(table(wanted))
    good = all(
        stats.kstest(ranks([o for o in wanted if o["kind"] == kind], toys), "uniform").pvalue > 0.01
        for kind in KINDS
        for toys in ("scan", "replay")
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
