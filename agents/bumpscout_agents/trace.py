"""The trace: every request to a model and every reply, as JSON lines that are only appended."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bumpscout_agents.model import Message, ModelReply, ModelRequest
from bumpscout_agents.schemas import Role

__all__ = ["ReplyLine", "RequestLine", "Trace", "TraceTotals"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RequestLine(_Record):
    """One request, written before the model is asked."""

    kind: Literal["request"] = "request"
    number: int
    sha256: str
    time: float
    model: str
    role: Role
    task_id: str | None
    attempt: int
    reply_schema: str
    messages: tuple[Message, ...]


class ReplyLine(_Record):
    """The reply to the request of the same hash, or why there was none."""

    kind: Literal["reply"] = "reply"
    number: int
    sha256: str
    time: float
    model: str
    role: Role
    task_id: str | None
    wall_s: float
    text: str | None
    error: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


class TraceTotals(_Record):
    """What the calls of a run cost; tokens are those that models reported."""

    model_calls: int
    prompt_tokens: int
    completion_tokens: int
    model_wall_s: float


_Line = Annotated[RequestLine | ReplyLine, Field(discriminator="kind")]
_LINE: TypeAdapter[RequestLine | ReplyLine] = TypeAdapter(_Line)


class Trace:
    """The file ``trace.jsonl`` of one run.

    A reply that reached the file answers the same request again after a resume, so no call that
    was paid for is repeated. A last line that a kill cut short is moved to a line of its own and
    skipped when reading.
    """

    def __init__(self, path: Path) -> None:
        """Open the trace, which may exist already.

        Raises:
            OSError: if the file cannot be read or written.
        """
        self._path = path
        self._lines: list[RequestLine | ReplyLine] = []
        self._replies: dict[str, ReplyLine] = {}
        content = path.read_bytes() if path.exists() else b""
        for raw in content.split(b"\n"):
            try:
                self._keep(_LINE.validate_json(raw))
            except ValidationError:
                continue
        if content and not content.endswith(b"\n"):
            self._append("")

    @property
    def path(self) -> Path:
        """Return the path of the file."""
        return self._path

    def lines(self) -> tuple[RequestLine | ReplyLine, ...]:
        """Return all lines in their order."""
        return tuple(self._lines)

    def known_reply(self, request: ModelRequest) -> ModelReply | None:
        """Return the reply that this very request already got, or None."""
        line = self._replies.get(request.sha256())
        if line is None or line.text is None:
            return None
        return ModelReply(
            text=line.text,
            model=line.model,
            prompt_tokens=line.prompt_tokens,
            completion_tokens=line.completion_tokens,
        )

    def write_request(self, request: ModelRequest, model: str) -> int:
        """Append a request and return its number, from 1."""
        number = 1 + sum(line.kind == "request" for line in self._lines)
        line = RequestLine(
            number=number,
            sha256=request.sha256(),
            time=time.time(),
            model=model,
            role=request.role,
            task_id=request.task_id,
            attempt=request.attempt,
            reply_schema=request.reply_schema,
            messages=request.messages,
        )
        self._write(line)
        return number

    def write_reply(
        self,
        number: int,
        request: ModelRequest,
        reply: ModelReply | None,
        *,
        model: str,
        wall_s: float,
        error: str | None = None,
    ) -> None:
        """Append the reply to a request, or the error that came instead."""
        line = ReplyLine(
            number=number,
            sha256=request.sha256(),
            time=time.time(),
            model=reply.model if reply else model,
            role=request.role,
            task_id=request.task_id,
            wall_s=wall_s,
            text=reply.text if reply else None,
            error=error,
            prompt_tokens=reply.prompt_tokens if reply else None,
            completion_tokens=reply.completion_tokens if reply else None,
        )
        self._write(line)

    def totals(self) -> TraceTotals:
        """Return the sums over all calls; a call without an answer counts as a call."""
        replies = [line for line in self._lines if isinstance(line, ReplyLine)]
        return TraceTotals(
            model_calls=sum(line.kind == "request" for line in self._lines),
            prompt_tokens=sum(line.prompt_tokens or 0 for line in replies),
            completion_tokens=sum(line.completion_tokens or 0 for line in replies),
            model_wall_s=sum(line.wall_s for line in replies),
        )

    def _write(self, line: RequestLine | ReplyLine) -> None:
        self._append(json.dumps(line.model_dump(mode="json"), separators=(",", ":")))
        self._keep(line)

    def _append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _keep(self, line: RequestLine | ReplyLine) -> None:
        self._lines.append(line)
        if isinstance(line, ReplyLine) and line.text is not None:
            self._replies.setdefault(line.sha256, line)
