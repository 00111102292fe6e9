"""Compares simulated events with those of the LHC Olympics R&D file, feature by feature.

    python validation/boxes/compare_lhco.py BOX --lhco FILE [--pool POOL]

BOX is a folder of `bumpscout simulate --labelled --signal mass=3500,x=500,y=100,n=...`, FILE the
feature file of the LHC Olympics R&D data. Writes compare_lhco.md and compare_lhco.png beside this
script. With the pool of make_pool.py, whose events are all finished, it also says whether the early
veto moved anything.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from bumpscout_tools.simulation import dijet_mass, read_features_h5

mpl.use("Agg")
HERE = Path(__file__).resolve().parent
QUANTILES = (0.05, 0.5, 0.95)
LIMITS = {
    "m_jj [GeV]": (2000, 6500),
    "pT of j1 [GeV]": (1150, 2200),
    "lighter jet mass [GeV]": (0, 500),
    "heavier jet mass [GeV]": (0, 900),
    "tau21 of the lighter jet": (0, 1),
    "tau21 of the heavier jet": (0, 1),
    "tau32 of the heavier jet": (0, 1),
    "abs(delta eta)": (0, 3),
}

Table = NDArray[np.void]


def features(table: Table) -> dict[str, NDArray[np.float64]]:
    """Compute what is compared."""
    pt = {j: np.hypot(table[f"px{j}"], table[f"py{j}"]).astype(float) for j in ("j1", "j2")}
    eta = {j: np.arcsinh(table[f"pz{j}"] / pt[j]) for j in ("j1", "j2")}
    ratio = {
        (n, j): table[f"tau{n}{j}"] / np.maximum(table[f"tau{n - 1}{j}"], 1e-5)
        for n in (2, 3)
        for j in ("j1", "j2")
    }
    first_lighter = table["mj1"] < table["mj2"]
    values = (
        dijet_mass(table),
        np.maximum(pt["j1"], pt["j2"]),
        np.minimum(table["mj1"], table["mj2"]),
        np.maximum(table["mj1"], table["mj2"]),
        np.where(first_lighter, ratio[2, "j1"], ratio[2, "j2"]),
        np.where(first_lighter, ratio[2, "j2"], ratio[2, "j1"]),
        np.where(first_lighter, ratio[3, "j2"], ratio[3, "j1"]),
        np.abs(eta["j1"] - eta["j2"]),
    )
    return dict(zip(LIMITS, (np.asarray(v, dtype=float) for v in values), strict=True))


def quantiles(values: NDArray[np.float64]) -> str:
    """Write three quantiles."""
    return " / ".join(f"{q:.3g}" if q < 10 else f"{q:.0f}" for q in np.quantile(values, QUANTILES))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("box", type=Path)
    parser.add_argument("--lhco", type=Path, required=True)
    parser.add_argument("--pool", type=Path)
    arguments = parser.parse_args()
    ours, theirs = read_features_h5(arguments.box / "box.h5"), read_features_h5(arguments.lhco)
    lines = [
        "# Simulated events beside those of the LHC Olympics R&D data",
        "",
        "Made by `compare_lhco.py` beside it; 5%, 50% and 95% quantiles, and the KS distance",
        "(largest difference of the cumulative distributions). The R&D data come from another",
        "detector simulation (Delphes) and another choice of subjettiness axes.",
    ]
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(17, 8))
    for label, name, colour in ((0, "background", "C0"), (1, "signal", "C3")):
        a, b = features(ours[ours["label"] == label]), features(theirs[theirs["label"] == label])
        n = len(next(iter(a.values()))), len(next(iter(b.values())))
        lines += [
            "",
            f"## {name.capitalize()}: {n[0]} simulated, {n[1]} LHC Olympics events",
            "",
            "| feature | simulated | LHC Olympics | KS distance |",
            "|---|---|---|---|",
        ]
        for axis, key in zip(axes.flat, LIMITS, strict=True):
            distance = ks_2samp(a[key], b[key]).statistic
            cells = (key, quantiles(a[key]), quantiles(b[key]))
            lines.append(f"| {' | '.join(cells)} | {distance:.3f} |")
            bins = np.linspace(*LIMITS[key], 41)
            axis.hist(b[key], bins, density=True, color=colour, alpha=0.3, label=f"{name}, LHCO")
            axis.hist(
                a[key],
                bins,
                density=True,
                histtype="step",
                color=colour,
                lw=1.6,
                label=f"{name}, simulated",
            )
            axis.set_xlabel(key)
            axis.set_yticks([])
    axes.flat[0].legend(fontsize=9)
    figure.tight_layout()
    figure.savefig(HERE / "compare_lhco.png", dpi=70)
    if arguments.pool is not None:
        chunks = sorted((arguments.pool / "background").glob("chunk_*.npz"))[:20]
        pool = np.concatenate([np.load(chunk)["events"] for chunk in chunks])
        a, b = features(ours[ours["label"] == 0]), features(pool)
        lines += [
            "",
            f"## The early veto: background with it, and {len(pool)} events without",
            "",
            "| feature | with the veto | without | KS p |",
            "|---|---|---|---|",
        ]
        for key in LIMITS:
            p = ks_2samp(a[key], b[key]).pvalue
            cells = (key, quantiles(a[key]), quantiles(b[key]))
            lines.append(f"| {' | '.join(cells)} | {p:.2g} |")
    (HERE / "compare_lhco.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
