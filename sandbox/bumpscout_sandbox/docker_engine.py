"""The Docker engine that answers on this machine: what it can enforce, and the image it needs.

Only engines on this machine will do: they are to show this machine's interpreter and files. Where
no image was built from ``sandbox/Dockerfile``, an image that holds nothing but empty folders is
imported, and system, interpreter and library are mounted into it read-only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.folders import folder_archive

__all__ = [
    "OWNER_LABEL",
    "EngineFacts",
    "connect",
    "endpoint",
    "facts",
    "host_image",
    "owner",
    "reap_stale",
]

OWNER_LABEL = "bumpscout.owner"
HOST_REPOSITORY = "bumpscout-host"
TIMEOUT_S = 60
INSTALL = (
    "Start Docker on this machine (`apt install docker.io`, `systemctl start docker`), let this "
    "user reach its socket (group `docker`), or point DOCKER_HOST to unix:///PATH."
)
DEMANDS = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "processors"}


@dataclass(frozen=True)
class EngineFacts:
    """What matters of ``docker info``."""

    version: str
    processors: int
    mapped: bool
    seccomp: bool
    gpus: bool


def endpoint() -> str:
    """Return the address of the engine: DOCKER_HOST, or the first usual socket that exists.

    Raises:
        SandboxUnavailable: if there is none, or it is not on this machine.
    """
    named = os.environ.get("DOCKER_HOST", "")
    if named:
        if not named.startswith("unix://"):
            raise SandboxUnavailable(
                f"DOCKER_HOST is {named}: an engine elsewhere does not see this machine's "
                "interpreter and files. Use one that listens on a unix socket here."
            )
        return named
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    for path in (Path("/var/run/docker.sock"), Path(runtime) / "docker.sock"):
        if path.exists():
            return f"unix://{path}"
    raise SandboxUnavailable(f"There is no Docker socket on this machine. {INSTALL}")


@contextlib.contextmanager
def connect() -> Iterator[Any]:
    """Yield a client (`docker.APIClient`).

    Raises:
        SandboxUnavailable: if no engine answers, or the one that does failed.
    """
    address = endpoint()
    _knock(address)
    try:
        import docker
        from requests.exceptions import RequestException
    except ImportError as error:
        raise SandboxUnavailable(
            "The Python package docker is not installed; install bumpscout again with "
            "constraints.txt."
        ) from error
    with contextlib.ExitStack() as stack:
        try:
            client = docker.APIClient(base_url=address, timeout=TIMEOUT_S)
            stack.callback(client.close)
            yield client
        except docker.errors.ImageNotFound as error:
            raise SandboxUnavailable(
                f"The Docker engine has no such image: {error.explanation}. Build it from "
                "sandbox/Dockerfile, or unset BUMPSCOUT_DOCKER_IMAGE."
            ) from error
        except docker.errors.APIError as error:
            raise SandboxUnavailable(
                f"The Docker engine at {address} refuses: {str(error.explanation)[:500]}"
            ) from error
        except (docker.errors.DockerException, RequestException) as error:
            raise SandboxUnavailable(
                f"No Docker engine answers at {address}: {str(error)[:300]}. {INSTALL}"
            ) from error


def _knock(address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(TIMEOUT_S)
        try:
            line.connect(address.removeprefix("unix://"))
        except OSError as error:
            raise SandboxUnavailable(
                f"No Docker engine answers at {address}: {error.strerror or error}. {INSTALL}"
            ) from error


def facts(client: Any) -> EngineFacts:
    """Ask the engine what it enforces.

    Raises:
        SandboxUnavailable: if it lacks a limit that a job must have.
    """
    info = client.info()
    if info.get("OSType") != "linux":
        raise SandboxUnavailable(f"The Docker engine runs {info.get('OSType')}, not Linux.")
    missing = [said for key, said in DEMANDS.items() if not info.get(key)]
    if missing:
        raise SandboxUnavailable(
            f"The Docker engine cannot limit {', '.join(missing)} on this machine. Give it control "
            "groups (rootless engines need cgroup v2 with delegated controllers: memory, pids, "
            "cpu)."
        )
    options = " ".join(info.get("SecurityOptions") or ())
    return EngineFacts(
        version=str(info.get("ServerVersion")),
        processors=int(info.get("NCPU", 1)),
        mapped="name=rootless" in options or "name=userns" in options,
        seccomp="name=seccomp" in options,
        gpus="nvidia" in (info.get("Runtimes") or {}),
    )


def host_image(client: Any) -> str:
    """Return the image of empty folders, importing it (some KB) where the engine has none."""
    import docker

    archive = folder_archive()
    tag = hashlib.sha256(archive).hexdigest()[:16]
    name = f"{HOST_REPOSITORY}:{tag}"
    try:
        client.inspect_image(name)
    except docker.errors.ImageNotFound:
        client.import_image_from_data(archive, repository=HOST_REPOSITORY, tag=tag)
    return name


def owner() -> str:
    """Return what names this process for good: boot, PID namespace, PID, start time."""
    return f"{_here()}/{os.getpid()}/{_started(os.getpid())}"


def reap_stale(client: Any) -> int:
    """Remove the containers of owners that are dead, and return how many there were.

    A container ends and is removed by itself when its owner dies; this is for what an engine that
    was itself killed has left.
    """
    import docker

    found = client.containers(all=True, filters={"label": OWNER_LABEL})
    stale = 0
    for container in found:
        where, _, life = str(container["Labels"][OWNER_LABEL]).rpartition("/")
        where, _, pid = where.rpartition("/")
        if where != _here() or not pid.isdigit() or _started(int(pid)) == life:
            continue
        with contextlib.suppress(docker.errors.APIError):
            client.remove_container(container["Id"], force=True, v=True)
        stale += 1
    return stale


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "gone"
    return text.rpartition(")")[2].split()[19]
