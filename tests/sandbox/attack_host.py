"""The host's side of the attack suite: canaries, listeners, victims, and walls with one hole."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest

import bumpscout_sandbox
from bumpscout_sandbox import bwrap
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.mounts import HIDDEN
from bumpscout_sandbox.process import WallProcess
from bumpscout_sandbox.provider import Job, JobResult, Provider
from bumpscout_sandbox.watchdog import Watchdog
from bumpscout_tools.events.view import View

MIB = 1 << 20
INSIDE = [
    Path(__file__).with_name(f"attack_{name}.py") for name in ("tools", "reads", "writes", "rights")
]
NAMES = re.findall(r"@attack\ndef (\w+)", "".join(path.read_text("utf-8") for path in INSIDE))
PROBES = """
import sys
sys.path.insert(0, "/in")
import attack_reads, attack_rights, attack_tools, attack_writes
attack_tools.try_all()
"""
LIMITS = Limits(
    wall_s=120, cpu_s=120, memory_bytes=1024 * MIB, processes=48, workspace_bytes=16 * MIB,
    workspace_inodes=500, output_bytes=MIB,
)  # fmt: skip
Edit = Callable[[list[str]], list[str]]


@dataclass
class Host:
    """What is on the host for an attack to reach: files, sockets, a process.

    Attributes:
        folder: private to the test.
        token: stands in every secret file and is sent by every listener; no job is told it.
        targets: what the probes are told.
        written: files that must not change, with their content.
    """

    folder: Path
    token: str = field(default_factory=lambda: f"token-{secrets.token_hex(8)}")
    targets: dict[str, object] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Host:
        self._plant()
        self._listen()
        self._start_victim()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _plant(self) -> None:
        home, bare = self.folder / "home", self.folder / "bare"
        for name in ("home/.ssh", "vault", "bare", "in"):
            (self.folder / name).mkdir(parents=True)
        workspace = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bumpscout-")))
        workspace.chmod(0o755)
        secret_files = {
            "secret": bare / "secret.txt", "ssh": home / ".ssh" / "id_ed25519",
            "vault": self.folder / "vault" / "events.bin", "workspace": workspace / "scores.npy",
            "application": bare / "ledger.py", "block_device": bare / "disk",
        }  # fmt: skip
        for path in secret_files.values():
            path.write_text(self.token)
        canary = self.folder / "in" / "canary.txt"
        canary.write_text("before")
        canary.chmod(0o666)
        self.written[canary] = "before"
        labelled = self.folder / "vault" / "labelled.h5"
        with h5py.File(labelled, "w") as file:
            file["df/block0_items"] = np.array([b"pxj1", self.token.encode()])
        rng = np.random.default_rng(1)
        view = View(
            event_id=np.arange(10, dtype=np.uint64), mass=rng.random(10),
            features=rng.random((10, 1)), feature_names=("mj_light",),
        )  # fmt: skip
        view.write(self.folder / "in" / "view.parquet")
        application = Path(bumpscout_sandbox.__file__).parent / "ledger.py"
        self.targets |= {
            **{name: str(path) for name, path in secret_files.items()},
            "application": str(application), "canary": str(canary), "labelled": str(labelled),
            "home": str(home), "shown_in_root": _shown_below(Path("/root")),
            "new_name": f"bumpscout-attack-{secrets.token_hex(4)}", "hidden": list(HIDDEN),
            "key": f"sk-{self.token}", "descriptor_mark": f"inherited-{self.token}",
            "python_options": ["-P", "-s"], "attacks": [], "leave": False, "root_pid": 0,
        }  # fmt: skip
        self.targets["system_file"] = f"/usr/local/share/{self.targets['new_name']}"

    def _listen(self) -> None:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        abstract, unix = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        name = f"bumpscout-attack-{secrets.token_hex(4)}"
        place = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "engine.sock"
        place.parent.chmod(0o755)
        abstract.bind("\0" + name)
        unix.bind(str(place))
        place.chmod(0o777)
        six = socket.create_server(("::1", 0), family=socket.AF_INET6) if _has_ipv6() else None
        for server in (tcp, abstract, unix, *([six] if six else [])):
            server.listen()
            self._answer(self._serve, server)
        self._answer(self._serve_udp, udp)
        self.targets |= {
            "tcp_port": tcp.getsockname()[1], "udp_port": udp.getsockname()[1], "abstract": name,
            "tcp6_port": six.getsockname()[1] if six else 1, "unix_socket": str(place),
        }  # fmt: skip

    def _answer(self, serve: Callable[[socket.socket], None], server: socket.socket) -> None:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()

        def end() -> None:
            # Closed under its thread, another socket would get the same number, and its messages
            # be lost to this thread.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            server.close()

        self.stack.callback(end)

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = server.accept()
                with peer:
                    peer.sendall(self.token.encode())

    def _serve_udp(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                content, peer = server.recvfrom(100)
                if not content:
                    return
                server.sendto(self.token.encode(), peer)

    def _start_victim(self) -> None:
        marker = f"victim-{secrets.token_hex(4)}"
        command = [sys.executable, "-c", "import time; time.sleep(600)", marker]
        if os.geteuid() == 0:
            # A process of root's that has nothing else that a job could lack.
            command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        environment = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": str(self.targets["key"])}
        self.victim = subprocess.Popen(command, env=environment)
        self.stack.callback(self._end_victim)
        self.targets |= {"victim": self.victim.pid, "marker": marker}

    def _end_victim(self) -> None:
        self.victim.kill()
        self.victim.wait()

    def attack(self, provider: Provider, *, cold: bool, **targets: object) -> dict[str, object]:
        """Let a job try all attacks, or those named by `attacks`; return what each got."""
        result = self.job(provider, PROBES, cold=cold, **targets)
        assert result.outcome == "ok", result.stderr[-2000:] + " ".join(result.problems)
        got: dict[str, object] = json.loads(result.stdout)
        return got

    def job(
        self, provider: Provider, script: str, *, cold: bool = True, **targets: object
    ) -> JobResult:
        """Run a job that is told the targets."""
        path = self.folder / "in" / "targets.json"
        path.write_text(json.dumps(self.targets | targets))
        inputs = {p.name: p for p in [*(self.folder / "in").iterdir(), *INSIDE]}
        collect = Path(tempfile.mkdtemp(dir=self.folder))
        return provider.run(
            Job(script=script, collect=collect, inputs=inputs, limits=LIMITS, cold=cold)
        )

    def descriptor(self) -> int:
        """Return a descriptor with a mark that no job should find."""
        number = os.memfd_create("mark")
        self.stack.callback(os.close, number)
        os.pwrite(number, str(self.targets["descriptor_mark"]).encode(), 0)
        os.set_inheritable(number, True)
        return number

    def stale(self) -> list[str]:
        """Return the workspaces of the host, used by a job before, and its canary."""
        Path("/tmp/left-behind").write_text("x")
        self.stack.callback(Path("/tmp/left-behind").unlink)
        return ["/tmp"]

    def changes(self) -> list[str]:
        """Return what an attack has changed on the host."""
        found = [str(path) for path, text in self.written.items() if path.read_text() != text]
        if self.victim.poll() is not None:
            found.append("victim")
        name = str(self.targets["new_name"])
        library = Path(bumpscout_sandbox.__file__).parents[2] / "tools" / "bumpscout_tools"
        places = ("/", "/usr/local/share", sys.prefix, Path(os.__file__).parent, "/dev", library,
                  library / "__pycache__")  # fmt: skip
        found += [str(Path(p, name)) for p in places if Path(p, name).exists()]
        return found


def _shown_below(folder: Path) -> list[str]:
    """Return what of a closed folder the interpreter's own path makes visible."""
    paths = {Path(p).resolve() for p in (sys.prefix, sys.base_prefix)}
    return [path.relative_to(folder).parts[0] for path in paths if path.is_relative_to(folder)]


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def refusal(provider: Provider) -> str:
    """Return why a provider does not answer on this machine, or nothing."""
    failed = [row for row in provider.check() if not row.ok]
    return f"{failed[0].what}: {failed[0].remedy}" if failed else ""


