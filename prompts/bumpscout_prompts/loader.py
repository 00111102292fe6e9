"""Load and fill the prompts: values go in as escaped JSON blocks and are never interpreted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

__all__ = [
    "MAX_VALUE_CHARS",
    "PromptError",
    "block",
    "load",
    "names",
    "placeholders",
    "render",
]

MAX_VALUE_CHARS = 60_000

_PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_INCLUDE = re.compile(r"\{\{>([a-z][a-z0-9_]*)\}\}")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Characters with which a value could leave its block or pass for markup of the prompt.
_ESCAPES = {"`": "\\u0060", "<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "#": "\\u0023"}


class PromptError(ValueError):
    """A prompt that does not exist, or values that do not fit its placeholders."""


def names() -> tuple[str, ...]:
    """Return the names of all prompts, sorted."""
    folder = resources.files("bumpscout_prompts")
    found = [item.name for item in folder.iterdir() if item.name.endswith(".md")]
    return tuple(sorted(name.removesuffix(".md") for name in found))


def load(name: str) -> str:
    """Return the text of a prompt with its placeholders unfilled.

    A line ``{{>other}}`` stands for the text of the prompt ``other``.

    Raises:
        PromptError: if there is no prompt of that name.
    """
    if not _NAME.fullmatch(name):
        raise PromptError(f"{name!r} is no name of a prompt; there are: {', '.join(names())}.")
    file = resources.files("bumpscout_prompts").joinpath(f"{name}.md")
    if not file.is_file():
        raise PromptError(f"There is no prompt {name!r}; there are: {', '.join(names())}.")
    text = file.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda match: load(match.group(1)).rstrip("\n"), text)


def placeholders(name: str) -> frozenset[str]:
    """Return the names of the values that a prompt needs."""
    return frozenset(_PLACEHOLDER.findall(load(name)))


def block(value: object) -> str:
    r"""Return a value as a fenced JSON block that it cannot leave.

    Non-ASCII characters, control characters, backticks, ``#``, ``<``, ``>`` and ``&`` are written
    as ``\uXXXX``; a line break inside a string is written ``\n``. Parsing the block as JSON gives
    the value back unchanged.

    Args:
        value: anything that JSON can hold.

    Raises:
        PromptError: if the value is no JSON value, or longer than `MAX_VALUE_CHARS`.

    >>> print(block("a ``` b"))
    ```json
    "a \u0060\u0060\u0060 b"
    ```
    """
    _check_keys(value)
    try:
        text = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1)
    except (TypeError, ValueError) as error:
        raise PromptError(f"A value for a prompt is no JSON value: {error}.") from error
    if len(text) > MAX_VALUE_CHARS:
        raise PromptError(
            f"A value for a prompt has {len(text)} characters, more than {MAX_VALUE_CHARS}; "
            "cap it before."
        )
    for character, escaped in _ESCAPES.items():
        text = text.replace(character, escaped)
    return f"```json\n{text}\n```"


def render(name: str, **values: object) -> str:
    """Return a prompt with each ``{{placeholder}}`` replaced by the block of its value.

    The text is scanned once, so placeholders inside values stay what they are: text.

    Args:
        name: the name of a prompt.
        **values: one JSON value for each placeholder, no fewer and no more.

    Raises:
        PromptError: if values are missing or surplus, or are no JSON values.
    """
    text = load(name)
    wanted = set(_PLACEHOLDER.findall(text))
    missing, surplus = sorted(wanted - set(values)), sorted(set(values) - wanted)
    if missing or surplus:
        raise PromptError(
            f"The values do not fit the prompt {name!r}: missing {missing}, surplus {surplus}."
        )
    return _PLACEHOLDER.sub(lambda match: block(values[match.group(1)]), text)


def _check_keys(value: object) -> None:
    """Refuse keys that JSON would silently turn into text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PromptError(f"A value for a prompt has the key {key!r}, which is no string.")
            _check_keys(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            _check_keys(item)
