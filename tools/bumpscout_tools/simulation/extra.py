"""Import of the optional, GPL-licensed generators, only when something is simulated."""

from typing import Any

from bumpscout_tools import extras

__all__ = ["require"]


def require(module: str) -> Any:
    """Import one module of the optional extra ``sim``: Pythia 8 and FastJet, both GPL.

    Args:
        module: name of the module, such as ``"pythia8mc"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module is not installed.
    """
    return extras.require(module, "sim", "simulating events with Pythia 8 and FastJet (GPL)")