@dataclass
class Hole:
    """One defence that is taken out of the bubblewrap wall.

    Attributes:
        command: changes bubblewrap's arguments.
        inside: changes the command that it starts.
        environment: added to that of the job.
        descriptors: handed to the job.
        targets: told to the probes.
        watched: whether the watchdog looks.
    """

    command: Edit = list
    inside: Edit = list
    environment: dict[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    targets: dict[str, object] = field(default_factory=dict)
    watched: bool = True


@contextlib.contextmanager
def hole_in_the_wall(hole: Hole) -> Iterator[None]:
    """Open a hole in every cold bubblewrap wall of this process."""

    class Holed(WallProcess):
        def __init__(self, command, inside, environment, descriptors, output) -> None:
            super().__init__(
                hole.command(list(command)),
                hole.inside(list(inside)),
                environment | hole.environment,
                (*descriptors, *hole.descriptors),
                output,
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bwrap, "WallProcess", Holed)
        if not hole.watched:
            patch.setattr(Watchdog, "poll", lambda *_: None)
        yield


def without(*names: str, values: int = 0) -> Edit:
    """Return an edit that drops options, each with the given number of values."""

    def edit(arguments: list[str]) -> list[str]:
        kept: list[str] = []
        skip = 0
        for argument in arguments:
            if argument in names:
                skip = values + 1
            if skip:
                skip -= 1
            else:
                kept.append(argument)
        return kept

    return edit


def showing(*paths: str, writable: bool = False) -> Edit:
    """Return an edit that shows host paths inside, last of all mounts."""

    def edit(arguments: list[str]) -> list[str]:
        at = next(
            number
            for number, pair in enumerate(itertools.pairwise(arguments))
            if pair == ("--remount-ro", "/dev")
        )
        binds: list[str] = []
        for path in paths:
            for parent in reversed(Path(path).parents[:-1]):
                binds += ["--dir", str(parent)]
            binds += ["--bind" if writable else "--ro-bind", path, path]
        return [*arguments[:at], *binds, *arguments[at:]]

    return edit


def all_rights(arguments: list[str]) -> list[str]:
    """Leave root's capabilities, and the filter of system calls out."""
    changed = without("--seccomp", "--cap-drop", "--cap-add", values=1)(arguments)
    return without("--unshare-cgroup-try")(changed)


def writable_mounts(arguments: list[str]) -> list[str]:
    """Make every mount of the host writable, and the root folder."""
    changed = ["--bind" if argument == "--ro-bind" else argument for argument in arguments]
    return without("--remount-ro", values=1)(changed)


def with_zeros(arguments: list[str]) -> list[str]:
    """Leave /dev/zero as the kernel made it."""
    at = arguments.index("/dev/zero") - 2
    return [*arguments[:at], *arguments[at + 3 :]]


def as_root(arguments: list[str]) -> list[str]:
    """Leave out the change of user, and with it the end of all rights."""
    at = arguments.index("/usr/bin/setpriv")
    return [*arguments[:at], *arguments[arguments.index("--", at) + 1 :]]


def without_limits(arguments: list[str]) -> list[str]:
    """Leave out the kernel's limits."""
    at = arguments.index("/usr/bin/prlimit")
    return [*arguments[:at], *arguments[arguments.index("--", at) + 1 :]]


def clean_up(host: Host) -> None:
    """Remove what a writable wall let through."""
    for path in host.changes():
        if Path(path).name == host.targets["new_name"]:
            Path(path).unlink()
    for path, text in host.written.items():
        path.write_text(text)
