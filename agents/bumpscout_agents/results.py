"""The table of results that a report may cite, and the filling in of citations."""

from __future__ import annotations

from pydantic import JsonValue

from bumpscout_agents.records import TaskRecord
from bumpscout_agents.schemas import CITATION
from bumpscout_sandbox.records import FinalScan
from bumpscout_tools.scan.outcome import Cell

__all__ = ["fill", "missing_citations", "result_table", "verdict_facts"]

MAX_BUMPS = 3

Table = dict[str, dict[str, JsonValue]]


def result_table(final: FinalScan, tasks: tuple[TaskRecord, ...]) -> Table:
    """Return the numbers of a finished search by result id and field.

    ``bump-1`` is the best of the ranking; ``test_id`` is its id in the ledger. Energies in GeV.
    """
    outcome, significance = final.outcome, final.significance
    table: Table = {
        "data": {"n_events": outcome.n_events},
        "fit": {
            "low_gev": outcome.fit_range_gev[0],
            "high_gev": outcome.fit_range_gev[1],
            "n_windows": len(outcome.windows_gev),
            "n_cells": len(outcome.cells),
        },
        "tasks": {"n": len(tasks), "n_failed": sum(task.status != "accepted" for task in tasks)},
    }
    for number, index in enumerate(outcome.ranking[:MAX_BUMPS], start=1):
        table[f"bump-{number}"] = _bump(outcome.cells[index])
    scan, procedure = significance.scan_p, significance.procedure_p
    if scan is not None:
        table["scan"] = scan.model_dump(mode="json", exclude={"method"})
    if procedure is not None:
        table["procedure"] = procedure.model_dump(mode="json", exclude={"method"})
    return table


def _bump(cell: Cell) -> dict[str, JsonValue]:
    low, high = cell.interval_gev
    return {
        "test_id": cell.test_id,
        "detector": cell.detector,
        "mass_gev": 0.5 * (low + high),
        "low_gev": low,
        "high_gev": high,
        "efficiency": cell.efficiency,
        "n_observed": cell.n_observed,
        "n_expected": cell.n_expected,
        "local_p": cell.local_p,
        "local_z": cell.local_z,
    }


def verdict_facts(final: FinalScan) -> dict[str, JsonValue]:
    """Return the verdict, its claim and reasons, and which p-value is the larger one."""
    scan, procedure = final.significance.scan_p, final.significance.procedure_p
    larger = None
    if scan is not None:
        larger = "procedure" if procedure and procedure.value >= scan.value else "scan"
    return {**final.verdict.model_dump(mode="json"), "larger_p": larger}


def missing_citations(texts: tuple[str, ...], table: Table) -> list[str]:
    """Return the citations for which the table has no number."""
    return [
        match.group()
        for text in texts
        for match in CITATION.finditer(text)
        if table.get(match[1], {}).get(match[2]) is None
    ]


def fill(text: str, table: Table) -> str:
    """Return a text with each citation replaced by its number, with its unit.

    >>> fill("at {bump-1.mass_gev}", {"bump-1": {"mass_gev": 3512.0}})
    'at 3.51 TeV'
    """
    return CITATION.sub(lambda match: _shown(match[2], table[match[1]][match[2]]), text)


def _shown(field: str, value: JsonValue) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if field.endswith("_gev"):
        return f"{value / 1000:.3g} TeV"
    if field == "efficiency":
        return f"{value * 100:.3g}%"
    if isinstance(value, int):
        return str(value)
    if field == "local_z":
        return f"{value:.1f}"
    return f"{value:.1f}" if field == "n_expected" else f"{value:.2g}"
