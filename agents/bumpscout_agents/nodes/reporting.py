"""Node that writes the summary of a finished search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from bumpscout_agents.dialogue import Dialogue
from bumpscout_agents.errors import ModelFailed, RunStateError
from bumpscout_agents.nodes.scanning import FINAL_FILE
from bumpscout_agents.nodes.tasks import tasks_of
from bumpscout_agents.offline.reporter import write_report
from bumpscout_agents.records import FinalRecord, ReportText, State
from bumpscout_agents.results import fill, missing_citations, result_table, verdict_facts
from bumpscout_agents.rundir import read_record, write_record
from bumpscout_agents.schemas import ReporterReply

if TYPE_CHECKING:
    from bumpscout_agents.services import Services

__all__ = ["REPORT_FILE", "ReportingNodes"]

REPORT_FILE = "summary.json"


class ReportingNodes:
    """Sentences around numbers that are cited."""

    def __init__(self, services: Services, dialogue: Dialogue) -> None:
        """Take what the nodes share."""
        self._services = services
        self._dialogue = dialogue

    def report(self, state: State) -> State:
        """Write the summary; where the model cannot, the template of the offline policy does."""
        final = read_record(self._services.run_dir / FINAL_FILE, FinalRecord)
        if final is None:
            raise RunStateError("The final scan is missing; start a new run.")
        tasks = tuple(tasks_of(state))
        table = result_table(final.scan, tasks)
        facts: dict[str, JsonValue] = {
            "request": {
                "understood": list(state["understood"]),
                "not_understood": list(state["not_understood"]),
            },
            "verdict": verdict_facts(final.scan),
            "tasks": [task.model_dump(mode="json", exclude={"sandbox_s"}) for task in tasks],
            "results": dict(table),
        }

        def accept(reply: ReporterReply) -> None:
            missing = missing_citations((reply.headline, *reply.paragraphs), table)
            if missing:
                raise ValueError(f"the table of results has no {', '.join(missing[:10])}")

        writer = self._services.model.name
        try:
            reply = self._dialogue.ask("reporter", ReporterReply, facts, accept=accept)
        except ModelFailed as error:
            self._services.progress("report", str(error), None, None)
            reply, writer = write_report(facts), "template"
        text = ReportText(
            headline=fill(reply.headline, table),
            paragraphs=tuple(fill(paragraph, table) for paragraph in reply.paragraphs),
            written_by=writer,
        )
        write_record(self._services.run_dir / REPORT_FILE, text)
        self._services.progress("report", text.headline, None, None)
        return {"status": "complete"}
