"""Uniformity of the bump hunt's global p on background-only data sets, and of broken nulls.

    python validation/statistics/uniformity.py --work DIR [--sets 20000] [--processes 2]

Each data set is drawn from a known truth and hunted by `hunt_spectrum`, which estimates the null
from that data set alone and ranks it among its own toys. p is randomised, (k + u) / (n + 1) for k
of n toys above the data, equal ones put above or below at random and u even in 0..1, so that it is
exactly uniform under a right null. The first 2000 data sets of a case get 199 toys (KS test); for
the tails every data set gets 49, those with p < 0.25 then 199, and those with p < 0.06 then 999: a
p below 0.01 is not lost on the way.

Cases: a known background, a p3 refitted to each toy, and the order chosen anew in each toy, each
where the median window expects 1, 10 and 100 events; and the choice of the order where it is
hardest, at truths whose last term is just too small to be taken reliably (the spectra of p4 and p5
are fits to ATLAS' 139/fb, arXiv:1910.08447). The broken nulls must fail the KS test: a fit shifted
by a quarter of a bin, toys that are not refitted, toys drawn from the data instead of from their
fit, and toys of the chosen order itself.

Chunks of 50 data sets are cached as JSON lines in DIR, so that a run can be stopped and resumed;
`uniformity.txt` and `uniformity.png` beside this file are written from what is there, at the end
or with --report. Exit code 1 where a right null fails (KS p below 0.01, or more p in a tail than 3
binomial standard deviations allow, or less than half of what it should hold) or a broken one
passes. A tail that holds fewer than 3 standard deviations allow is called conservative.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bumpscout_tools.background import DijetBasis, Spectrum, hunt_spectrum, make_model
from bumpscout_tools.statistics import bin_windows, hunt_batch

Array = NDArray[Any]

SQRT_S = 13000.0
EDGES = np.geomspace(1100.0, 8000.0, 51)
WINDOWS = bin_windows(50)
CHUNK = 50
KS_SETS, KS_TOYS = 2000, 199
STAGES = ((49, 0.25), (KS_TOYS, 0.06), (999, 0.0))
TAILS = (0.01, 0.001)
SHAPES = {
    "p3": (8.528789745537827, -5.174975127285967),
    "p4": (7.762149682698954, -5.608654379999839, -0.07649819748623751),
    "p5": (9.401218164125629, -3.6463415797468652, 0.6174646508178758, 0.08899323422975847),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A truth, the background that is fitted, whether tails are measured, and what is broken."""

    truth: str
    events: float
    model: str
    tails: bool = False
    broken: str = ""

    @property
    def name(self) -> str:
        """Return the name under which it is cached."""
        return f"{self.model}_{self.truth}_{self.events:g}" + (
            f"_{self.broken.replace(' ', '-')}" if self.broken else ""
        )


@lru_cache
def truth_of(shape: str, events: float) -> Array:
    """Return the expected counts (50,) of a shape with so many events."""
    raw = np.array([0.0, *SHAPES[shape]])
    basis = DijetBasis(EDGES, SQRT_S, raw.size)
    mean = basis.expected(np.linalg.solve(basis.exponents(raw.size), raw))
    total: Array = events * mean / mean.sum()
    return total


def events_for(window: float) -> float:
    """Return the events of a p3 whose median window expects `window` of them."""
    total = np.append(0.0, np.cumsum(truth_of("p3", 1.0)))
    return round(float(window / np.median(total[WINDOWS.stops] - total[WINDOWS.starts])))


BY_WINDOW = {window: events_for(window) for window in (1.0, 10.0, 100.0)}
RIGHT = (
    *(
        Case("p3", events, model, tails=True)
        for model in ("expected", "p3", "auto")
        for events in BY_WINDOW.values()
    ),
    Case("p4", 300.0, "p4"),
    Case("p3", 300.0, "auto"),
    Case("p4", 1e6, "auto"),
    Case("p4", 4e6, "auto"),
    Case("p5", 1e6, "auto"),
    Case("p5", 2e7, "auto"),
)
BROKEN = (
    Case("p3", BY_WINDOW[10.0], "p3", broken="shifted fit"),
    Case("p3", BY_WINDOW[10.0], "p3", broken="not refitted"),
    Case("p3", BY_WINDOW[10.0], "p3", broken="drawn from the data"),
    Case("p3", 300.0, "auto", broken="chosen order"),
    Case("p4", 4e6, "auto", broken="chosen order"),
)


