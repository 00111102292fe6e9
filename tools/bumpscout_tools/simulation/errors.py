"""Errors of the simulation package.

::

    ToolsError
    |- MissingExtraError      Pythia or FastJet is not installed                        (2)
    `- SimulationError        base of the package                                       (2)
       |- GenerationError     Pythia refused the card, or hardly any event passes its cuts
       `- BoxError            a box asks for more events than there are
"""

from bumpscout_tools.errors import MissingExtraError, ToolsError

__all__ = ["BoxError", "GenerationError", "MissingExtraError", "SimulationError"]


class SimulationError(ToolsError):
    """Base of the errors of the simulation package."""

    exit_code = 2


class GenerationError(SimulationError):
    """Pythia refused the card, or hardly any event passes its cuts."""


class BoxError(SimulationError):
    """A box asks for more events than there are."""
