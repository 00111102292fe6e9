"""The Docker provider: each job in a container of its own, without network and privileges."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bumpscout_sandbox.binds import Bind, job_binds, system_binds
from bumpscout_sandbox.checks import docker_rows
from bumpscout_sandbox.docker_engine import (
    OWNER_LABEL,
    EngineFacts,
    connect,
    facts,
    host_image,
    owner,
    reap_stale,
)
from bumpscout_sandbox.errors import SandboxError
from bumpscout_sandbox.folders import IMAGE_PYTHON
from bumpscout_sandbox.mounts import WORKSPACES
from bumpscout_sandbox.provider import CheckRow, Job, JobResult
from bumpscout_sandbox.runtime import job_uid
from bumpscout_sandbox.scratch import scratch_folder
from bumpscout_sandbox.supervised import STOP, command, set_stage
from bumpscout_sandbox.talk import Lost, Talk

__all__ = ["IMAGE_VARIABLE", "DockerProvider"]

IMAGE_VARIABLE = "BUMPSCOUT_DOCKER_IMAGE"
MIB = 1 << 20
OWN_BYTES, OWN_PROCESSES = 64 * MIB, 8
"""What the supervisor and the engine's own helpers may use on top of the job."""
REMOVED_S = 30.0
FRAME = struct.Struct(">BxxxL")
KILLED = 128 + signal.SIGKILL
"""Docker's framing of attached streams: 1 for stdout or 2 for stderr, then the length."""


@dataclass(frozen=True)
class DockerProvider:
    """Runs jobs in containers of the engine on this machine.

    Attributes:
        image: built from ``sandbox/Dockerfile``; where it is empty, this machine's interpreter and
            packages are mounted read-only into an image of empty folders.
    """

    image: str = field(default_factory=lambda: os.environ.get(IMAGE_VARIABLE, ""))
    name: str = "docker"

    def check(self) -> list[CheckRow]:
        """Say what the engine offers; includes a trial run. See `Provider.check`."""
        try:
            with connect() as client:
                found = facts(client)
        except SandboxError as error:
            return [CheckRow(what="sandbox", ok=False, how="Docker", remedy=str(error))]
        return docker_rows(self, found)

    def run(self, job: Job) -> JobResult:
        """Run one job. See `Provider.run`."""
        with scratch_folder() as scratch, connect() as client:
            reap_stale(client)
            found = facts(client)
            # Engines that map users know no more than 65536 of them.
            uid = 20_000 + secrets.randbelow(40_000) if found.mapped else job_uid()
            python = IMAGE_PYTHON if self.image else sys.executable
            stage = set_stage(job, scratch, uid, python)
            binds = job_binds(stage) + ([] if self.image else system_binds(stage))
            settings = _host_config(client, job, found, binds)
            container = client.create_container(
                image=self.image or host_image(client),
                command=command(python),
                entrypoint=[],
                user=f"{uid}:{uid}",
                hostname="sandbox",
                environment={},
                working_dir="/",
                stdin_open=True,
                labels={OWNER_LABEL: owner()},
                host_config=settings,
                use_config_proxy=False,
            )["Id"]
            try:
                return _attend(client, container, job, scratch / "answer")
            finally:
                _remove(client, container)

    def close(self) -> None:
        """Do nothing: no container outlives its job."""