def randomised(z: float, toy_z: Array, rng: np.random.Generator) -> float:
    """Return the randomised p of z among toys (n,)."""
    same = np.abs(toy_z - z) <= 1e-9 * max(1.0, abs(z))
    above = np.count_nonzero((toy_z > z) & ~same) + rng.integers(np.count_nonzero(same) + 1)
    return float((above + rng.random()) / (toy_z.size + 1))


def p_of(case: Case, counts: Array, n_toys: int, rng: np.random.Generator) -> float:
    """Return the randomised global p of counts (50,)."""
    model = make_model(case.model, Spectrum(EDGES, counts, truth_of(case.truth, case.events)))
    if case.broken in {"", "not refitted"}:
        found = hunt_spectrum(
            counts,
            model,
            WINDOWS,
            n_toys=n_toys,
            refit=not case.broken,
            seed=int(rng.integers(1 << 62)),
        )
        return randomised(found.threshold_z, found.toy_z, rng)
    null = model.fit(counts[None]).expected[0]
    data_against = null
    if case.broken == "shifted fit":
        at = np.arange(50.0)
        null = data_against = np.exp(np.interp(at - 0.25, at, np.log(null)))
    elif case.broken == "drawn from the data":
        null = counts
    toys = rng.poisson(null, (n_toys, 50)).astype(np.float64)
    toy_z = hunt_batch(toys, model.fit(toys).expected, WINDOWS).z
    return randomised(float(hunt_batch(counts[None], data_against, WINDOWS).z[0]), toy_z, rng)


def chunk_of(case: Case, chunk: int) -> dict[str, Any]:
    """Return the p-values of 50 data sets: for the KS test, and for the tails."""
    seed = [*case.name.encode(), chunk]
    rng = np.random.default_rng(seed)
    sets = rng.poisson(truth_of(case.truth, case.events), (CHUNK, 50)).astype(np.float64)
    central = chunk < KS_SETS // CHUNK
    ks: list[float] = []
    tail: list[float] = []
    for counts in sets:
        if counts.sum() == 0:
            # Nothing to search: no excess at all.
            ks, tail = [*ks, 1.0], [*tail, 1.0]
            continue
        for n_toys, enough in STAGES if not central else STAGES[1:]:
            p = p_of(case, counts, n_toys, rng)
            if central and n_toys == KS_TOYS:
                ks.append(p)
            if p >= enough or not case.tails:
                break
        tail.append(p)
    return {"case": case.name, "chunk": chunk, "ks": ks, "tail": tail}


