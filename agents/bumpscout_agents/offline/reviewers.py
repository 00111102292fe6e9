"""Reviews by rule: a script by its static findings, a run by what the sandbox reported."""

from __future__ import annotations

from pydantic import JsonValue

from bumpscout_agents.quoting import cap, last_line
from bumpscout_agents.schemas import Finding, ReviewReply
from bumpscout_agents.static_checks import blocked, check_script

__all__ = ["review_code", "review_run"]

_REMEDIES = {
    "timeout": "Train fewer or smaller models, and leave no loop without an end.",
    "memory": "Work on fewer columns or in blocks.",
    "processes": "Start no processes; use task.n_jobs threads.",
    "disk": "Write only the declared artifacts.",
}


def review_code(payload: dict[str, JsonValue]) -> ReviewReply:
    """Review a script by the static checks alone."""
    script = payload["script"]
    if not isinstance(script, str):
        raise TypeError("the script is no text")
    findings = check_script(script)
    return ReviewReply(findings=tuple(findings), approve=not blocked(findings))


def review_run(payload: dict[str, JsonValue]) -> ReviewReply:
    """Review a run: it ended well, its artifacts were accepted, its summary fits the task."""
    run = payload["run"]
    if not isinstance(run, dict):
        raise TypeError("the report of the run is no object")
    findings: list[Finding] = []
    outcome = str(run.get("outcome"))
    if outcome != "ok":
        message = f"The script ended with: {outcome}. {last_line(str(run.get('stderr', '')))}"
        remedy = _REMEDIES.get(outcome, "Mend the error that the traceback names.")
        findings.append(Finding(severity="blocker", message=message.strip(), remedy=remedy))
    problems = run.get("problems")
    for problem in problems if isinstance(problems, list) else []:
        findings.append(
            Finding(
                severity="blocker",
                message=cap(str(problem), 1000) or "An artifact was refused.",
                remedy="Write the artifacts as the contract of the script says.",
            )
        )
    if not run.get("accepted") and not findings:
        message = "The artifacts of the run were not accepted."
        remedy = "Write the artifacts as the contract of the script says."
        findings.append(Finding(severity="blocker", message=message, remedy=remedy))
    if "Warning" in str(run.get("stderr", "")):
        findings.append(
            Finding(
                severity="minor",
                message=f"The run warned: {last_line(str(run.get('stderr')))}",
                remedy="Look whether the warning concerns the scores.",
            )
        )
    return ReviewReply(findings=tuple(findings), approve=not blocked(findings))
