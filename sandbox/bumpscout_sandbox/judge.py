"""What the gate objects to before it decides: exploration left out, and scripts nobody vetted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bumpscout_sandbox.engine import Claim, ScanEngine
from bumpscout_sandbox.ledger import TORN, Ledger
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.scan.outcome import Cell, ScanOutcome, Verdict
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

if TYPE_CHECKING:
    from bumpscout_tools.detectors.guards import GuardReport
    from bumpscout_tools.scan.significance import FinalSignificance

__all__ = ["Judge", "detector_of", "unplanned_tests"]


def unplanned_tests(ledger: Ledger, outcome: ScanOutcome) -> tuple[str, ...]:
    """Return the objection that tests of the exploration are not part of the final scan, if any."""
    known = {test for test in ledger.test_ids() if not test.startswith(TORN)}
    others = len(known - {cell.test_id for cell in outcome.cells})
    if not others:
        return ()
    return (
        f"{others} tests of the exploration are not part of the final plan, so neither scan p "
        "nor replays account for them",
    )


@dataclass(frozen=True)
class Judge:
    """Decides about one final scan.

    Attributes:
        engine: the scan.
        plan: the frozen plan.
        significance: scan p and procedure p.
        claim: see `bumpscout_sandbox.gate.Gate.final`.
        objections: reasons why nothing may be claimed.
        unvetted: numbers of the detectors whose scripts the vetted library did not write.
        controls: runs the scripts again on the same events with moved values and smooth masses.
    """

    engine: ScanEngine
    plan: SearchPlan
    significance: FinalSignificance
    claim: Claim
    objections: tuple[str, ...]
    unvetted: frozenset[int]
    controls: Callable[[Cell], tuple[GuardReport, ...]]

    def decide(self, outcome: ScanOutcome) -> tuple[ScanOutcome, Verdict]:
        """Return the outcome with all its guards, and the verdict.

        A bump behind a script that nobody vetted claims something only after the controls; they
        are not run where nothing would be claimed anyway.
        """
        verdict = self._verdict(outcome)
        best = outcome.best()
        claims = verdict.verdict in ("excess", "candidate")
        if best is None or not claims or best.detector_index not in self.unvetted:
            return outcome, verdict
        guards = (*outcome.guards.get(best.test_id, ()), *self.controls(best))
        outcome = outcome.model_copy(update={"guards": {**outcome.guards, best.test_id: guards}})
        return outcome, self._verdict(outcome)

    def _verdict(self, outcome: ScanOutcome) -> Verdict:
        return self.engine.decide(
            self.plan, outcome, self.significance, self.claim, self.objections
        )


def detector_of(plan: SearchPlan, index: int) -> DetectorPlan:
    """Return one detector of a plan.

    Raises:
        ConfigurationError: if there is none of that number.
    """
    if not 0 <= index < len(plan.detectors):
        raise ConfigurationError(
            f"There is no detector number {index} in a plan of {len(plan.detectors)}."
        )
    return plan.detectors[index]
