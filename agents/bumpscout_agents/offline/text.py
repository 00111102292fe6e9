"""A request as text whose parts are taken one by one; what nobody takes was not understood."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bumpscout_agents.offline.words import NEGATIONS, NEUTRAL

__all__ = ["MAX_CHARS", "NUMBER", "RequestText", "number", "quote"]

MAX_CHARS = 5000

_WORDS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
NUMBER = (
    r"(?<![\w.,])[-+]?(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+(?!\d*,\d))(?:\.\d+)?(?:e[-+]?\d+)?"
    r"|(?<![\w.])[-+]?\.\d+|\b(?:" + "|".join(_WORDS) + r")\b"
)
_SAME_LENGTH = str.maketrans(
    "\u2013\u2014\u2212\u2010\u2011\u2012\u2265\u2264\u00a0\u202f\t", "------><   "
)
_CLAUSE_END = re.compile(r"[;!?\n]|\.(?!\d)|,(?!\d)|\bbut\b")
_SENTENCE_END = re.compile(r"[;!?\n]|\.(?!\d)")
_TOKEN = re.compile(r"[^\W_](?:[\w'.%/+-]*\w%?|%)?|[%<>]")
_NEGATION = re.compile(r"\b(?:" + "|".join(NEGATIONS) + r")\b|n't\b")


def number(text: str) -> float:
    """Return the value of a number that `NUMBER` matched; infinite where it is too large."""
    text = text.strip()
    return float(_WORDS[text]) if text in _WORDS else float(text.replace(",", ""))


def quote(text: str, limit: int = 80) -> str:
    """Return a part of a request in quotes, on one line, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f'"{line if len(line) <= limit else line[: limit - 3] + "..."}"'


class RequestText:
    """The text of a request, with a mark on every character that some rule has used."""

    def __init__(self, raw: str) -> None:
        """Take the request; what is beyond `MAX_CHARS` is not read."""
        self.raw = raw[:MAX_CHARS]
        self.cut = len(raw) > MAX_CHARS
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in self.raw)
        self.text = lower.translate(_SAME_LENGTH)
        self._used = bytearray(len(self.text))

    def matches(self, pattern: str) -> Iterator[re.Match[str]]:
        """Yield the matches of a pattern in which no character was used before."""
        for match in re.finditer(pattern, self.text):
            if match.group().strip() and not any(self._used[match.start() : match.end()]):
                yield match

    def take(self, match: re.Match[str]) -> str:
        """Mark a match as used and return it as it was written."""
        return self.take_span(*match.span())

    def take_span(self, start: int, end: int) -> str:
        """Mark a part as used and return it as it was written."""
        self._used[start:end] = b"\x01" * (end - start)
        return self.raw[start:end].strip()

    def clause(self, position: int) -> tuple[int, int]:
        """Return the bounds of the clause around a position."""
        return self._bounds(_CLAUSE_END, position)

    def sentence(self, position: int) -> tuple[int, int]:
        """Return the bounds of the sentence around a position."""
        return self._bounds(_SENTENCE_END, position)

    def negated(self, position: int) -> bool:
        """Return whether a word before the position turns its clause round."""
        start, _ = self.clause(position)
        return _NEGATION.search(self.text, start, position) is not None

    def take_negated_clauses(self) -> list[str]:
        """Use up and return the clauses that hold a negation nobody has used."""
        found = []
        for match in _NEGATION.finditer(self.text):
            if any(self._used[match.start() : match.end()]):
                continue
            start, end = self.clause(match.start())
            found.append(self.take_span(start, end))
        return found

    def leftovers(self) -> list[str]:
        """Return the phrases of unused words that mean something, as they were written."""
        phrases: list[tuple[int, int]] = []
        last_clause = (-1, -1)
        neutral_between = 0
        joined = False
        for token in _TOKEN.finditer(self.text):
            if any(self._used[token.start() : token.end()]):
                joined = False
            elif token.group() in NEUTRAL:
                neutral_between += 1
            else:
                clause = self.clause(token.start())
                if joined and clause == last_clause and neutral_between <= 3:
                    phrases[-1] = (phrases[-1][0], token.end())
                else:
                    phrases.append(token.span())
                last_clause, neutral_between, joined = clause, 0, True
        return [self.raw[start:end] for start, end in phrases]

    def _bounds(self, ends: re.Pattern[str], position: int) -> tuple[int, int]:
        start = 0
        for match in ends.finditer(self.text):
            if match.start() >= position:
                return start, match.start()
            start = match.end()
        return start, len(self.text)