def read(work: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the chunks that are cached, by case and number; a torn last line is passed over."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in sorted(work.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[record["case"], record["chunk"]] = record
    return found


def compute(work: Path, n_sets: int, processes: int) -> None:
    """Make the chunks that are missing; those of the KS tests first."""
    work.mkdir(parents=True, exist_ok=True)
    done = read(work)
    jobs = [
        (case, chunk)
        for first, last in ((0, KS_SETS // CHUNK), (KS_SETS // CHUNK, n_sets // CHUNK))
        for chunk in range(first, last)
        for case in (*RIGHT, *BROKEN)
        if (first == 0 or case.tails) and (case.name, chunk) not in done
    ]
    with (
        ProcessPoolExecutor(processes) as pool,
        (work / "chunks.jsonl").open("a", encoding="utf-8") as out,
    ):
        # A line that a kill tore ends here.
        out.write("\n")
        waiting = [pool.submit(chunk_of, case, chunk) for case, chunk in jobs]
        for future in as_completed(waiting):
            out.write(json.dumps(future.result()) + "\n")
            out.flush()


def report(work: Path, folder: Path) -> bool:
    """Write the table and the figure; return whether right nulls pass and broken ones fail."""
    found = read(work)
    lines = [
        "expected: a known background; p3, p4: refitted; auto: the order chosen among p2 to p6",
        f"{'truth':5s} {'events':>8s} {'background':10s} {'sets':>6s} {'KS p':>8s} {'distance':>8s}"
        "   fraction of p below 0.01, 0.001 (off by standard deviations), of sets",
    ]
    good = True
    curves: dict[Case, Array] = {}
    for case in (*RIGHT, *BROKEN):
        rows = [record for (name, _), record in sorted(found.items()) if name == case.name]
        ks = np.array([p for record in rows for p in record["ks"]])
        if ks.size == 0:
            lines.append(f"{case.name}: not measured")
            good = False
            continue
        test = stats.kstest(ks, "uniform")
        row = (
            f"{case.truth:5s} {case.events:8g} {case.model:10s} {ks.size:6d} {test.pvalue:8.2g} "
            f"{test.statistic:8.3f}"
        )
        passes = bool(test.pvalue > 0.01) and ks.size >= KS_SETS
        conservative = False
        if case.tails:
            tail = np.array([p for record in rows for p in record["tail"]])
            for a in TAILS:
                fraction = float(np.mean(tail < a))
                off = (fraction - a) / np.sqrt(a * (1 - a) / tail.size)
                low = off < -3.0
                passes &= off <= 3.0 and not (low and fraction < 0.5 * a)
                conservative |= low
                row += f"  {fraction:.5f} ({off:+.1f})"
            row += f"  {tail.size}"
        if case.broken:
            good &= not passes
            row += (
                f"  BROKEN, {case.broken}: {'passes, although it must not' if passes else 'fails'}"
            )
        else:
            good &= passes
            row += ("  ok, conservative" if conservative else "  ok") if passes else "  FAILS"
        lines.append(row)
        curves[case] = np.sort(ks)
    lines.append(f"right nulls pass and broken ones fail: {good}")
    (folder / "uniformity.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(curves, folder / "uniformity.png")
    return good


def draw(curves: dict[Case, Array], path: Path) -> None:
    """Draw the cumulative distributions less their expectation, right nulls and broken ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    grid = np.linspace(0.0, 1.0, 201)
    kinds = {"expected": ("known background", "C0"), "auto": ("order chosen in each toy", "C2")}
    told: set[str] = set()
    for case, p in curves.items():
        below = np.searchsorted(p, grid) / p.size - grid
        if case.broken:
            label, colour = f"{case.broken} ({case.events:g} events)", None
        else:
            label, colour = kinds.get(case.model, ("refitted in each toy", "C1"))
        axis = axes[1] if case.broken else axes[0]
        axis.plot(grid, below, lw=1.0, color=colour, label=None if label in told else label)
        told.add(label)
    for axis, title in zip(axes, ("right nulls", "broken nulls"), strict=True):
        # The band that the largest distance of 2000 even values leaves once in a hundred.
        band = 1.628 / np.sqrt(KS_SETS)
        axis.axhspan(-band, band, color="0.9", zorder=0)
        axis.set_xlabel("global p")
        axis.set_ylabel("fraction of data sets below p, less p")
        axis.set_title(f"{title}; band: KS p > 0.01 for {KS_SETS} data sets", fontsize=9)
        axis.legend(fontsize=8, frameon=False)
    axes[0].set_ylim(-0.08, 0.08)
    figure.savefig(path, dpi=75, pil_kwargs={"optimize": True})


def main() -> int:
    """Compute what is missing, write the report; return the exit code."""
    parser = argparse.ArgumentParser(description="Uniformity of global p-values.")
    parser.add_argument("--work", type=Path, required=True, help="folder of the cached chunks")
    parser.add_argument("--sets", type=int, default=20_000, help="data sets for the tails")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="only write the report")
    options = parser.parse_args()
    if not options.report:
        compute(options.work, options.sets, options.processes)
    return 0 if report(options.work, Path(__file__).parent) else 1


if __name__ == "__main__":
    sys.exit(main())
