"""Staged blinding: which events code may see before a plan is frozen and approved.

Scripts are written against events whose masses are drawn from a smooth fit; exploration scans a
fixed fraction of the events; the others are handed out once, for the frozen plan that was approved,
and only they enter a claim.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bumpscout_sandbox.errors import SandboxError
from bumpscout_sandbox.ledger import Ledger
from bumpscout_tools.events.view import View

__all__ = ["EXPLORED_SHARE", "Approver", "BlindingRefused", "Stages"]

EXPLORED_SHARE = 0.2
"""Share of the events that exploration sees under staged blinding."""

Approver = Literal["policy", "person"]


class BlindingRefused(SandboxError):
    """Somebody asked for events that the blinding does not allow; the ledger says so too."""

    exit_code = 7


class Stages:
    """The events of a file in the two parts of staged blinding.

    The parts are made from the opaque identifiers, which the vault keys with the seed: copies of an
    event stay together, and the split knows nothing of mass or features.
    """

    def __init__(self, view: View) -> None:
        """Split the events."""
        self._explored = view.event_id < np.uint64(int(EXPLORED_SHARE * 2.0**64))
        self._view = view

    @property
    def explored(self) -> View:
        """The fraction that exploration sees."""
        return self._view.select(self._explored)

    def sealed(self, plan_sha256: str, approved_by: Approver | None, ledger: Ledger) -> View:
        """Hand out the other events for one approved plan, and write so into the ledger.

        The same plan may be carried out again after an interruption; another one may not.

        Raises:
            BlindingRefused: without an approval, or after another plan has seen these events.
        """
        opened = [
            body
            for body in ledger.bodies()
            if isinstance(body, dict) and body.get("kind") == "unblinded"
        ]
        other = next((body for body in opened if body.get("plan_sha256") != plan_sha256), None)
        why = None
        if approved_by is None:
            why = "the plan was not approved"
        elif other is not None:
            why = f"they were unblinded for the plan {str(other.get('plan_sha256'))[:12]} before"
        if why is not None:
            ledger.append({"kind": "refused", "plan_sha256": plan_sha256, "why": why})
            raise BlindingRefused(
                f"The blinded events are not handed out for the plan {plan_sha256[:12]}: {why}. "
                "Approve the frozen plan of this run, or start a new search on other data."
            )
        if not opened:
            ledger.append(
                {"kind": "unblinded", "plan_sha256": plan_sha256, "approved_by": approved_by}
            )
        return self._view.select(~self._explored)
