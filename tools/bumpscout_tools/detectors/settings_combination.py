"""Settings of a combination of detectors."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

__all__ = ["CombinationMember", "CombinationSettings", "MemberName"]

MemberName = Literal[
    "cwola", "cathode", "anode", "r-anode", "tag-n-train", "isolation-forest", "autoencoder"
]


class CombinationMember(BaseModel):
    """One detector of a combination, with settings of its name; defaults where none is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: MemberName
    settings: dict[str, JsonValue] = {}

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        # Not at the top: the table of settings holds this module's.
        from bumpscout_tools.detectors.settings import SETTINGS

        if not isinstance(given, dict) or not isinstance(given.get("settings", {}), dict):
            return given
        model = SETTINGS.get(str(given.get("name")))
        if model is None:
            return given
        settings = model.model_validate(given.get("settings", {}))
        return {**given, "settings": settings.model_dump(mode="json")}


def _default_members() -> tuple[CombinationMember, ...]:
    return (CombinationMember(name="cwola"), CombinationMember(name="autoencoder"))


class CombinationSettings(BaseModel):
    """Several detectors of the same features as one: mean or maximum of their ranked scores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: tuple[CombinationMember, ...] = Field(
        default_factory=_default_members,
        min_length=2,
        max_length=8,
    )
    rule: Literal["mean", "maximum"] = Field(
        default="mean",
        description="mean: of the members' ranks as normal scores, for what all find; "
        "maximum: of the ranks, for what any finds",
    )

    @model_validator(mode="after")
    def _different(self) -> Self:
        kept: list[CombinationMember] = []
        for member in self.members:
            if member in kept:
                raise ValueError(f"members: {member.name} stands twice with the same settings")
            kept.append(member)
        return self
