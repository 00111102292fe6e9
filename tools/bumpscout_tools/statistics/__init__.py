"""Statistics of counts: Poisson tails, bump hunting, p-values from toys.

What to use when:

- one count against one expectation: `poisson_p`, `poisson_z`;
- the most significant excess of a spectrum: `best_interval`; of many: `best_interval_batch`;
- any set of windows, deficits, side bands: `hunt_batch` over `bin_windows` or `mass_windows`;
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
from bumpscout_tools.statistics.windows import (
    SIDE_BAND_P,
    HuntBatch,
    WindowSet,
    bin_windows,
    deficit_z,
    hunt_batch,
    mass_windows,
)

__all__ = [
    "EXPECTED_FLOOR",
    "SIDE_BAND_P",
    "BatchIntervals",
    "HuntBatch",
    "Interval",
    "ToyP",
    "WindowSet",
    "besag_clifford",
    "best_interval",
    "best_interval_batch",
    "bin_windows",
    "clopper_pearson",
    "deficit_z",
    "hunt_batch",
    "log_poisson_p",
    "mass_windows",
    "p_from_z",
    "poisson_p",
    "poisson_z",
    "toy_p_value",
    "z_from_log_p",
    "z_from_p",
]
