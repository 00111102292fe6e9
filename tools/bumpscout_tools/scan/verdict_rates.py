"""How often each verdict is given, and what stood against a claim, over many trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bumpscout_tools.scan.plan import SearchPlan
from bumpscout_tools.scan.rates import Rate, rate
from bumpscout_tools.scan.trials import ScanRecord, verdict_of
from bumpscout_tools.scan.verdict import Decision

__all__ = ["Closures", "VerdictRates", "closures", "verdict_rates"]

FloatArray = npt.NDArray[np.float64]


class VerdictRates(BaseModel):
    """Rates with 68% binomial intervals.

    `verdicts` are those of a search with the plan's rules, procedure p being the rank in `n_pool`
    replays of other data sets: with fewer than 200 of them there is no `excess` but `candidate`.
    `objections` counts what stood against a claim, by name. `local_z_above_3` is how often local p
    alone would have claimed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_pool: int
    verdicts: dict[str, Rate]
    objections: dict[str, Rate]
    local_z_above_3: Rate


class Closures(BaseModel):
    """How well the null generators close on the data that each was fitted to.

    Areas under the curve of a classifier that tells generated from real events, over all events and
    among the rarest; 0.5 is perfect. `auc` and `auc_top` have one value a generator.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    auc: tuple[float, ...]
    auc_top: tuple[float, ...]
    fit_p: tuple[float, ...]
    not_closing: Rate


def verdict_rates(
    plan: SearchPlan,
    records: Sequence[ScanRecord | None],
    observed: FloatArray,
    pools: Sequence[FloatArray],
) -> VerdictRates:
    """Return how often each verdict is given.

    Args:
        plan: the search plan.
        records: one a trial; None for a scan that failed.
        observed: (n,) statistic of each trial.
        pools: for each trial the statistics of background-only replays that are not its own.
    """
    n = len(records)
    given = [
        verdict_of(plan, record, value, pool)
        for record, value, pool in zip(records, observed, pools, strict=True)
    ]
    objections = [record.objections() if record else ["scan failed"] for record in records]
    names = sorted({name for found in objections for name in found})
    above = sum(r is not None and r.local_z is not None and r.local_z > 3 for r in records)
    return VerdictRates(
        n_pool=min(map(len, pools), default=0),
        verdicts={name: rate(given.count(name), n) for name in get_args(Decision)},
        objections={name: rate(sum(name in found for found in objections), n) for name in names},
        local_z_above_3=rate(above, n),
    )


def closures(records: Sequence[ScanRecord | None]) -> Closures | None:
    """Return how the null generators close, or None where none was fitted."""
    found = [record for record in records if record is not None and record.null is not None]
    nulls = [record.null for record in found if record.null is not None]
    if not nulls:
        return None
    failing = sum("null generator does not close" in record.objections() for record in found)
    return Closures(
        auc=tuple(null.closure.auc for null in nulls),
        auc_top=tuple(null.closure.auc_top for null in nulls),
        fit_p=tuple(null.fit_p for null in nulls),
        not_closing=rate(failing, len(nulls)),
    )
