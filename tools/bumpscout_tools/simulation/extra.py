"""Import of the optional, GPL-licensed generators, only when something is simulated."""

import importlib
from typing import Any

from bumpscout_tools.simulation.errors import MissingExtraError

__all__ = ["require"]


def require(module: str) -> Any:
    """Import one module of the optional extra ``sim``.

    Args:
        module: name of the module, such as ``"pythia8mc"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"simulating events needs the module {error.name!r}, which is not installed; "
            "install the extra with: pip install 'bumpscout[sim]' (Pythia 8 and FastJet, GPL)"
        ) from error
