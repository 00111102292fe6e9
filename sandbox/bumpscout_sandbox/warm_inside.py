"""The program of a warm server, inside the wall: pays for the imports once, then forks a job each.

The host shows this file inside as text; it imports nothing of ours. Three processes, all of them
root of one user namespace and of nothing else:

- the *keeper* prepares a cage for each job: PID, mount and IPC namespaces of its own with fresh
  workspaces, made by a child that stays as their first process and then only reaps;
- the *zygote* has the libraries loaded; for each job it forks a child into the cage, waits for it
  and reports the status that the kernel gives;
- the *job* enters the cage, gives up every right and descriptor, and becomes the script.

A job sees no process but its own, and holds no descriptor that leads anywhere but to its output.
"""

from __future__ import annotations

import array
import atexit
import base64
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import types
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = (
    4, 22, 24, 38, 47,
)  # fmt: skip
CLEAR_ALL, FILTER_MODE, DETACH = 4, 2, 2
CAPABILITY_VERSION_3 = 0x20080522
MAX_MESSAGE, MAX_FILES = 1 << 16, 250
COVERED = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
SCRIPT_AT = "/job/script.py"
ENTERED = b"entered"

Trace = TracebackType | None
libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


class _Ending:
    """What a script leaves to its process: the exit status."""

    def __init__(self) -> None:
        self.status = 0

    def leave(self) -> NoReturn:
        """End without taking the interpreter to pieces, which costs more than most jobs."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(self.status)


def main() -> None:
    """Serve until the host goes away; in the process of a job, run its script."""
    ending = _Ending()
    # Registered first, so it runs last: what the script left to be done at exit is done by then.
    atexit.register(ending.leave)
    keeper, zygote = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    config, _ = _receive(keeper)
    _become_root_of_nothing(keeper, config)
    if os.fork():
        zygote.close()
        _serve_cages(keeper, config)
    keeper.close()
    _serve_jobs(zygote, config)
    _run_script(ending)


def _become_root_of_nothing(keeper: socket.socket, config: dict[str, Any]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if config["root"]:
        # bubblewrap covers parts of /proc for root, and the kernel then refuses to mount another.
        _mount("proc", "/proc", "proc", NO_SUID | NO_DEVICES | NO_EXEC)
    # The PID namespace too has to belong to the user namespace: the kernel lets nobody back into
    # one that does not.
    _demand(libc.unshare(NEW_USER | NEW_MOUNTS | NEW_PID), "unshare")
    if config["root"]:
        _send(keeper, {"map": True})
        _receive(keeper)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    else:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    with contextlib.suppress(OSError):
        _write("/proc/sys/user/max_user_namespaces", "0")
    _prctl(PR_SET_DUMPABLE, 0)
    _mount(None, "/", None, RECURSIVE | PRIVATE)
    if first := os.fork():
        os.closerange(3, 4 * MAX_FILES)
        os.waitpid(first, 0)
        os._exit(0)


def _serve_cages(keeper: socket.socket, config: dict[str, Any]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    while True:
        request, files = _receive(keeper)
        if not request:
            os._exit(0)
        try:
            _demand(libc.unshare(NEW_PID), "unshare")
            if os.fork() == 0:
                _guard_cage(keeper, config, request, files)
            _demand(libc.setns(own, NEW_PID), "setns")
        except OSError as error:
            _send(keeper, {"nonce": request["nonce"], "failed": f"keeper: {error}"})
        for file in files:
            os.close(file)


def _guard_cage(
    keeper: socket.socket, config: dict[str, Any], request: dict[str, Any], files: list[int]
) -> NoReturn:
    try:
        folders = _furnish(config, request, files)
        spaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("pid", "mnt", "ipc")]
        given = [os.pidfd_open(os.getpid()), *spaces, *folders]
        _send(keeper, {"nonce": request["nonce"], "ready": True}, given)
        os.closerange(0, 4 * MAX_FILES)
        # The first process of a PID namespace ignores what it has no handler for.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _reap_for_ever()
    except OSError as error:
        _send(keeper, {"nonce": request["nonce"], "failed": f"cage: {error}"})
    finally:
        os._exit(1)


def _reap_for_ever() -> NoReturn:
    # Only then is the processor time of an orphan counted, with that of this process.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigwait({signal.SIGCHLD})
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _furnish(config: dict[str, Any], request: dict[str, Any], files: list[int]) -> list[int]:
    _demand(libc.unshare(NEW_MOUNTS | NEW_IPC), "unshare")
    options = f"size={int(request['bytes'])},nr_inodes={int(request['inodes'])},mode=1777"
    # A Python below a workspace would be covered: it waits at /in until the workspace is there.
    for path in config["covered"]:
        _mount(path, "/in", None, BIND | RECURSIVE)
    for path in config["workspaces"]:
        _mount("tmpfs", path, "tmpfs", NO_SUID | NO_DEVICES, options)
    for path in reversed(config["covered"]):
        Path(path).mkdir(mode=0o755, parents=True)
        _mount("/in", path, None, BIND | RECURSIVE)
        _demand(libc.umount2(b"/in", DETACH), "umount /in")
    _mount("proc", "/proc", "proc", NO_SUID | NO_DEVICES | NO_EXEC)
    for path in COVERED:
        with contextlib.suppress(FileNotFoundError):
            _mount(path, path, None, BIND | RECURSIVE)
            _mount(None, path, None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES | NO_EXEC)
    targets = [SCRIPT_AT, *(f"/in/{name}" for name in request["inputs"])]
    for folder in ("/in", "/job"):
        _mount("tmpfs", folder, "tmpfs", NO_SUID | NO_DEVICES, "mode=0755")
    for path, file in zip(targets, files, strict=True):
        _copy(file, path)
    for folder in ("/in", "/job"):
        _mount(None, folder, None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES)
    return [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in config["folders"]]


def _copy(source: int, path: str) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    start = 0
    while moved := os.sendfile(target, source, start, 1 << 30):
        start += moved
    os.close(target)


def _serve_jobs(zygote: socket.socket, config: dict[str, Any]) -> None:
    """Load the libraries and fork a job for each request; return only as a job."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    missing = _load(config["preload"])
    _send(zygote, {"ready": True, "missing": missing, **_memory()})
    while True:
        request, files = _receive(zygote)
        if not request:
            os._exit(0)
        told, tell = os.pipe()
        try:
            _demand(libc.setns(files[0], NEW_PID), "setns")
            child = os.fork()
            if child == 0:
                _enter_cage(request, config, files, tell)
                return
            _demand(libc.setns(own, NEW_PID), "setns")
        except OSError as error:
            _send(zygote, {"nonce": request["nonce"], "failed": f"zygote: {error}"})
            os._exit(1)
        for file in (*files, tell):
            os.close(file)
        said = os.read(told, 4096)
        os.close(told)
        if said == ENTERED:
            _send(zygote, {"nonce": request["nonce"], "started": True})
        else:
            reason = said.decode("utf-8", "replace") or "the job ended early"
            _send(zygote, {"nonce": request["nonce"], "failed": reason})
        _, code, usage = os.wait4(child, 0)
        ended = {
            "nonce": request["nonce"],
            "status": os.waitstatus_to_exitcode(code),
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }
        _send(zygote, ended)


