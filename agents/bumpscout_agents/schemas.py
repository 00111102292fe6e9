"""What the roles reply: pydantic models that each reply of a model must validate against."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from bumpscout_tools.scan.plan import SearchPlan

__all__ = [
    "CITATION",
    "REPLIES",
    "CoderReply",
    "Finding",
    "PlannerReply",
    "RefineReply",
    "Reply",
    "ReporterReply",
    "ReviewReply",
    "Role",
    "Severity",
]

Role = Literal["planner", "coder", "code_reviewer", "physics_reviewer", "refine", "reporter"]
Severity = Literal["blocker", "major", "minor"]

Sentence = Annotated[str, StringConstraints(min_length=1, max_length=2000)]

CITATION = re.compile(r"\{([a-z][a-z0-9-]*)\.([a-z][a-z0-9_]*)\}")
MAX_SCRIPT_CHARS = 100_000


class Reply(BaseModel):
    """Base of all replies; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannerReply(Reply):
    """The search plan, and which parts of the request it carries out."""

    understood: tuple[Sentence, ...] = Field(max_length=50)
    not_understood: tuple[Sentence, ...] = Field(max_length=50)
    plan: SearchPlan


class CoderReply(Reply):
    """One whole script."""

    script: str = Field(min_length=1, max_length=MAX_SCRIPT_CHARS)
    summary: str = Field(max_length=2000)


class Finding(Reply):
    """One thing that is wrong with a script or a run, and its remedy."""

    severity: Severity
    line: int | None = Field(default=None, ge=1)
    message: Sentence
    remedy: str = Field(max_length=2000)


class ReviewReply(Reply):
    """The findings of a reviewer; a blocker and an approval exclude each other."""

    findings: tuple[Finding, ...] = Field(max_length=100)
    approve: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        blocked = any(finding.severity == "blocker" for finding in self.findings)
        if self.approve and blocked:
            raise ValueError("approve is true although a finding is a blocker")
        if not self.approve and not blocked:
            raise ValueError("approve is false without a finding of severity blocker")
        return self


class RefineReply(Reply):
    """How the search goes on after an exploratory scan."""

    action: Literal["refine", "stop"]
    plan: SearchPlan
    why: str = Field(max_length=2000)


class ReporterReply(Reply):
    """The summary of a search, with numbers only as citations ``{result_id.field}``."""

    headline: Sentence
    paragraphs: tuple[Sentence, ...] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _no_typed_digits(self) -> Self:
        for text in (self.headline, *self.paragraphs):
            rest = CITATION.sub("", text)
            typed = re.search(r"\S*\d\S*", rest)
            if typed:
                raise ValueError(
                    f"{typed.group()!r} is a typed number; cite it as {{result_id.field}}"
                )
            if "{" in rest or "}" in rest:
                raise ValueError(f"a brace outside a citation {{result_id.field}} in: {text[:80]}")
        return self


REPLIES: dict[Role, type[Reply]] = {
    "planner": PlannerReply,
    "coder": CoderReply,
    "code_reviewer": ReviewReply,
    "physics_reviewer": ReviewReply,
    "refine": RefineReply,
    "reporter": ReporterReply,
}
