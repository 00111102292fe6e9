"""The words of a report about how alike the detectors of a plan are."""

from __future__ import annotations

import itertools

from bumpscout_tools.detectors.correlation import Correlation

__all__ = ["correlation_lines"]

_SHOWN_PAIRS = 15


def correlation_lines(found: Correlation | None) -> list[str]:
    """Return a line for each pair of methods: correlation, and overlap at each working point."""
    if found is None:
        return []
    pairs = list(itertools.combinations(range(len(found.methods)), 2))
    overlaps = found.overlaps[:: max(1, len(found.overlaps) // 6)]
    lines = []
    for one, other in pairs[:_SHOWN_PAIRS]:
        common = ", ".join(
            f"{100 * at.share[one][other]:.0f}% at {100 * at.efficiency:.3g}%" for at in overlaps
        )
        lines.append(
            f"{found.methods[one]} and {found.methods[other]}: rank correlation "
            f"{found.spearman[one][other]:.2f}; common events of the selections: {common}."
        )
    if len(pairs) > _SHOWN_PAIRS:
        lines.append(f"{len(pairs) - _SHOWN_PAIRS} more pairs are in result.json.")
    return lines
