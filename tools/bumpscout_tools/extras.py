"""Import of optional packages, with a sentence that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from bumpscout_tools.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, extra: str, purpose: str) -> Any:
    """Import one module of an optional extra.

    Args:
        module: name of the module, such as ``"fastjet"``.
        extra: the extra of ``pip install 'bumpscout[...]'`` that brings it.
        purpose: what needs it, as the beginning of the sentence.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs the module {error.name!r}, which is not installed; "
            f"install the extra with: pip install 'bumpscout[{extra}]'"
        ) from error
