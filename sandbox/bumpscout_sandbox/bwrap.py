"""The bubblewrap provider: runs a job in fresh namespaces, as root and as a plain user."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bumpscout_sandbox.checks import check_rows
from bumpscout_sandbox.collect import collect_outputs
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.mounts import TOOLS_AT, WORKSPACES, system_mounts
from bumpscout_sandbox.process import WallProcess
from bumpscout_sandbox.provider import CheckRow, Job, JobResult, Outcome
from bumpscout_sandbox.seccomp import filter_program
from bumpscout_sandbox.watchdog import Watchdog
from bumpscout_tools.errors import ConfigurationError

__all__ = ["BubblewrapProvider"]

MINIMUM_VERSION = (0, 8, 0)
SCRIPT_AT = "/job/script.py"
INSTALL = "Install bubblewrap 0.8 or later (`apt install bubblewrap`)."
USER_NAMESPACES = (
    "This machine may forbid user namespaces: on Ubuntu 23.10 and later allow them for bwrap with "
    "an AppArmor profile (`apt install apparmor-profiles`, then load `bwrap-userns-restrict`) or "
    "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`; elsewhere see `sysctl "
    "user.max_user_namespaces kernel.unprivileged_userns_clone`; in a container start it with "
    "`--security-opt seccomp=unconfined` or use a sandbox on the host."
)
FIRST_UID, UID_COUNT = 0x60000000, 0x10000000


@dataclass(frozen=True)
class BubblewrapProvider:
    """Runs jobs with bubblewrap.

    Started by root, a job gets a user id of its own, which exists nowhere else, without
    capabilities and without a user namespace; started by a plain user, it gets a user namespace in
    which no other can be made.
    """

    name: str = "bubblewrap"

    def check(self) -> list[CheckRow]:
        """Say what this machine offers; includes a trial run. See `Provider.check`."""
        return check_rows(self, _is_root(), filter_program() is not None)

    def run(self, job: Job) -> JobResult:
        """Run one job. See `Provider.run`."""
        with contextlib.ExitStack() as stack:
            descriptors: list[int] = []
            uid = _job_uid()
            # Later mounts hide earlier ones: an interpreter below /tmp has to come after /tmp.
            command = [_bubblewrap(), *_namespaces(), *_workspaces(job), *system_mounts()]
            command += _inputs(job, uid, stack, descriptors)
            command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/out"]
            if program := filter_program():
                command += ["--seccomp", str(_anonymous(program, stack, descriptors))]
            inside = [*_restrictions(job, uid), *_interpreter()]
            process = WallProcess(
                command, inside, _environment(job), tuple(descriptors), job.limits.output_bytes
            )
            try:
                stack.enter_context(process)
            except SandboxUnavailable as error:
                raise SandboxUnavailable(
                    f"bubblewrap does not start: {error} {USER_NAMESPACES}"
                ) from error
            return _watch(process, job)


def _watch(process: WallProcess, job: Job) -> JobResult:
    folders = {path: process.open_folder(path) for path in WORKSPACES}
    watchdog = Watchdog(job.limits, process.open_folder("/proc"), folders)
    stopped: tuple[Outcome, str] | None = None
    wall_s = 0.0
    process.go()
    for wall_s in process.running():
        if job.cancel is not None and job.cancel.is_set():
            stopped = "killed", "stopped by the caller"
        elif process.truncated:
            stopped = "output_truncated", f"stopped above {job.limits.output_bytes} bytes of output"
        else:
            stopped = watchdog.poll(wall_s)
        if stopped is not None:
            break
    status = process.kill()
    process.drain()
    watchdog.settle()
    stderr = process.stderr.decode("utf-8", "replace")
    stopped = stopped or _explain(status, stderr, process, watchdog, job)
    artifacts, problems = collect_outputs(folders["/out"], job.outputs, job.collect)
    if stopped is not None:
        problems = (f"The script was {stopped[1]}.", *problems)
    return JobResult(
        outcome=stopped[0] if stopped else "ok" if status == 0 else "error",
        exit_status=status,
        stdout=process.stdout.decode("utf-8", "replace"),
        stderr=stderr,
        wall_s=wall_s,
        cpu_s=watchdog.cpu_s,
        max_rss_bytes=watchdog.max_rss_bytes,
        artifacts=artifacts,
        problems=problems,
    )


def _explain(
    status: int | None, stderr: str, process: WallProcess, watchdog: Watchdog, job: Job
) -> tuple[Outcome, str] | None:
    # The kernel stops one process at its own limit; these are labels, the wall does not rest on
    # them.
    if process.truncated:
        return "output_truncated", f"cut off above {job.limits.output_bytes} bytes of output"
    if status == 0:
        return None
    if status in (128 + 24, 128 + 9) and watchdog.cpu_s >= 0.9 * job.limits.cpu_s:
        return "timeout", f"stopped after {job.limits.cpu_s:g} s of processor time"
    if watchdog.full:
        return "disk", f"out of disk space in {', '.join(sorted(watchdog.full))}"
    if re.search(
        r"MemoryError|bad_alloc|Cannot allocate memory|Unable to allocate", stderr[-4000:]
    ):
        return "memory", f"refused memory above {job.limits.memory_bytes} bytes"
    return None


def _is_root() -> bool:
    return os.geteuid() == 0


def _bubblewrap() -> str:
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


def _namespaces() -> list[str]:
    arguments = ["--die-with-parent", "--new-session"]
    if _is_root():
        # A user namespace made by root maps to host root: leave it out, drop to a plain user
        # inside.
        arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        arguments += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            arguments += ["--cap-add", capability]
    else:
        arguments += ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    return [*arguments, "--hostname", "sandbox"]


def _workspaces(job: Job) -> list[str]:
    arguments = ["--proc", "/proc", "--dev", "/dev"]
    for path in WORKSPACES:
        arguments += ["--perms", "1777", "--size", str(job.limits.workspace_bytes), "--tmpfs", path]
    processors = "/sys/devices/system/cpu"
    for parent in ("/sys", "/sys/devices", "/sys/devices/system"):
        arguments += ["--dir", parent, "--chmod", "0755", parent]
    return [*arguments, "--ro-bind-try", processors, processors]


def _inputs(job: Job, uid: int, stack: contextlib.ExitStack, descriptors: list[int]) -> list[str]:
    arguments: list[str] = []
    for folder in ("/in", "/job"):
        arguments += ["--dir", folder, "--chmod", "0755", folder]
    passwd = b"bumpscout:x:%d:%d::/tmp:/bin/sh\n" % (uid, uid)
    texts = {SCRIPT_AT: job.script.encode("utf-8", "surrogatepass"), "/etc/passwd": passwd}
    for target, text in texts.items():
        descriptor = _anonymous(text, stack, descriptors)
        arguments += ["--perms", "0444", "--ro-bind-data", str(descriptor), target]
    for name, path in job.inputs.items():
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ConfigurationError(
                f"The input {path} cannot be read: {error.strerror}."
            ) from error
        stack.callback(os.close, descriptor)
        if _is_root() and not os.fstat(descriptor).st_mode & stat.S_IROTH:
            # The job's own user could not read it: hand it a copy.
            descriptors.append(descriptor)
            arguments += ["--perms", "0444", "--ro-bind-data", str(descriptor), f"/in/{name}"]
        else:
            arguments += ["--ro-bind", str(path.resolve()), f"/in/{name}"]
    return arguments


def _anonymous(content: bytes, stack: contextlib.ExitStack, descriptors: list[int]) -> int:
    descriptor = os.memfd_create("bumpscout")
    stack.callback(os.close, descriptor)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    descriptors.append(descriptor)
    return descriptor


def _job_uid() -> int:
    # A user of its own: the kernel counts processes a user, and nothing else runs as this one.
    return FIRST_UID + secrets.randbelow(UID_COUNT) if _is_root() else os.geteuid()


def _restrictions(job: Job, uid: int) -> list[str]:
    limits = job.limits
    seconds = max(1, round(limits.cpu_s))
    arguments = [
        "/usr/bin/prlimit",
        "--core=0",
        f"--cpu={seconds}:{seconds + 2}",
        f"--data={limits.memory_bytes}",
        f"--fsize={limits.workspace_bytes}",
        "--memlock=0",
        "--msgqueue=0",
        "--nofile=1024",
        f"--nproc={limits.processes}",
        "--rtprio=0",
        "--",
    ]
    if _is_root():
        arguments += ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        arguments += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    return arguments


def _interpreter() -> list[str]:
    # -P and -s keep /out, the script's folder and user site-packages off sys.path; not -I, which
    # would also ignore PYTHONHASHSEED, and a script has to give the same scores again.
    return [sys.executable, "-P", "-s", "-B", SCRIPT_AT]


def _environment(job: Job) -> dict[str, str]:
    threads = str(job.limits.cpus)
    counted = ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR", "VECLIB")
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "bumpscout",
        "LANG": "C.UTF-8",
        "PYTHONPATH": TOOLS_AT,
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "NUMBA_CACHE_DIR": "/tmp/numba",
        **{f"{name}_NUM_THREADS": threads for name in counted},
    }
