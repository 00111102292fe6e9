"""Statistics of counts: Poisson tails, bump hunting, p-values from toys.

What to use when:

- one count against one expectation: `poisson_p`, `poisson_z`;
- the most significant excess of a spectrum: `best_interval`; of many: `best_interval_batch`;
- a p-value counted from toys: `toy_p_value`; from toys that stop early: `besag_clifford`;
- between p and z: `z_from_p`, `z_from_log_p`, `p_from_z`.
"""

from __future__ import annotations

from bumpscout_tools.statistics.bumphunt import (
    EXPECTED_FLOOR,
    BatchIntervals,
    Interval,
    best_interval,
    best_interval_batch,
)
from bumpscout_tools.statistics.intervals import (
    ToyP,
    besag_clifford,
    clopper_pearson,
    toy_p_value,
)
from bumpscout_tools.statistics.poisson import (
    log_poisson_p,
    p_from_z,
    poisson_p,
    poisson_z,
    z_from_log_p,
    z_from_p,
)

__all__ = [
    "EXPECTED_FLOOR",
    "BatchIntervals",
    "Interval",
    "ToyP",
    "besag_clifford",
    "best_interval",
    "best_interval_batch",
    "clopper_pearson",
    "log_poisson_p",
    "p_from_z",
    "poisson_p",
    "poisson_z",
    "toy_p_value",
    "z_from_log_p",
    "z_from_p",
]
