"""Builds bubblewrap's arguments: namespaces, workspaces, what a job sees, what it may use."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.mounts import WORKSPACES, system_mounts
from bumpscout_sandbox.process import FIRST_PROCESS, LAUNCHER
from bumpscout_tools.errors import ConfigurationError

__all__ = [
    "USER_NAMESPACES",
    "Descriptors",
    "bubblewrap",
    "folders",
    "input_mounts",
    "is_root",
    "launcher",
    "namespaces",
    "restrictions",
    "rlimits",
    "sealed",
]

MINIMUM_VERSION = (0, 8, 0)
INSTALL = "Install bubblewrap 0.8 or later (`apt install bubblewrap`)."
USER_NAMESPACES = (
    "This machine may forbid user namespaces: on Ubuntu 23.10 and later allow them for bwrap with "
    "an AppArmor profile (`apt install apparmor-profiles`, then load `bwrap-userns-restrict`) or "
    "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`; elsewhere see `sysctl "
    "user.max_user_namespaces kernel.unprivileged_userns_clone`; in a container start it with "
    "`--security-opt seccomp=unconfined` or use a sandbox on the host."
)


@dataclass
class Descriptors:
    """Descriptors that are handed to bubblewrap, closed here at the end of the block."""

    numbers: list[int] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Descriptors:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._stack.close()

    def keep(self, descriptor: int) -> int:
        """Take over an open descriptor that bubblewrap is to inherit."""
        self._stack.callback(os.close, descriptor)
        self.numbers.append(descriptor)
        return descriptor

    def text(self, content: bytes) -> int:
        """Return a descriptor from which this content can be read."""
        descriptor = self.keep(os.memfd_create("bumpscout"))
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def input(self, path: Path) -> int:
        """Open an input of a job.

        Raises:
            ConfigurationError: if it cannot be read.
        """
        try:
            return self.keep(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            raise ConfigurationError(
                f"The input {path} cannot be read: {error.strerror}."
            ) from error


def is_root() -> bool:
    """Return whether jobs are started by root."""
    return os.geteuid() == 0


def bubblewrap() -> str:
    """Return the path of bubblewrap.

    Raises:
        SandboxUnavailable: if it, or a tool that it is used with, is missing or too old.
    """
    if platform.system() != "Linux":
        raise SandboxUnavailable(f"bubblewrap runs on Linux only, this is {platform.system()}.")
    path = shutil.which("bwrap")
    if path is None:
        raise SandboxUnavailable(f"There is no bwrap on this machine's PATH. {INSTALL}")
    for tool in ("prlimit", "setpriv"):
        if not Path("/usr/bin", tool).exists():
            raise SandboxUnavailable(f"There is no /usr/bin/{tool}; install util-linux.")
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", answer))
    if version < MINIMUM_VERSION:
        raise SandboxUnavailable(f"{path} is too old ({answer.strip()}). {INSTALL}")
    return path


def namespaces(*, server: bool = False) -> list[str]:
    """Return the arguments that put a process into namespaces of its own.

    Args:
        server: it makes a user namespace itself, and cages for jobs in that.
    """
    arguments = ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if is_root():
        # A user namespace made by root maps to host root: leave it out, drop to a plain user
        # inside.
        arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        arguments += ["--unshare-cgroup-try"]
        for capability in ("SETUID", "SETGID", "SYS_ADMIN" if server else "SETPCAP"):
            arguments += ["--cap-add", f"CAP_{capability}"]
    else:
        arguments += ["--unshare-all", "--unshare-user"]
        arguments += [] if server else ["--disable-userns", "--as-pid-1"]
    return [*arguments, "--hostname", "sandbox"]


def folders(workspace_bytes: int) -> list[str]:
    """Return the arguments for workspaces, /proc, /dev, processors, system and library.

    Later mounts hide earlier ones: an interpreter below /tmp has to come after /tmp.
    """
    arguments = ["--proc", "/proc", "--dev", "/dev"]
    # What is mapped from /dev/zero belongs to no process; terminals would outlive a job.
    arguments += ["--ro-bind", "/dev/null", "/dev/zero"]
    arguments += ["--perms", "0555", "--tmpfs", "/dev/pts", "--remount-ro", "/dev/pts"]
    for path in WORKSPACES:
        arguments += ["--perms", "1777", "--size", str(workspace_bytes), "--tmpfs", path]
    processors = "/sys/devices/system/cpu"
    for parent in ("/sys", "/sys/devices", "/sys/devices/system"):
        arguments += ["--dir", parent, "--chmod", "0755", parent]
    arguments += ["--ro-bind-try", processors, processors]
    arguments += system_mounts()
    for folder in ("/in", "/job"):
        arguments += ["--dir", folder, "--chmod", "0755", folder]
    return arguments


def sealed() -> list[str]:
    """Return the arguments that close what is not a workspace; they come last."""
    return ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/out"]


def input_mounts(
    texts: Mapping[str, bytes], inputs: Mapping[str, Path], descriptors: Descriptors
) -> list[str]:
    """Return the arguments that show texts at their paths, and inputs in /in.

    Raises:
        ConfigurationError: if an input cannot be read.
    """
    arguments: list[str] = []
    for target, content in texts.items():
        number = str(descriptors.text(content))
        arguments += ["--perms", "0444", "--ro-bind-data", number, target]
    for name, path in inputs.items():
        descriptor = descriptors.input(path)
        if is_root() and not os.fstat(descriptor).st_mode & stat.S_IROTH:
            # The job's own user could not read it: hand it a copy.
            arguments += ["--perms", "0444", "--ro-bind-data", str(descriptor), f"/in/{name}"]
        else:
            arguments += ["--ro-bind", str(path.resolve()), f"/in/{name}"]
    return arguments


def rlimits(limits: Limits) -> dict[str, tuple[int, int]]:
    """Return the kernel's limits of each process of a job: name -> (soft, hard)."""
    seconds = max(1, round(limits.cpu_s))
    both = {
        "CORE": 0,
        "DATA": limits.memory_bytes,
        "FSIZE": limits.workspace_bytes,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "NOFILE": 1024,
        "NPROC": limits.processes,
        "RTPRIO": 0,
    }
    return {"CPU": (seconds, seconds + 2), **{name: (value, value) for name, value in both.items()}}


def launcher() -> list[str]:
    """Return the command that waits for the start of a job and then starts the rest."""
    if is_root():
        return list(LAUNCHER)
    return [sys.executable, "-I", "-S", "-c", FIRST_PROCESS]


def restrictions(limits: Limits, uid: int) -> list[str]:
    """Return the commands, run inside, that take limits and rights away for good."""
    arguments = ["/usr/bin/prlimit"]
    arguments += [f"--{n.lower()}={soft}:{hard}" for n, (soft, hard) in rlimits(limits).items()]
    arguments += ["--"]
    if is_root():
        arguments += ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        arguments += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    return arguments
