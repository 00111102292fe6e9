"""Messages between this process and a warm server: JSON and descriptors on a local socket."""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["ServerLost", "close_all", "receive_message", "send_message"]

MAX_MESSAGE, MAX_FILES = 1 << 16, 250


class ServerLost(Exception):
    """The server died, hangs, or is not what it was; its job did not come to an end."""


def send_message(
    channel: socket.socket, message: dict[str, Any], files: Sequence[int] = ()
) -> None:
    """Send a message and descriptors.

    Raises:
        ServerLost: if nobody is there to take it.
    """
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    try:
        channel.sendmsg([json.dumps(message).encode()], rights)
    except OSError as error:
        raise ServerLost(f"The warm server takes no request: {error.strerror}.") from error


def receive_message(
    channel: socket.socket, timeout_s: float
) -> tuple[dict[str, Any], list[int], int]:
    """Return a message, its descriptors, and the sender's process as the kernel says.

    Raises:
        ServerLost: if none comes in time, or it is none.
    """
    if not select.select([channel], [], [], timeout_s)[0]:
        raise ServerLost(f"The warm server does not answer within {timeout_s:g} s.")
    files: list[int] = []
    pid = 0
    try:
        content, extras, _, _ = channel.recvmsg(
            MAX_MESSAGE, socket.CMSG_SPACE(4 * MAX_FILES) + socket.CMSG_SPACE(12),
            socket.MSG_CMSG_CLOEXEC,
        )  # fmt: skip
        for level, kind, data in extras:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files += array.array("i", data[: len(data) - len(data) % 4])
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid = struct.unpack("=iII", data)[0]
        message = json.loads(content)
        if not isinstance(message, dict):
            raise ValueError("no message")
    except (OSError, ValueError) as error:
        close_all(files)
        raise ServerLost(f"The warm server is gone or speaks nonsense: {error}.") from error
    return message, files, pid


def close_all(files: Sequence[int]) -> None:
    """Close descriptors."""
    for file in files:
        os.close(file)
