"""What the command line fixes about a plan; it wins over requests and over planners."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bumpscout_tools.scan.plan import SearchPlan

__all__ = ["PlanOptions"]


class PlanOptions(BaseModel):
    """Options of the command line that are part of the plan; None where not given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replays: int | None = Field(default=None, ge=0, le=100_000)
    luminosity_fb: float | None = Field(default=None, gt=0)
    sqrt_s_gev: float | None = Field(default=None, gt=0)
    blinding: Literal["open", "staged"] | None = None

    def apply(self, plan: SearchPlan) -> SearchPlan:
        """Return the plan with the options in it.

        Raises:
            ValueError: if an option is out of the range of the plan.
        """
        content = plan.model_dump(mode="json")
        if self.replays is not None:
            content["replays"]["n"] = self.replays
        if self.sqrt_s_gev is not None:
            content["background"]["sqrt_s_gev"] = self.sqrt_s_gev
        if self.luminosity_fb is not None:
            content["luminosity_fb"] = self.luminosity_fb
        if self.blinding is not None:
            content["blinding"] = self.blinding
        return SearchPlan.model_validate(content)
