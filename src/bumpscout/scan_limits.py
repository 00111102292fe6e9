"""Limits of a search or scan: made from the scores that were kept, written to ``limits.json``."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bumpscout.files import read_model
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic
from bumpscout_tools.scan.limits_scan import MAX_ROWS, PointLimits, ScanLimits

if TYPE_CHECKING:
    from bumpscout.console import Progress
    from bumpscout.session import Session

__all__ = [
    "LIMITS_FILE",
    "find_limits",
    "limit_lines",
    "limits_json_schema",
    "read_limits",
    "write_limits",
]

LIMITS_FILE = "limits.json"
MAX_WIDTHS = 10
MAX_LINES = 24
"""Working points that the report names one by one; the figure and the file hold all."""


def find_limits(session: Session, executor: Executor, progress: Progress) -> None:
    """Let the session know the limits of its final scan, from the scores that were kept.

    A detector whose scores are not at hand has none; staged blinding leaves only the events of the
    claim.
    """
    from bumpscout_sandbox.store import ScoreStore, content_key
    from bumpscout_tools.scan.execute import prepare
    from bumpscout_tools.scan.limits_scan import scan_limits

    record = session.record
    if record is None or record.final is None or record.frozen is None or session.vault is None:
        return
    plan, outcome = record.frozen.plan, record.final.outcome
    seed = session.folder.record.options.seed
    if not plan.limits.widths or not outcome.windows_gev:
        return
    progress("limits", "upper limits at every working point")
    prepared = prepare(plan, session.vault.searched(), np.random.default_rng(seed))
    store = ScoreStore(session.folder.path / "cache")
    scores = []
    for detector, task in zip(plan.detectors, prepared.tasks, strict=True):
        script = store.accepted(detector)
        key = content_key(script, prepared.view, task) if script is not None else None
        found = store.load_scores(key, len(prepared.view), task.windows_gev) if key else None
        scores.append(found)
    session.limits = scan_limits(
        plan,
        prepared,
        scores,
        record.final.significance.calibration,
        seed=seed,
        luminosity_share=outcome.luminosity_share,
        executor=executor,
        progress=partial(progress, "limits", "spectra with limits"),
    )


def write_limits(folder: Path, limits: ScanLimits) -> None:
    """Write ``limits.json`` atomically.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    write_atomic(folder / LIMITS_FILE, limits.model_dump_json() + "\n")


def read_limits(folder: Path) -> ScanLimits | None:
    """Read ``limits.json`` of a run folder, or None where there is none.

    Raises:
        ConfigurationError: if the file does not follow the schema, or cannot be drawn.
    """
    path = folder / LIMITS_FILE
    if not path.exists() and not path.is_symlink():
        return None
    limits = read_model(path, ScanLimits)
    rows = [row for p in limits.points for w in p.windows for row in w.limits.rows]
    values = [value for row in rows if row.expected for value in (row.observed or 0, *row.expected)]
    impossible = any(row.mass_gev <= 0 for row in rows) or min(values, default=0.0) < 0
    if impossible or len(rows) > MAX_ROWS or not 1 <= len(limits.widths) <= MAX_WIDTHS:
        raise ConfigurationError(
            f"{path} holds impossible limits or too many; it was not written by us."
        )
    return limits


def limit_lines(limits: ScanLimits) -> list[str]:
    """Return what the limits say, for the report: meaning, the strongest, and what is missing."""
    lines = [f"{sentence}." for sentence in limits.meaning]
    lines.append(
        f"Gaussian signals, {100 * limits.level:g}% CL, mass resolution "
        f"{100 * limits.resolution:.3g}% added to the width; limits are in "
        + (
            "events, because no luminosity is known."
            if limits.pb_per_event is None
            else f"pb at {limits.luminosity_fb:g}/fb."
        )
    )
    lines += [_point_line(limits, point) for point in limits.points[:MAX_LINES]]
    if len(limits.points) > MAX_LINES:
        lines.append(f"{len(limits.points) - MAX_LINES} more are in {LIMITS_FILE}.")
    return lines


def _point_line(limits: ScanLimits, point: PointLimits) -> str:
    name = (
        "All events"
        if point.detector is None
        else f"{point.detector}, {100 * point.efficiency:.3g}% kept"
    )
    if point.spectrum is not None:
        name = f"{point.spectrum}: {name}"
    rows = point.rows(limits.widths[0])
    good = [row for row in rows if row.observed is not None and row.expected is not None]
    by_toys = sum(w.limits.n_by_toys for w in point.windows)
    wanted = sum(w.limits.n_toys_wanted for w in point.windows)
    if not good:
        return f"{name}: no limit, no fit can be believed."
    scale, unit = (limits.pb_per_event, "pb") if limits.pb_per_event else (1.0, "events")
    ends = " and ".join(
        f"{row.observed * scale:.3g} {unit} at {row.mass_gev / 1000:.2f} TeV "
        f"({row.expected[2] * scale:.3g} expected)"
        for row in ([good[0], good[-1]] if len(good) > 1 else good)
        if row.observed is not None and row.expected is not None
    )
    missing = len(rows) - len(good)
    told = f"; at {missing} of {len(rows)} masses no fit can be believed" if missing else ""
    if wanted:
        told += f"; {by_toys} of {wanted} limits over few events are from toys"
    return f"{name}: {ends}{told}."


def limits_json_schema() -> str:
    """Return the JSON schema of ``limits.json`` as text."""
    schema: dict[str, Any] = ScanLimits.model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
