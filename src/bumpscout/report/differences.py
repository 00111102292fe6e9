"""The words of a report about what makes the anomalous events different."""

from __future__ import annotations

from bumpscout.report.fact import Fact
from bumpscout_tools.detectors.explain import Anomalous

__all__ = ["attribution_words", "difference_rows"]

_METHODS = {
    "integrated gradients": "integrated gradients of the network, trained once more for one fold, "
    "averaged over baselines among the events that the cut drops",
    "tree contributions": "exact Shapley values of the detector's trees, trained once more for "
    "one fold",
}


def difference_rows(found: Anomalous | None) -> tuple[Fact, ...]:
    """Return a row for each feature: its shift, and as note its part of the score."""
    return tuple(
        Fact(
            one.feature,
            f"{one.shift:+.2f} \u00b1 {one.shift_error:.2f}",
            ""
            if one.share is None
            else f"{100 * one.share:.0f} \u00b1 {_percent(one.share_error)}%",
        )
        for one in (found.features if found else ())
    )


def attribution_words(found: Anomalous | None) -> str:
    """Say what was compared, and how the score was shared out among the features."""
    if found is None or not found.features:
        return ""
    text = (
        f"{found.n_selected} events of the window pass the cut; {found.n_typical} do not, and are "
        "weighted to the same masses. Shifts of the mean are in standard deviations of these."
    )
    if found.features[0].share is None or found.method is None:
        return text
    how = _METHODS.get(found.method)
    if how is None:
        how = "Shapley values of trees that learned the score from the features"
        if found.explained is not None:
            how += f", and explain {100 * found.explained:.0f}% of its variance"
    return f"{text} The last column shares out the difference of the mean scores: {how}."


def _percent(error: float | None) -> str:
    return f"{100 * (error or 0.0):.0f}"
