"""Makes foreign text safe to show: no control characters, no surprises, a bounded length."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, length: int) -> str:
    r"""Return `text` with everything but printable characters escaped, cut at `length` characters.

    >>> printable("red: \x1b[31m", 20)
    'red: \\x1b[31m'
    """
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[: length + 1]
    )
    return shown if len(shown) <= length else shown[: length - 3] + "..."
