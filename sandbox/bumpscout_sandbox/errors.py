"""The errors of the sandbox room, as one tree.

::

    BumpscoutError                  (bumpscout_tools.errors)
    `- SandboxError                 base of this room; nothing here was the script's fault  (4)
       |- SandboxUnavailable        this machine offers no wall; says why, and what to install
       |- SandboxFailure            the wall stood before and now does not start a job
       `- LedgerBroken              the chain of the ledger is not what was written         (3)

A script that fails, hangs or is stopped raises nothing: that is an outcome in `JobResult`. A file
that cannot be parsed raises `bumpscout_tools.errors.InputDataError`; a job that is put together
wrongly raises `bumpscout_tools.errors.ConfigurationError`.
"""

from __future__ import annotations

from bumpscout_tools.errors import BumpscoutError

__all__ = ["LedgerBroken", "SandboxError", "SandboxFailure", "SandboxUnavailable"]


class SandboxError(BumpscoutError):
    """Base of the errors of the sandbox room."""

    exit_code = 4


class SandboxUnavailable(SandboxError):
    """No sandbox can be had on this machine; the message names cause and remedy."""


class SandboxFailure(SandboxError):
    """The sandbox could not start or end a job, for no fault of the job."""


class LedgerBroken(SandboxError):
    """The ledger is not the chain that was written; the message names the first broken line."""

    exit_code = 3
