"""Cap texts from files and programs before a model or a person sees them."""

from __future__ import annotations

from pydantic import JsonValue

__all__ = ["MAX_OUTPUT_CHARS", "cap", "cap_strings", "last_line"]

MAX_OUTPUT_CHARS = 4000


def cap(text: str, limit: int = MAX_OUTPUT_CHARS) -> str:
    r"""Return the text, with its middle left out where it is longer than `limit` characters.

    The end is kept longer than the beginning: a traceback says at its end what went wrong.

    >>> cap("a" * 50, 40)
    'a\\n[40 characters left out]\\naaaaaaaaa'
    """
    if len(text) <= limit:
        return text
    room = max(limit - 30, 10)
    head = room // 4 if room >= 40 else 1
    tail = room - head
    return f"{text[:head]}\n[{len(text) - head - tail} characters left out]\n{text[-tail:]}"


def cap_strings(value: JsonValue, limit: int = 200, items: int = 200) -> JsonValue:
    """Return a JSON value with every string and every list or object capped.

    For descriptions of files from strangers: a column name of a megabyte or a million columns must
    not fill a prompt.
    """
    if isinstance(value, str):
        return cap(value, limit)
    if isinstance(value, list):
        kept: list[JsonValue] = [cap_strings(item, limit, items) for item in value[:items]]
        if len(value) > items:
            kept.append(f"[{len(value) - items} more left out]")
        return kept
    if isinstance(value, dict):
        names = list(value)[:items]
        short = {cap(name, limit): cap_strings(value[name], limit, items) for name in names}
        if len(value) > items:
            short["..."] = f"[{len(value) - items} more left out]"
        return short
    return value


def last_line(text: str, limit: int = 300) -> str:
    """Return the last line that is not empty, capped; of a traceback that is the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    return cap(lines[-1].strip(), limit) if lines else ""
