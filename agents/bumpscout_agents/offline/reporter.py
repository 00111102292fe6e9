"""The summary of a finished search by template; numbers are cited, never typed."""

from __future__ import annotations

from pydantic import JsonValue

from bumpscout_agents.schemas import ReporterReply

__all__ = ["write_report"]

_HEADLINES = {
    "excess": "An excess was found",
    "candidate": "A candidate for an excess was found",
    "no-excess": "No excess was found",
    "undecided": "The search is undecided",
}


def write_report(payload: dict[str, JsonValue]) -> ReporterReply:
    """Write headline and paragraphs from the table of results."""
    verdict, results, tasks = payload["verdict"], payload["results"], payload["tasks"]
    if not (isinstance(verdict, dict) and isinstance(results, dict) and isinstance(tasks, list)):
        raise TypeError("the facts for the report are no objects")
    decision = str(verdict.get("verdict"))
    headline = _HEADLINES.get(decision, "The search has ended")
    if "bump-1" in results and decision in ("excess", "candidate"):
        headline += " at {bump-1.mass_gev}"
    if verdict.get("claim") == "exploratory":
        headline += " (exploratory)"
    if verdict.get("larger_p") == "procedure" and "procedure" in results:
        headline += ": procedure p {procedure.value}"
    elif "scan" in results:
        headline += ": scan p {scan.value}"
    if "procedure" in results:
        headline += ", {procedure.n_reached} of {procedure.n_replays} null replays reached it"
    paragraphs = [_searched(results), *_best(results), *_significance(results)]
    if verdict.get("reasons"):
        paragraphs.append("Reasons for the verdict are listed with the guards and p-values.")
    failed = sum(isinstance(task, dict) and task.get("status") != "accepted" for task in tasks)
    if failed:
        paragraphs.append(
            "Not every task succeeded: {tasks.n_failed} of {tasks.n} failed, with their errors in "
            "the table of tasks."
        )
    return ReporterReply(headline=headline + ".", paragraphs=tuple(paragraphs))


def _searched(results: dict[str, JsonValue]) -> str:
    text = (
        "The search scanned {data.n_events} events with dijet masses from {fit.low_gev} to "
        "{fit.high_gev}, in {fit.n_windows} signal windows and {fit.n_cells} cells of window and "
        "anomaly cut."
    )
    return text if "fit" in results else "Nothing could be scanned."


def _best(results: dict[str, JsonValue]) -> list[str]:
    if "bump-1" not in results:
        return ["No cell could be fitted, so no bump is reported."] if "fit" in results else []
    return [
        "The most significant bump lies in {bump-1.low_gev} to {bump-1.high_gev}, after a cut that "
        "keeps {bump-1.efficiency} of the events: {bump-1.n_observed} events are observed where "
        "{bump-1.n_expected} are expected (local p {bump-1.local_p}, local z {bump-1.local_z})."
    ]


def _significance(results: dict[str, JsonValue]) -> list[str]:
    paragraphs = []
    if "scan" in results:
        paragraphs.append(
            "Over all masses, windows and cuts that were scanned, background alone gives such a "
            "maximum with scan p {scan.value} (between {scan.low} and {scan.high}, "
            "{scan.n_toys} toys)."
        )
    if "procedure" in results:
        paragraphs.append(
            "The whole procedure was replayed on pseudo-data without signal: "
            "{procedure.n_reached} of {procedure.n_replays} null replays reached the observation, "
            "procedure p {procedure.value} (between {procedure.low} and {procedure.high})."
        )
    elif "scan" in results:
        paragraphs.append("The procedure was not replayed, so no procedure p is given.")
    return paragraphs
