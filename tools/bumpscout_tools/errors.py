"""The errors of all rooms, as one tree.

::

    BumpscoutError            one base for all; carries the exit code of the command line
    |- ConfigurationError     a plan, option or output folder that cannot be used      (2)
    |- InputDataError         a file or table that cannot be searched                  (3)
    |- ToolsError             base of this room
    |  |- FitError            a fit that has no finite optimum
    |  |- MissingExtraError   an optional package is needed and not installed           (2)
    |  `- DetectorError       a detector that cannot be trained on what it was given
    |     `- TrainingStopped  a training that was told to stop, and left no scores
    |- SandboxError           base of the sandbox room (``bumpscout_sandbox.errors``)  (4)
    `- AgentError             base of the agents room (``bumpscout_agents.errors``)    (5)
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BumpscoutError",
    "ConfigurationError",
    "DetectorError",
    "FitError",
    "InputDataError",
    "MissingExtraError",
    "ToolsError",
    "TrainingStopped",
]


class BumpscoutError(Exception):
    """Base of every error that bumpscout raises on purpose; ``str(error)`` is one paragraph."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(BumpscoutError):
    """A plan, an option or an output location that cannot be used."""

    exit_code = 2


class InputDataError(BumpscoutError):
    """Input data that cannot be read or searched."""

    exit_code = 3


class ToolsError(BumpscoutError):
    """Base of the errors of the vetted library."""

    exit_code = 3


class FitError(ToolsError):
    """A background fit that has no finite optimum."""


class MissingExtraError(ToolsError):
    """An optional package is needed and not installed."""

    exit_code = 2


class DetectorError(ToolsError):
    """A detector that cannot be trained on what it was given."""


class TrainingStopped(DetectorError):
    """A training that was told to stop; nothing of it was kept, and no event was scored."""
