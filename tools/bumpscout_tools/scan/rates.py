"""A number of cases out of many, with its interval."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from bumpscout_tools.statistics import clopper_pearson

__all__ = ["Rate", "rate"]


class Rate(BaseModel):
    """k of n with its 68% interval, of Clopper and Pearson where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int
    n: int
    value: float
    low: float
    high: float


def rate(k: int, n: int) -> Rate:
    """Return k of n with its 68% interval, of Clopper and Pearson."""
    low, high = clopper_pearson(k, n)
    return Rate(k=k, n=n, value=k / n, low=low, high=high)
