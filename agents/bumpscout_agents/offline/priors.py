"""Files of simulated signals in a request: "QUAK with the priors in FILE and FILE"."""

from __future__ import annotations

import re

from bumpscout_agents.offline.text import RequestText

__all__ = ["named_files", "take_prior_files"]

_FILE = r"[\w./~+:@=-]*\w\.(?:h5|hdf5|root|csv|npy|npz|parquet)"
_PHRASE = (
    r"\b(?:with |using |and )?(?:the |its )?"
    r"(?:(?:signal )?(?:priors?|hypothes[ei]s)|simulated signals?(?: events?)?) "
    r"(?:in|from|of) (?:the )?(?:files? )?"
    rf"(?P<files>(?<![\w.])(?:{_FILE})(?:(?:,? and |, ?| )(?:{_FILE}))*)(?!\w)"
)


def take_prior_files(text: RequestText) -> tuple[str, ...]:
    """Take and return the files that a request names as priors, as they were written."""
    found: list[str] = []
    for match in text.matches(_PHRASE):
        start, end = match.span("files")
        written = text.raw[start:end]
        if not text.negated(match.start()):
            text.take(match)
            found += re.findall(_FILE, written, flags=re.IGNORECASE)
    return tuple(dict.fromkeys(found))


def named_files(request: str) -> tuple[str, ...]:
    """Return the files that a request names as priors; no others may be read for them.

    >>> named_files("with QUAK with the priors in sim/A.h5 and b.csv, without replays")
    ('sim/A.h5', 'b.csv')
    """
    return take_prior_files(RequestText(request))
