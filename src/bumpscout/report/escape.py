"""Escaping of foreign text for Markdown."""

from __future__ import annotations

import re

from markupsafe import Markup

from bumpscout.words import printable

__all__ = ["markdown_escape", "markdown_finalize"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]|~@$!^])")
_ADDRESS = re.compile(r"(?i)(://|www\.|mailto:|xmpp:)")
_LIST = re.compile(r"^(\d+)([.)])(?=\s|$)")
_BLOCK = re.compile(r"^([#+=-])")


def markdown_escape(text: str) -> str:
    """Return text that Markdown shows as it is: one line, no markup, no HTML, no links.

    Args:
        text: anything, also hostile.
    """
    line = " ".join(printable(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _SPECIAL.sub(r"\\\1", line)
    line = _ADDRESS.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", line)
    return _LIST.sub(r"\1\\\2", _BLOCK.sub(r"\\\1", line))


def markdown_finalize(value: object) -> object:
    """Escape what a Markdown template prints, except numbers and text marked as ours."""
    if isinstance(value, Markup | bool | int | float):
        return value
    return Markup(markdown_escape(str(value)))
