"""What the attacks share; it runs inside a job, beside them in /in.

`/in/targets.json` says where the host has put its canaries; what they contain it does not say, so
whoever prints their content has read them.
"""

import ctypes
import json
import os
import pathlib
import signal
import sys

targets = json.loads(pathlib.Path("/in/targets.json").read_text())
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
ATTACKS = {}


def attack(function):
    """Enlist an attack: it returns what it got hold of (True, or text); OSError means refused."""
    ATTACKS[function.__name__] = function
    return function


def demand(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return True


def syscall(x86, arm, *arguments):
    return demand(libc.syscall(x86 if X86 else arm, *arguments))


def names(folder):
    return [path.name for path in pathlib.Path(folder).iterdir()]


def read(path, size=1 << 16):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return os.read(descriptor, size).decode("latin-1")


def write(path, text="hacked"):
    pathlib.Path(path).write_text(text)
    return True


def others():
    """Processes that are not of this job's making."""
    mine = {os.getpid(), os.getppid(), targets["root_pid"] or 0}
    return [name for name in names("/proc") if name.isdigit() and int(name) not in mine]


def attempt(function):
    """Run one attack in a child, so that none can spoil the next."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        # Whatever else it raises ends the child without an answer.
        sys.stderr = None
        try:
            got = function()
            # A machine with many processes has much to say; a pipe takes it in one piece.
            os.write(writer, json.dumps(got[:4000] if isinstance(got, str) else got).encode())
        finally:
            os._exit(0)
    os.close(writer)
    answer = b""
    while chunk := os.read(reader, 1 << 16):
        answer += chunk
    os.close(reader)
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else False


def try_all():
    """Print what each attack, or each chosen one, got."""
    chosen = targets["attacks"] or ATTACKS
    sys.stdout.write(json.dumps({name: attempt(ATTACKS[name]) for name in chosen}))
    if targets["leave"]:
        for folder in ("/out", "/tmp", "/dev/shm"):
            pathlib.Path(folder, "left-behind").write_text("x")
