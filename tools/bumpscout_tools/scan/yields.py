"""The interval of a signal yield behind a trained cut: what counting alone does not know.

Three things make the interval of (observed - expected) with its Poisson and fit errors too narrow.
The order of the background is chosen on the data (`injection.fit_error` redoes the choice). A cut
trained on the events that it selects from fluctuates more than Poisson, and favours the window that
it was trained for: repetitions without a signal show bias and width, in units of the error of the
background alone. And the efficiency of the cut varies from training to training, most for weak
signals: the spread of the true numbers beyond Poisson.

    S = n - b - bias e,   error^2 = max(S, 0) + (width e)^2 + (spread S)^2,   e^2 = b + fit_error^2
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.scan.injection import Yield

__all__ = ["NullYield", "efficiency_spread", "null_yield", "yield_interval"]

MIN_NULLS = 10
"""Repetitions without a signal below which their width says little."""


class NullYield(BaseModel):
    """Bias and width of the yield without a signal, in errors of the background; from n."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bias: float
    width: float
    n: int


def _background_error(row: Yield) -> float:
    return math.sqrt(max(row.n_expected, 0.0) + row.fit_error**2)


def null_yield(rows: Sequence[Yield]) -> NullYield | None:
    """Return what repetitions without a signal show, or None for fewer than `MIN_NULLS`.

    Mean and standard deviation of (n - b) / e; a width below 1 is noise of its own estimate.

    Args:
        rows: yields of one mass and working point, without a signal.
    """
    if len(rows) < MIN_NULLS:
        return None
    pulls = np.array(
        [(row.n_observed - row.n_expected) / max(_background_error(row), 1e-9) for row in rows]
    )
    return NullYield(
        bias=float(pulls.mean()), width=max(1.0, float(pulls.std(ddof=1))), n=len(rows)
    )


def efficiency_spread(n_true: npt.NDArray[np.float64]) -> float:
    """Return the relative spread beyond Poisson of true numbers (n,) over repetitions."""
    if n_true.size < 2 or n_true.mean() <= 0:
        return 0.0
    beyond = max(0.0, float(n_true.var(ddof=1) - n_true.mean()))
    return math.sqrt(beyond) / float(n_true.mean())


def yield_interval(row: Yield, null: NullYield | None, spread: float) -> tuple[float, float]:
    """Return the signal yield and its standard error, in events.

    Args:
        row: the measurement.
        null: of repetitions without a signal at the same mass and working point; None: no bias,
            and Poisson fluctuations.
        spread: relative spread of the efficiency from training to training.
    """
    background = _background_error(row)
    bias, width = (null.bias, null.width) if null is not None else (0.0, 1.0)
    signal = row.n_observed - row.n_expected - bias * background
    up = max(signal, 0.0)
    error = math.sqrt(up + (width * background) ** 2 + (spread * up) ** 2)
    return signal, max(error, 1e-9)
