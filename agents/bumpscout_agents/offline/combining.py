"""Requests that ask for several detectors as one: "combine CWoLa and the autoencoder"."""

from __future__ import annotations

from typing import get_args

from pydantic import JsonValue

from bumpscout_agents.offline.choices import Said
from bumpscout_agents.offline.text import RequestText, quote
from bumpscout_tools.detectors.settings_combination import MemberName

__all__ = ["combine_detectors"]

_COMBINE = r"\b(?:an? |the )?(?:combin(?:e[ds]?|ing|ations?)(?: of)?)\b"
_RULE = r"\b(?:with|by|taking|using)?(?: ?the)? ?(?P<rule>maximum|max|mean|average)(?: of)?\b"


def combine_detectors(
    text: RequestText, chosen: list[dict[str, JsonValue]], said: Said
) -> list[dict[str, JsonValue]]:
    """Return the detectors of a request, as one combination where the request says so.

    Args:
        text: the request; what is used is marked.
        chosen: the detectors that it names.
        said: takes what is to be said.
    """
    asked = [match for match in text.matches(_COMBINE) if not text.negated(match.start())]
    if not asked:
        return chosen
    written = quote(text.take(asked[0]))
    for match in asked[1:]:
        text.take(match)
    rule = "mean"
    for match in text.matches(_RULE):
        rule = "maximum" if match["rule"].startswith("max") else "mean"
        text.take(match)
    able = get_args(MemberName)
    members = [item for item in chosen if item["name"] in able and "features" not in item]
    if len(members) < 2:
        said.not_understood.append(
            f"{written}: a combination takes at least two of {', '.join(able)}, which the request "
            "does not name; what it names is scanned side by side."
        )
        return chosen
    what = "mean of the normal scores" if rule == "mean" else "maximum"
    others = [item for item in chosen if item not in members]
    beside = f"; {', '.join(str(o['name']) for o in others)} beside it" if others else ""
    names = " and ".join(str(item["name"]) for item in members)
    said.understood.append(f"Combined into one score, the {what} of their ranks: {names}{beside}.")
    joined: dict[str, JsonValue] = {
        "name": "combination",
        "settings": {"members": list(members), "rule": rule},
    }
    return [*others, joined]
