"""One search in its run folder: what is known so far, and the result that says so at any time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bumpscout.assemble import (
    assemble_evidence,
    bumps_of,
    dataset_of,
    plan_summary,
    task_summaries,
)
from bumpscout.doctor import package_versions, platform_text
from bumpscout.result import Cost, LedgerSummary, Result, Software, write_result
from bumpscout.words import headline

if TYPE_CHECKING:
    from bumpscout.evidence import Examples
    from bumpscout.folder import RunFolder
    from bumpscout_agents.records import SearchRecord
    from bumpscout_sandbox.ledger import Ledger
    from bumpscout_sandbox.vault import Vault
    from bumpscout_tools.scan.limits_scan import ScanLimits

__all__ = ["Session"]


@dataclass
class Session:
    """What a running search knows; every field but the folder may still be missing at its end."""

    folder: RunFolder
    vault: Vault | None = None
    ledger: Ledger | None = None
    provider: str | None = None
    record: SearchRecord | None = None
    examples: Examples | None = None
    limits: ScanLimits | None = None
    started: float = field(default_factory=time.monotonic)

    def finish(
        self, status: Literal["complete", "stopped", "failed"], reason: str | None = None
    ) -> Result:
        """Write ``result.json``, ``evidence.json`` and the reports, and return the result.

        Raises:
            ConfigurationError: if the folder cannot be written.
        """
        from bumpscout.evidence import Evidence, write_evidence
        from bumpscout.report.render import write_report
        from bumpscout.scan_limits import write_limits

        result = self._result(status, reason)
        evidence = Evidence()
        final = self.record.final if self.record else None
        if self.vault is not None:
            evidence = assemble_evidence(
                self.vault.card(),
                final.outcome if final else None,
                final.significance if final else None,
                self.examples,
            )
        path = self.folder.path
        plan = self.record.plan if self.record else None
        if status == "complete":
            write_evidence(path, evidence)
            if self.limits is not None:
                write_limits(path, self.limits)
            write_report(path, result, evidence, plan, self.limits)
            write_result(path, result)
            return result
        # An interrupted search says so even where its report cannot be drawn any more.
        write_result(path, result)
        write_evidence(path, evidence)
        write_report(path, result, evidence, plan)
        return result

    def _result(
        self, status: Literal["complete", "stopped", "failed"], reason: str | None
    ) -> Result:
        record = self.record
        final = record.final if record and status == "complete" else None
        plan = record.frozen.plan if record and record.frozen else record.plan if record else None
        bumps = bumps_of(plan, final.outcome, final.significance) if plan and final else ()
        verdict = final.verdict if final else None
        said = "; ".join(verdict.reasons) if verdict and verdict.reasons else None
        reason = reason or (record.reason if record else None)
        reason = reason or (f"{said[0].upper()}{said[1:]}." if said else None)
        cost = record.cost if record else None
        return Result(
            run_id=self.folder.record.run_id,
            request=self.folder.record.request,
            understood=record.understood if record else (),
            not_understood=record.not_understood if record else (),
            status=status,
            reason=reason,
            dataset=dataset_of(self.vault.card(), final.outcome if final else None)
            if self.vault
            else None,
            plan=plan_summary(plan) if plan else None,
            verdict=verdict.verdict if verdict else None,
            claim=verdict.claim if verdict else None,
            headline=headline(
                verdict.verdict if verdict else None,
                verdict.claim if verdict else None,
                bumps,
                reason,
            ),
            bumps=bumps,
            anomalous=self.examples.differences if self.examples and bumps else None,
            correlation=self.examples.correlation if self.examples and bumps else None,
            ledger=self._ledger_summary(),
            tasks=task_summaries(record.tasks) if record else (),
            cost=Cost(
                model_calls=cost.model_calls if cost else 0,
                prompt_tokens=cost.prompt_tokens if cost else 0,
                completion_tokens=cost.completion_tokens if cost else 0,
                wall_s=round(time.monotonic() - self.started, 3),
                sandbox_s=round(sum(t.sandbox_s for t in record.tasks), 3) if record else 0.0,
            ),
            software=Software(
                versions=package_versions(),
                seed=self.folder.record.options.seed,
                platform=platform_text(),
                sandbox_provider=self.provider,
                model=self.folder.record.options.model,
            ),
        )

    def _ledger_summary(self) -> LedgerSummary | None:
        if self.ledger is None:
            return None
        return LedgerSummary(
            head_sha256=self.ledger.head,
            n_tests=len(self.ledger.test_ids()),
            n_lines=self.ledger.count,
        )
