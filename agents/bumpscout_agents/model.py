"""The boundary to models: a request in, a text reply out; roles talk to nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from bumpscout_agents.schemas import Role

__all__ = ["Message", "Model", "ModelReply", "ModelRequest", "ScriptedModel"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(_Record):
    """One message of a chat."""

    speaker: Literal["system", "user", "assistant"]
    text: str


class ModelRequest(_Record):
    """One question of a role.

    Attributes:
        role: who asks.
        task_id: the task that it is about, or None for the whole search.
        attempt: counts the attempts of one task, or the rounds of one role, from 1.
        messages: what a chat model is sent: the rendered prompt, then repairs.
        payload: the facts that the prompt renders, as JSON, for policies that read no prose.
        reply_schema: the name of the model in `bumpscout_agents.schemas` that the reply must fit.
    """

    role: Role
    task_id: str | None = None
    attempt: int = Field(default=1, ge=1)
    messages: tuple[Message, ...]
    payload: dict[str, JsonValue]
    reply_schema: str

    def sha256(self) -> str:
        """Return the hash of everything that decides the reply."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class ModelReply(_Record):
    """What came back: text that should be one JSON object, and what it cost."""

    text: str
    model: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Model(Protocol):
    """Anything that answers requests: the offline policy, an endpoint, a script in a test."""

    @property
    def name(self) -> str:
        """Return the name that the trace and the result show."""
        ...

    def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request.

        Raises:
            AgentError: if there is no answer (unreachable, refused, budget spent).
        """
        ...


class ScriptedModel:
    """A model that a callable plays: for tests, which can look at requests and raise faults."""

    def __init__(self, answer: Callable[[ModelRequest], str], name: str = "scripted") -> None:
        """Take the callable that maps a request to the text of the reply."""
        self._answer = answer
        self._name = name

    @property
    def name(self) -> str:
        """Return the name that was given."""
        return self._name

    def complete(self, request: ModelRequest) -> ModelReply:
        """Return what the callable answers."""
        return ModelReply(text=self._answer(request), model=self._name)
