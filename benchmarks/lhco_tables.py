"""Table and figure of `lhco_detectors.py`, from its finished repetitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CURVE = np.logspace(-4, 0, 81)
CUTS = (0.1, 0.05, 0.01)
KINDS = ("trees", "mlp", "auto")
TITLE = (
    "Detectors on the LHC Olympics R&D data: how much signal they find, flatness, time and memory."
)


def middle(values: list[float]) -> list[float]:
    """Return median, lowest and highest."""
    return [float(np.median(values)), float(min(values)), float(max(values))]


def summarise(
    results: list[tuple[dict[str, Any], dict[str, Any]]], names: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """Return one row for each setting, detector and, for few signal events, classifier."""
    wanted = [
        (setting, name, kind)
        for setting in names
        for name in names[setting]
        for kind in (KINDS if setting == "few-signal" else (None,))
    ]
    rows = []
    for setting, name, kind in wanted:
        found = [r for job, r in results if job["setting"] == setting and job["name"] == name]
        if found:
            rows.append(row_of(setting, name, kind, found))
    return rows


def row_of(
    setting: str, name: str, kind: str | None, found: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return one row."""
    row: dict[str, Any] = {"setting": setting, "name": name, "n": len(found)}
    if kind is not None:
        row["name"] = f"{kind}, {name.removesuffix(' events')}"
    if kind == "auto":
        chosen = ["+".join(r["chosen"]) for r in found]
        row["chosen"] = {what: chosen.count(what) for what in sorted(set(chosen))}
        for value in ("max_sic", "sic_1e-2"):
            better = [max(r[k][value] for k in ("trees", "mlp")) for r in found]
            shares = [r["auto"][value] / best for r, best in zip(found, better, strict=True)]
            row[f"share_of_better_{value}"] = middle(shares)
            of_kinds = [np.median([r[k][value] for r in found]) for k in KINDS]
            row[f"median_over_better_median_{value}"] = float(of_kinds[2] / max(of_kinds[:2]))
        row["significance"] = [r["significance"] for r in found]
    if kind is not None:
        found = [{**r[kind], "peak_mib": r["peak_mib"]} for r in found]
    for value in ("max_sic", "sic_1e-2", "cpu_s", "peak_mib"):
        row[value] = middle([r[value] for r in found])
    curves = np.array([r["curve"] for r in found], dtype=float)
    known = np.isfinite(curves).all(axis=0)
    row["eps_b"] = CURVE[known].tolist()
    for share, label in ((16, "curve_low"), (50, "curve"), (84, "curve_high")):
        row[label] = np.percentile(curves[:, known], share, axis=0).round(4).tolist()
    if "guards" in found[0]:
        fired = [guard for r in found for guard in r["guards"]]
        row["guards"] = {guard: fired.count(guard) for guard in sorted(set(fired))}
        row["flatness_p"] = {
            f"{cut:g}": middle([r["flatness_p"][f"{cut:g}"] for r in found]) for cut in CUTS
        }
    return row


def as_text(rows: list[dict[str, Any]]) -> str:
    """Return the table for people."""
    lines = [
        TITLE,
        "Median (lowest-highest) of n repetitions. CPU seconds of one cross-fit (5 folds, one",
        "window, 64k events) or training, in one thread; MiB: peak memory of each. Flatness:",
        "median chi2 p of the background kept at 10, 5 and 1% against all, in mass, 2.7-4.5 TeV.",
        "few-signal: what auto trained is not trained again, so its row has the CPU of all three.",
        "Guards are those at the time of each repetition (LaCATHODE in shifted: an earlier set).",
        "",
        f"{'setting':12}{'detector':18}{'n':>3}  {'max SIC':20}{'SIC(1e-2)':20}{'CPU s':>7}"
        f"{'MiB':>6}  flatness p                guards that fired",
    ]
    for row in rows:
        spread = [
            f"{mid:.2f} ({low:.2f}-{high:.2f})"
            for mid, low, high in (row["max_sic"], row["sic_1e-2"])
        ]
        flat = " ".join(f"{value[0]:.2g}" for value in row.get("flatness_p", {}).values())
        counts = row.get("guards", {}) | {f"chose {k}": n for k, n in row.get("chosen", {}).items()}
        guards = ", ".join(f"{guard} {n}x" for guard, n in counts.items())
        lines.append(
            f"{row['setting']:12}{row['name']:18}{row['n']:3}  {spread[0]:20}{spread[1]:20}"
            f"{row['cpu_s'][0]:7.1f}{row['peak_mib'][0]:6.0f}  {flat:26}{guards}".rstrip()
        )
        if "chosen" in row:
            shares = [row[f"share_of_better_{value}"] for value in ("max_sic", "sic_1e-2")]
            spread = [f"{mid:.0%} ({low:.0%}-{high:.0%})" for mid, low, high in shares]
            lines.append(f"{'':12}{'  over the better':21}  {spread[0]:20}{spread[1]:20}".rstrip())
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the SIC curves, a panel for each setting."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    settings = list(dict.fromkeys(row["setting"] for row in rows))
    figure, axes = pyplot.subplots(
        1, len(settings), figsize=(4.4 * len(settings), 4.4), squeeze=False, layout="constrained"
    )
    for panel, setting in zip(axes[0], settings, strict=True):
        for row in (row for row in rows if row["setting"] == setting):
            (line,) = panel.plot(row["eps_b"], row["curve"], label=f"{row['name']} (n={row['n']})")
            panel.fill_between(
                row["eps_b"], row["curve_low"], row["curve_high"], alpha=0.2, color=line.get_color()
            )
        curve = CURVE[CURVE >= 1e-3]
        panel.plot(curve, np.sqrt(curve), "k:", label="random")
        panel.set(xscale="log", xlabel=r"$\epsilon_B$", ylabel="SIC", title=setting)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)
