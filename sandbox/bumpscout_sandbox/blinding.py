"""Staged blinding: which events code may see before a plan is frozen and approved.

Scripts are written against events whose masses are drawn from a smooth fit; exploration scans a
fixed fraction of the events; the others are handed out once, for the frozen plan that was approved,
and only they enter a claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_sandbox.errors import SandboxError
from bumpscout_sandbox.ledger import Ledger
from bumpscout_tools.events.view import View

__all__ = ["EXPLORED_SHARE", "Approver", "BlindingRefused", "Stages", "explored_events"]

EXPLORED_SHARE = 0.2
"""Share of the events that exploration sees under staged blinding."""

Approver = Literal["policy", "person"]


class BlindingRefused(SandboxError):
    """Somebody asked for events that the blinding does not allow; the ledger says so too."""

    exit_code = 7


def explored_events(event_id: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which events exploration may see, by their opaque identifiers."""
    return event_id < np.uint64(int(EXPLORED_SHARE * 2.0**64))


class Stages:
    """The events of a file in the two parts of staged blinding.

    The parts are made from the opaque identifiers, which the vault keys with the seed: copies of an
    event stay together, and the split knows nothing of mass or features.
    """

    def __init__(self, view: View) -> None:
        """Split the events."""
        self._explored = explored_events(view.event_id)
        self._view = view

    @property
    def explored(self) -> View:
        """The fraction that exploration sees."""
        return self._view.select(self._explored)

    def sealed(
        self,
        plan_sha256: str,
        scripts_sha256: Sequence[str],
        approved_by: Approver | None,
        ledger: Ledger,
    ) -> View:
        """Hand out the other events for one approved plan, and write so into the ledger.

        The same plan may be carried out again with the same scripts after an interruption; another
        one may not, nor may the same one with other scripts.

        Raises:
            BlindingRefused: without an approval, or after another plan has seen these events.
        """
        asked: dict[str, JsonValue] = {
            "plan_sha256": plan_sha256,
            "scripts_sha256": list(scripts_sha256),
        }
        opened = [
            body
            for body in ledger.bodies()
            if isinstance(body, dict) and body.get("kind") == "unblinded"
        ]
        other = next((body for body in opened if not asked.items() <= body.items()), None)
        why = None
        if approved_by is None:
            why = "the plan was not approved"
        elif other is not None:
            same = other.get("plan_sha256") == plan_sha256
            why = (
                f"they were unblinded for the plan {str(other.get('plan_sha256'))[:12]}"
                f"{' with other scripts' if same else ''} before"
            )
        if why is not None:
            ledger.append({"kind": "refused", **asked, "why": why})
            raise BlindingRefused(
                f"The blinded events are not handed out for the plan {plan_sha256[:12]}: {why}. "
                "Approve the frozen plan of this run, or start a new search on other data."
            )
        if not opened:
            ledger.append({"kind": "unblinded", **asked, "approved_by": approved_by})
        return self._view.select(~self._explored)
