"""The decision: what may be said of the best bump, by the rule of the design."""

from __future__ import annotations

from typing import Literal

from scipy.stats import norm

from bumpscout_tools.detectors.settings import ColumnSettings
from bumpscout_tools.scan.outcome import ProcedureP, ScanOutcome, ScanP, Verdict
from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.significance import FinalSignificance, NullSummary

__all__ = ["Decision", "decide", "decision", "null_objections"]

Decision = Literal["excess", "candidate", "no-excess", "undecided"]

FULL_REPLAYS = 200
EXCESS_BELOW = 0.01
MAX_CLOSURE_AUC = 0.53
MAX_CLOSURE_AUC_TOP = 0.6
CLOSURE_ERRORS = 4.0
MIN_NULL_FIT_P = 0.001
NO_EXCESS_ABOVE = 0.05


def decide(
    plan: SearchPlan,
    outcome: ScanOutcome,
    significance: FinalSignificance,
    *,
    claim: Literal["confirmatory", "exploratory"] = "exploratory",
    objections: tuple[str, ...] = (),
) -> Verdict:
    """Decide between excess, candidate, no-excess and undecided.

    Scan p not below that of `plan.significance_for_claim` sigma is no excess. Below it, a guard
    that fired, an undescribed spectrum, uncalibrated scores, a score column of unknown origin, a
    detector of the plan that left no scores, or another objection leave the search undecided; else
    with at least 200 replays (or an early stop by their rule) procedure p decides, and with fewer
    the bump is a candidate if no replay reached it.

    Args:
        plan: the search plan.
        outcome: what the scan found.
        significance: scan p and procedure p.
        claim: whether the plan was frozen, or replayed with all its choices.
        objections: further reasons why nothing may be claimed.
    """
    best, scan_p, procedure = outcome.best(), significance.scan_p, significance.procedure_p
    if best is None or scan_p is None:
        reason = "no cell has a background fit that can be believed"
        return Verdict(verdict="undecided", claim=claim, reasons=(reason, *objections))
    reasons = list(objections)
    if not outcome.described:
        reasons.append("no order of the background family describes the inclusive spectrum")
    reasons += [guard.message for guard in outcome.guards.get(best.test_id, ()) if guard.fired]
    reasons += null_objections(significance.null, significance.failure)
    settings = plan.detectors[best.detector_index].settings
    if isinstance(settings, ColumnSettings) and not settings.independent:
        reasons.append(
            "how the score column was made cannot be checked here: declare `independent: true` in "
            "the detector's settings if it knows neither these events nor the scanned masses"
        )
    if plan.n_lost:
        reasons.append(
            f"{plan.n_lost} detectors of the plan left no scores, so neither scan p nor replays "
            "hold what they would have found"
        )
    if not significance.calibration.n_replays and not plan.spectra:
        reasons.append("scores held fixed: too few replays to calibrate the detector's null")
    few_toys = _too_few_toys(plan, scan_p)
    if few_toys is not None:
        reasons.append(few_toys)
    undescribed = not outcome.described or bool(objections)
    verdict = decision(plan, scan_p, procedure, objected=bool(reasons), undescribed=undescribed)
    return Verdict(verdict=verdict, claim=claim, reasons=tuple(reasons))


def decision(
    plan: SearchPlan,
    scan_p: ScanP,
    procedure: ProcedureP | None,
    *,
    objected: bool,
    undescribed: bool,
) -> Decision:
    """Return the verdict that p-values and objections leave; see `decide`.

    Args:
        plan: the search plan.
        scan_p: of the search.
        procedure: procedure p, None without replays.
        objected: whether anything speaks against a claim.
        undescribed: whether something speaks against saying that there is no excess.
    """
    if _too_few_toys(plan, scan_p) is not None:
        return "undecided"
    if scan_p.value >= float(norm.sf(plan.significance_for_claim)):
        return "undecided" if undescribed else "no-excess"
    if objected or procedure is None:
        return "undecided"
    if procedure.n_replays >= FULL_REPLAYS or procedure.stopped_early:
        if procedure.value <= EXCESS_BELOW:
            return "excess"
        return "no-excess" if procedure.value > NO_EXCESS_ABOVE else "undecided"
    return "candidate" if procedure.n_reached == 0 else "undecided"


def _too_few_toys(plan: SearchPlan, scan_p: ScanP) -> str | None:
    threshold = float(norm.sf(plan.significance_for_claim))
    if scan_p.value >= threshold and 1.0 / (scan_p.n_toys + 1) >= threshold > scan_p.low:
        return (
            f"{scan_p.n_toys} toys cannot show a scan p below {threshold:.2g}: more toys are needed"
        )
    return None


def null_objections(null: NullSummary | None, failure: str | None = None) -> list[str]:
    """Return why a null generator supports no claim; nothing for one that closes, or for none.

    Args:
        null: how it was made and how it closes.
        failure: why it could not be made.
    """
    if failure is not None:
        return [failure]
    if null is None:
        return []
    objections = []
    closure = null.closure
    for name, auc, error, limit in (
        ("all", closure.auc, closure.auc_error, MAX_CLOSURE_AUC),
        ("the rarest", closure.auc_top, closure.auc_top_error, MAX_CLOSURE_AUC_TOP),
    ):
        if auc > limit and auc - 0.5 > CLOSURE_ERRORS * error:
            objections.append(
                f"a classifier tells {name} events of the null generator from real ones "
                f"(AUC {auc:.3f})"
            )
    if null.fit_p < MIN_NULL_FIT_P:
        objections.append(
            f"the spectrum of the null generator does not describe the data (p = {null.fit_p:.1g})"
        )
    return objections
