"""The answer of one guard."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["GuardReport"]


class GuardReport(BaseModel):
    """The answer of one guard about one score; a guard that fired forbids a claim."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fired: bool
    value: float | None
    threshold: float | None
    message: str