def _host_config(client: Any, job: Job, found: EngineFacts, binds: list[Bind]) -> dict[str, object]:
    import docker

    limits = job.limits
    # Files in the workspaces are memory too, and have a limit of their own.
    memory = limits.memory_bytes + len(WORKSPACES) * limits.workspace_bytes + OWN_BYTES
    folder = (
        f"rw,nosuid,nodev,exec,mode=1777,size={limits.workspace_bytes},"
        f"nr_inodes={limits.workspace_inodes}"
    )
    devices = [docker.types.DeviceRequest(count=limits.gpus, capabilities=[["gpu"]])]
    settings = client.create_host_config(
        auto_remove=True,
        cap_drop=["ALL"],
        device_requests=devices if limits.gpus else None,
        ipc_mode="none",
        log_config=docker.types.LogConfig(type="none"),
        mem_limit=memory,
        memswap_limit=memory,
        mounts=[_mount(bind) for bind in binds],
        nano_cpus=min(limits.cpus, found.processors) * 10**9,
        network_mode="none",
        pids_limit=limits.processes + OWN_PROCESSES,
        read_only=True,
        security_opt=["no-new-privileges:true"],
        tmpfs=dict.fromkeys(WORKSPACES, folder),
    )
    return dict(settings)


def _mount(bind: Bind) -> Any:
    import docker

    mount = docker.types.Mount(
        bind.target, str(bind.source), type="bind", read_only=True, propagation="rprivate"
    )
    # Without this, mounts below the source would be shown too, and writable.
    mount["BindOptions"]["NonRecursive"] = True
    return mount


def _attend(client: Any, container: str, job: Job, answer: Path) -> JobResult:
    since = int(time.time())
    with _attached(client, container) as line:
        talk = Talk(job, answer, stop=lambda: _say(line, STOP), sources={})
        frames = _Frames({1: talk.hear, 2: talk.complain})
        talk.sources[line] = frames.feed
        client.start(container)
        talk.listen()
    _remove(client, container)
    result = talk.result(lambda: _post_mortem(client, container, since, job))
    if result.outcome == "error" and result.exit_status == KILLED:
        return _named(result, _post_mortem(client, container, since, job))
    return result


def _named(result: JobResult, lost: Lost) -> JobResult:
    """Return the result of a script that was killed, with memory as the reason if it was that.

    Where many processes pass the limit at once, the kernel may kill the script before its
    supervisor has counted them.
    """
    outcome, reason = lost
    if outcome != "memory":
        return result
    problems = (f"The script was {reason}.", *result.problems)
    return replace(result, outcome=outcome, exit_status=None, problems=problems)


@contextlib.contextmanager
def _attached(client: Any, container: str) -> Iterator[int]:
    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    stream = client.attach_socket(container, params=streams)
    # docker-py gives no other way to close all three.
    socket, response = stream._sock, stream._response
    try:
        yield stream.fileno()
    finally:
        for part in (response, stream, socket):
            part.close()


@dataclass
class _Frames:
    """Takes the streams of a container apart."""

    sinks: dict[int, Callable[[bytes], None]]
    kind: int = 0
    left: int = 0
    head: bytearray = field(default_factory=bytearray)

    def feed(self, content: bytes) -> None:
        while content:
            if self.left == 0:
                wanted = FRAME.size - len(self.head)
                self.head += content[:wanted]
                content = content[wanted:]
                if len(self.head) == FRAME.size:
                    self.kind, self.left = FRAME.unpack(self.head)
                    self.head.clear()
                continue
            part, content = content[: self.left], content[self.left :]
            self.left -= len(part)
            if self.kind in self.sinks:
                self.sinks[self.kind](part)


def _say(line: int, text: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(line, text)


def _post_mortem(client: Any, container: str, since: int, job: Job) -> Lost:
    events = client.events(
        since=since, until=int(time.time()) + 1, filters={"container": [container]}, decode=True
    )
    with contextlib.closing(events):
        seen = {str(event.get("Action")) for event in events}
    if "oom" in seen:
        return "memory", f"killed by the kernel above {job.limits.memory_bytes} bytes of memory"
    return "killed", "killed together with its container, by this machine or its engine"


def _remove(client: Any, container: str) -> None:
    import docker

    try:
        client.remove_container(container, force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        # 409: the engine is about to remove it by itself.
        if error.status_code != 409:
            raise
    try:
        client.wait(container, timeout=REMOVED_S, condition="removed")
    except docker.errors.NotFound:
        return