def _load(preload: list[str]) -> list[str]:
    missing = []
    for name in preload:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    # What libraries would tidy up at their exit costs more than most jobs and changes nothing.
    for finalizer in vars(weakref.finalize).get("_registry", ()):
        finalizer.atexit = False
    gc.collect()
    gc.freeze()
    # Libraries that keep threads end them at a fork and start them again when they are needed.
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return missing


def _enter_cage(
    request: dict[str, Any], config: dict[str, Any], files: list[int], tell: int
) -> None:
    """Become the process that may run the script; end at once where any step fails."""
    entered = False
    try:
        _demand(libc.setns(files[1], NEW_MOUNTS), "setns")
        _demand(libc.setns(files[2], NEW_IPC), "setns")
        os.setsid()
        os.chdir("/out")
        os.umask(0o022)
        nothing = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, nothing), (1, files[3]), (2, files[4]), (3, tell)):
            os.dup2(source, target)
        tell = 3
        os.closerange(4, 1 << 20)
        for name, (soft, hard) in request["rlimits"].items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (soft, hard))
        _give_up_rights(config)
        with contextlib.suppress(OSError):
            _write("/proc/self/oom_score_adj", "1000")
        _reseed()
        os.write(tell, ENTERED)
        os.close(tell)
        entered = True
    except OSError as error:
        os.write(tell, f"cannot enter its cage: {error}"[:2000].encode())
    finally:
        if not entered:
            os._exit(1)


def _give_up_rights(config: dict[str, Any]) -> None:
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    if config["root"]:
        os.setresgid(config["job_id"], config["job_id"], config["job_id"])
        os.setresuid(config["job_id"], config["job_id"], config["job_id"])
    _prctl(PR_CAP_AMBIENT, CLEAR_ALL)
    nothing = (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _demand(libc.capset(header, nothing), "capset")
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    # Only from here on, when nothing of the zygote's rights is left, may others look into it.
    _prctl(PR_SET_DUMPABLE, 1)
    if code := base64.b64decode(config["filter"]):
        program = _Filter(len(code) // 8, code)
        _demand(libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program), 0, 0), "seccomp")


def _reseed() -> None:
    # A cold start has generators of its own; `random` sees to itself after a fork.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def _run_script(ending: _Ending) -> None:
    module = types.ModuleType("__main__")
    names = module.__dict__
    names["__file__"] = SCRIPT_AT
    sys.modules["__main__"] = module
    sys.argv = [SCRIPT_AT]
    sys.excepthook = _show
    ending.status = 1
    try:
        exec(compile(Path(SCRIPT_AT).read_bytes(), SCRIPT_AT, "exec", dont_inherit=True), names)
        ending.status = 0
    except SystemExit as error:
        ending.status = _exit_status(error.code)


def _show(kind: type[BaseException], error: BaseException, trace: Trace) -> None:
    # As a cold start would print it: without the frames of this file.
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.__excepthook__(kind, error, trace)


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _send(channel: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    channel.sendmsg([json.dumps(message).encode()], rights)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    content, files, _, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_FILES)
    return (json.loads(content) if content else {}), files


def _memory() -> dict[str, int]:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    lines = dict(line.split(":", 1) for line in text.splitlines())
    names = {"data_bytes": "VmData", "rss_bytes": "VmRSS"}
    threads = {"threads": int(lines["Threads"])}
    return threads | {key: int(lines[name].split()[0]) << 10 for key, name in names.items()}


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, options)]
    result = libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _demand(result, f"mount {target}")


def _prctl(option: int, value: int) -> None:
    _demand(libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def _demand(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


if __name__ == "__main__":
    main()
