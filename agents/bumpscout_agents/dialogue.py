"""One question of a role to a model: render, ask, validate, repair within bounds, trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from bumpscout_agents.errors import AgentError, ModelFailed
from bumpscout_agents.model import Message, Model, ModelReply, ModelRequest
from bumpscout_agents.quoting import cap
from bumpscout_agents.schemas import Reply, Role
from bumpscout_agents.trace import Trace
from bumpscout_prompts import placeholders, render

__all__ = ["MAX_REPAIRS", "Dialogue"]

MAX_REPAIRS = 2
MAX_REPLY_CHARS = 400_000

R = TypeVar("R", bound=Reply)


class Dialogue:
    """Asks a model and books every call in the trace."""

    def __init__(self, model: Model, trace: Trace) -> None:
        """Take the model and the trace of the run."""
        self._model = model
        self._trace = trace

    def ask(
        self,
        role: Role,
        reply_type: type[R],
        payload: dict[str, JsonValue],
        *,
        task_id: str | None = None,
        attempt: int = 1,
        accept: Callable[[R], None] | None = None,
    ) -> R:
        """Ask until a reply fits the schema, at most `MAX_REPAIRS` times again.

        A reply that the trace holds already is not asked for again.

        Args:
            role: the role, which is also the name of its prompt.
            reply_type: the schema of the reply.
            payload: the facts for the prompt; the schema of the reply is added.
            task_id: the task that it is about.
            attempt: the attempt of that task, from 1.
            accept: raises ValueError for a reply that fits the schema and still will not do.

        Raises:
            ModelFailed: if no reply will do.
            AgentError: if the model gives no answer.
        """
        schema = reply_type.model_json_schema()
        messages = _first_messages(role, {**payload, "reply_schema": schema})
        problem = ""
        for _ in range(1 + MAX_REPAIRS):
            request = ModelRequest(
                role=role,
                task_id=task_id,
                attempt=attempt,
                messages=messages,
                payload=payload,
                reply_schema=reply_type.__name__,
            )
            text = self._answer(request).text
            try:
                reply = _parse(reply_type, text)
                if accept is not None:
                    accept(reply)
            except ValueError as error:
                problem = _explain(error)
                messages = (*messages, *_repair_messages(text, problem))
            else:
                return reply
        raise ModelFailed(
            f"The model {self._model.name!r} gave no usable reply as {role.replace('_', ' ')}"
            f"{f' for {task_id}' if task_id else ''} in {1 + MAX_REPAIRS} tries; the last problem: "
            f"{problem} All replies are in {self._trace.path}; try another model."
        )

    def _answer(self, request: ModelRequest) -> ModelReply:
        known = self._trace.known_reply(request)
        if known is not None:
            return known
        number = self._trace.write_request(request, self._model.name)
        start = time.monotonic()
        try:
            reply = self._model.complete(request)
        except AgentError as error:
            self._trace.write_reply(
                number,
                request,
                None,
                model=self._model.name,
                wall_s=time.monotonic() - start,
                error=str(error),
            )
            raise
        self._trace.write_reply(
            number, request, reply, model=self._model.name, wall_s=time.monotonic() - start
        )
        return reply


def _first_messages(role: Role, values: dict[str, JsonValue]) -> tuple[Message, ...]:
    """Split the prompt into instructions and data."""
    flat = dict(values)
    tools = flat.pop("tools", None)
    if isinstance(tools, dict):
        flat |= tools
    text = render(role, **{name: flat.get(name) for name in placeholders(role)})
    instructions, marker, data = text.partition("\n## Data\n")
    return (
        Message(speaker="system", text=instructions.strip()),
        Message(speaker="user", text=(marker + data).strip()),
    )


def _parse(reply_type: type[R], text: str) -> R:
    if len(text) > MAX_REPLY_CHARS:
        raise ValueError(f"the reply has {len(text)} characters, more than {MAX_REPLY_CHARS}.")
    return reply_type.model_validate_json(text)


def _explain(error: ValueError) -> str:
    """Say what is wrong with a reply, without its content."""
    if not isinstance(error, ValidationError):
        return cap(str(error), 1000)
    parts = [
        f"{'.'.join(str(part) for part in item['loc']) or 'the reply'}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False, include_context=False)[:10]
    ]
    return cap("; ".join(parts), 1000) + "."


def _repair_messages(text: str, problem: str) -> tuple[Message, Message]:
    return (
        Message(speaker="assistant", text=cap(text, 20_000)),
        Message(
            speaker="user",
            text=f"This reply cannot be used: {problem} Reply again with one JSON object that fits "
            "the reply schema, and nothing else.",
        ),
    )
