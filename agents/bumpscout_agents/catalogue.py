"""The tool catalogue that planner, coder and reviewer are shown, generated from the library."""

from __future__ import annotations

import inspect

from pydantic import JsonValue

from bumpscout_agents.static_checks import ALLOWED_IMPORTS
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

__all__ = ["plan_schema", "tool_catalogue"]


def plan_schema() -> dict[str, JsonValue]:
    """Return the JSON schema of a search plan."""
    return SearchPlan.model_json_schema()


def tool_catalogue() -> dict[str, JsonValue]:
    """Return what plans and scripts can use, as the values of the prompt ``tool_catalogue``.

    Keys: ``guide`` (which detector to use when, and what it assumes and costs), ``detectors`` (the
    JSON schema of a detector's plan, with its settings), ``features`` (name -> meaning),
    ``functions`` (signature -> docstring), ``imports``.
    """
    from bumpscout_tools import detectors, script
    from bumpscout_tools.features.dijet import DIJET_FEATURES

    functions: dict[str, JsonValue] = {}
    for module in (script, detectors):
        for name in module.__all__:
            item = getattr(module, name)
            functions[f"{module.__name__}.{name}{_signature(item)}"] = inspect.getdoc(item) or ""
    features: dict[str, JsonValue] = dict(DIJET_FEATURES)
    return {
        "guide": inspect.getdoc(detectors) or "",
        "detectors": DetectorPlan.model_json_schema(),
        "features": features,
        "functions": functions,
        "imports": list(ALLOWED_IMPORTS),
    }


def _signature(item: object) -> str:
    if not callable(item):
        return ""
    try:
        return str(inspect.signature(item))
    except ValueError:
        return "(...)"
