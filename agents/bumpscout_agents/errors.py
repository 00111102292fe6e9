"""The errors of the agents room, as one tree.

::

    AgentError               base of this room                                            (5)
    |- ModelFailed           a model gave no usable reply, also after repairs             (5)
    |- NoTaskSucceeded       every task of the plan failed                                (5)
    |- RunStateError         the saved state of a run cannot be used                      (3)
    `- WaitingForApproval    the frozen plan waits for a person; `bumpscout approve DIR`  (7)
"""

from __future__ import annotations

from bumpscout_tools.errors import BumpscoutError

__all__ = [
    "AgentError",
    "ModelFailed",
    "NoTaskSucceeded",
    "RunStateError",
    "WaitingForApproval",
]


class AgentError(BumpscoutError):
    """Base of the errors of planner, coder, reviewers and their graph."""

    exit_code = 5


class ModelFailed(AgentError):
    """A model that gave no reply that fits its schema within the allowed repairs."""


class NoTaskSucceeded(AgentError):
    """No task of the plan gave scores that may be scanned."""


class RunStateError(AgentError):
    """A run folder whose saved state is missing, damaged or of another request."""

    exit_code = 3


class WaitingForApproval(AgentError):
    """A frozen plan that a person must approve before the final scan."""

    exit_code = 7
