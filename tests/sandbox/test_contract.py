"""The contract that every sandbox keeps, run against each one that answers on this machine.

A provider that does not answer is skipped with its reason, or fails where the environment's
BUMPSCOUT_REQUIRE_PROVIDERS names it.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bumpscout_sandbox.choice import PROVIDERS, survey
from bumpscout_sandbox.docker_engine import OWNER_LABEL, connect
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, JobResult, OutputSpec, Provider

MIB = 1 << 20
SCORES = OutputSpec(name="scores.npy", kind="npy", max_bytes=MIB)
ANSWER = OutputSpec(name="answer.json", kind="json", max_bytes=1000)
LIMITS = Limits(
    wall_s=60,
    cpu_s=60,
    memory_bytes=1024 * MIB,
    processes=48,
    workspace_bytes=16 * MIB,
    workspace_inodes=500,
    output_bytes=64 << 10,
)
PARENT = """
import pathlib, signal, sys
from bumpscout_sandbox.choice import PROVIDERS
from bumpscout_sandbox.provider import Job
# A shell that runs the tests in the background has the interrupt ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
provider = PROVIDERS[sys.argv[1]]()
try:
    provider.run(Job(script=sys.argv[2], collect=pathlib.Path(sys.argv[3]), cold=True))
except KeyboardInterrupt:
    provider.close()
    print("interrupted", open("/proc/thread-self/children").read().split())
"""
Run = Callable[..., JobResult]


@pytest.fixture(scope="module", params=sorted(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    (finding,) = survey(request.param).providers
    reason = finding.reason
    if reason and request.param in os.environ.get("BUMPSCOUT_REQUIRE_PROVIDERS", "").split():
        pytest.fail(f"{request.param} must answer here: {reason}")
    if reason:
        pytest.skip(f"{request.param}: {reason}")
    provider = PROVIDERS[request.param]()
    yield provider
    provider.close()


@pytest.fixture
def run(provider: Provider, tmp_path: Path) -> Run:
    collect = tmp_path / "collect"
    collect.mkdir()

    def run(script: str, **settings: object) -> JobResult:
        changes = {k: settings.pop(k) for k in list(settings) if k in Limits.model_fields}
        limits = LIMITS.model_copy(update=changes)
        return provider.run(Job(script=script, collect=collect, limits=limits, **settings))

    return run


def alive_with(marker: str) -> list[str]:
    """Processes of this machine whose command line holds a marker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def containers(owner: int) -> set[str]:
    """Return the containers of one process that the engine knows, if an engine answers."""
    try:
        with connect() as client:
            found = client.containers(all=True, filters={"label": OWNER_LABEL})
    except SandboxUnavailable:
        return set()
    return {c["Id"] for c in found if f"/{owner}/" in c["Labels"][OWNER_LABEL]}


def traces(folder: Path, owner: int, ids: set[str]) -> set[str]:
    """Return what jobs of a process have left: files, containers, mounts, control groups.

    Args:
        folder: where that process makes its temporary files.
        owner: its number.
        ids: its containers, as they were seen while they ran.
    """
    found = {str(path) for path in folder.iterdir()} | containers(owner)
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob("*/*/*") if path.is_dir()]
    marks = {str(folder), *ids}
    return found | {text for text in (*mounts, *groups) if any(mark in text for mark in marks)}


def settled(folder: Path, owner: int, ids: set[str]) -> set[str]:
    """Return the traces that are still there once they had time to go."""
    deadline = time.monotonic() + 20
    while (left := traces(folder, owner, ids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder that only this test uses."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_check_names_the_same_limits_for_every_provider(provider):
    rows = {row.what: row for row in provider.check()}
    assert [row.what for row in rows.values() if not row.ok] == []
    probed = {"vetted library", "other rooms hidden", "privileges", "network", "host files"}
    limits = {"wall time", "processor time", "memory", "processes", "disk", "number of files"}
    assert probed | limits | {"environment", "output", "no orphans"} <= set(rows)
    assert all(row.how for row in rows.values())


def test_providers_travel_to_other_processes(provider):
    assert pickle.loads(pickle.dumps(provider)).name == provider.name


def test_script_uses_the_vetted_library_and_leaves_an_array(run, tmp_path):
    data = tmp_path / "numbers.npy"
    np.save(data, np.arange(5.0))
    script = (
        "import numpy as np\n"
        "from bumpscout_tools.detectors import fold_of\n"
        "import lightgbm, scipy.stats\n"
        "x = np.load('/in/numbers.npy')\n"
        "np.save('/out/scores.npy', 2 * x)\n"
        "print('done', len(fold_of(np.arange(3, dtype=np.uint64), 2, 1)))\n"
    )
    result = run(script, inputs={"numbers.npy": data}, outputs=(SCORES,))
    assert (result.outcome, result.exit_status, result.stdout) == ("ok", 0, "done 3\n")
    assert result.problems == ()
    assert np.load(result.artifacts["scores.npy"]).tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert result.wall_s > 0
    assert result.cpu_s > 0
    assert result.max_rss_bytes > 10 * MIB


def test_large_outputs_arrive_whole(run):
    spec = OutputSpec(name="answer.json", kind="json", max_bytes=8 * MIB)
    script = "open('/out/answer.json', 'wb').write(bytes(range(256)) * 32768)"
    result = run(script, outputs=(spec,))
    assert result.artifacts["answer.json"].read_bytes() == bytes(range(256)) * 32768


def test_private_inputs_are_readable_inside_and_only_there(run, tmp_path):
    private = tmp_path / "task.json"
    private.write_text("{}")
    private.chmod(0o600)
    script = """
print(open('/in/task.json').read())
try:
    open('/in/task.json', 'w')
except OSError:
    print('read-only')
"""
    result = run(script, inputs={"task.json": private})
    assert result.stdout == "{}\nread-only\n"


def test_failing_script_is_an_error_with_its_traceback(run):
    result = run("raise ValueError('no such feature')")
    assert (result.outcome, result.exit_status) == ("error", 1)
    assert "/job/script.py" in result.stderr
    assert "ValueError: no such feature" in result.stderr


def test_exit_status_of_a_signal(run):
    result = run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert (result.outcome, result.exit_status) == ("error", 128 + signal.SIGTERM)


def test_environment_holds_nothing_of_the_caller(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("HTTP_PROXY", "http://user:sk-very-secret@proxy.invalid")
    script = """
import os
seen = [os.environ.values()]
for path in [f"/proc/{p}/environ" for p in os.listdir("/proc") if p.isdigit()]:
    try:
        seen.append([open(path).read()])
    except OSError:
        pass
print(any("sk-very-secret" in text for values in seen for text in values), len(seen) > 1)
print(sorted(set(os.environ) & {"OPENAI_API_KEY", "HTTP_PROXY", "HOSTNAME"}))
"""
    assert run(script).stdout == "False True\n[]\n"


def test_network_is_refused(run):
    script = """
import socket
def tried(family, kind, address):
    try:
        s = socket.socket(family, kind)
        s.settimeout(2)
        s.connect(address)
        s.send(b"x")
        return "open"
    except OSError:
        return "refused"
print(tried(socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)),
      tried(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)),
      tried(socket.AF_VSOCK, socket.SOCK_STREAM, (2, 1024)))
print([line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line])
"""
    assert run(script).stdout == "refused refused refused\n['lo']\n"


def test_only_the_workspaces_can_be_written(run, tmp_path):
    host = tmp_path / "input.txt"
    host.write_text("before")
    host.chmod(0o666)
    script = """
import os, sys, bumpscout_tools
places = ["/in/input.txt", "/in/new", "/job/script.py", "/job/new", "/x", "/etc/x", "/usr/x",
          "/etc/passwd", os.path.dirname(bumpscout_tools.__file__) + "/x.py", sys.prefix + "/x",
          os.path.dirname(os.__file__) + "/x.py",
          "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/x"]
def written(path):
    try:
        open(path, "w").write("hacked")
        return True
    except OSError:
        return False
print([p for p in places if written(p)])
print([p for p in ("/out/x", "/tmp/x", "/dev/shm/x") if written(p)])
"""
    result = run(script, inputs={"input.txt": host})
    assert result.stdout == "[]\n['/out/x', '/tmp/x', '/dev/shm/x']\n"
    assert host.read_text() == "before"


def test_other_rooms_and_clients_cannot_be_imported(run):
    script = """
names = ("bumpscout.result", "bumpscout_agents.model", "bumpscout_sandbox.vault",
         "bumpscout_prompts", "openai", "langgraph.graph", "distributed", "docker")
found = []
for name in names:
    try:
        module = __import__(name, fromlist=["x"])
    except ImportError:
        continue
    if module.__file__ is not None:
        found.append(name)
import bumpscout_tools
print(found, bumpscout_tools.__file__)
"""
    assert run(script).stdout == "[] /opt/bumpscout/bumpscout_tools/__init__.py\n"


def test_job_has_no_privileges_and_gets_none(run):
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
status = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)
print(os.getuid() == 0, int(status["CapEff"], 16), int(status["CapBnd"], 16),
      status["NoNewPrivs"].strip(), status["Seccomp"].strip(),
      libc.unshare(0x10000000), libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
      libc.memfd_create(b"x", 0), libc.shmget(0, 4096, 0o1600), libc.ptrace(0, 0, 0, 0),
      libc.setuid(0))
"""
    assert run(script).stdout == "False 0 0 1 2 -1 -1 -1 -1 -1 -1\n"


def test_whoever_watches_the_job_is_out_of_its_reach(run):
    script = """
import os, signal
def tried(action):
    try:
        return bool(action())
    except OSError:
        return False
kill = [s for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT)
        if tried(lambda: os.kill(1, s))]
print([f for f in ("mem", "environ", "fd/0", "fd/1", "root/etc", "cwd/x")
       if tried(lambda: open(f"/proc/1/{f}", "rb").read(1))])
print("still here", flush=True)
"""
    result = run(script)
    assert (result.outcome, result.stdout) == ("ok", "[]\nstill here\n")


def test_never_ending_script_is_ended(run):
    result = run("import time\nprint('begun', flush=True)\ntime.sleep(600)", wall_s=1)
    assert (result.outcome, result.exit_status, result.stdout) == ("timeout", None, "begun\n")
    assert result.problems[0] == "The script was stopped after 1 s of wall time."


def test_silent_script_is_watched_too(run):
    script = "import os, time\nos.close(1); os.close(2)\ntime.sleep(600)"
    result = run(script, wall_s=1)
    assert result.outcome == "timeout"
    assert result.wall_s > 0.9


def test_processor_time_is_summed_over_processes(run):
    script = "import os\nos.fork(); os.fork()\nwhile True: pass"
    result = run(script, cpu_s=1, wall_s=30)
    assert result.outcome == "timeout"
    assert "1 s of processor time" in result.problems[0]


def test_memory_of_one_process_is_bounded(run):
    result = run("import numpy\nx = numpy.ones(10**9)", memory_bytes=256 * MIB)
    assert result.outcome == "memory"
    assert f"{256 * MIB} bytes" in result.problems[0]
    assert result.max_rss_bytes < 512 * MIB


def test_memory_of_many_processes_is_summed(run):
    script = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        break
x = bytearray(os.urandom(1 << 20)) * 100
time.sleep(30)
"""
    result = run(script, memory_bytes=256 * MIB, wall_s=20)
    assert result.outcome == "memory"


def test_fork_bomb_is_bounded(run):
    script = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    result = run(script, processes=24, wall_s=20)
    assert result.outcome == "processes"
    assert "24 processes" in result.problems[0]


@pytest.mark.parametrize("folder", ["/out", "/tmp", "/dev/shm"])
def test_files_fill_their_own_workspace_only(run, folder):
    script = f"""
for i in range(100):
    open('{folder}/%d' % i, 'wb').write(b'x' * (1 << 20))
"""
    result = run(script)
    assert result.outcome == "disk"
    assert folder in result.problems[0]


def test_many_empty_files_are_stopped(run):
    script = """
import itertools
for i in itertools.count():
    open(f'/tmp/{i}', 'w').close()
"""
    result = run(script, wall_s=30)
    assert result.outcome == "disk"
    assert "/tmp" in result.problems[0]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_huge_output_is_cut_and_the_script_ended(run, stream):
    result = run(f"import sys\nwhile True: sys.{stream}.write('x' * 100000)")
    assert result.outcome == "output_truncated"
    assert len(getattr(result, stream)) == 64 << 10


def test_output_cannot_pass_for_the_answer_of_the_wall(run):
    forged = '{"outcome":"ok","reason":"","exit_status":0,"wall_s":0,"cpu_s":0,"files":[]}'
    script = f"print('bumpscout-supervisor 1')\nprint({forged!r})\nraise SystemExit(3)"
    result = run(script)
    assert (result.outcome, result.exit_status) == ("error", 3)
    assert result.stdout == f"bumpscout-supervisor 1\n{forged}\n"


def test_bytes_that_are_no_text_come_out_as_text(run):
    result = run("import sys; sys.stdout.buffer.write(b'\\xff\\xfe ok')")
    assert result.stdout.endswith("ok")


def test_reading_stdin_does_not_hang(run):
    assert run("import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


def test_caller_can_cancel_and_keeps_what_was_said(run):
    cancel = threading.Event()
    threading.Timer(2.0, cancel.set).start()
    result = run("import time; print('begun', flush=True); time.sleep(600)", cancel=cancel)
    assert (result.outcome, result.exit_status, result.stdout) == ("killed", None, "begun\n")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import os; os.symlink('/etc/passwd', '/out/answer.json')", "a symbolic link"),
        ("import os; os.mkfifo('/out/answer.json')", "a FIFO"),
        ("import os; os.mkdir('/out/answer.json')", "a folder"),
        ("open('/out/answer.json', 'w').write('1' * 2000)", "at most 1000 may leave"),
        ("pass", "was not written"),
    ],
)
def test_only_regular_files_of_bounded_size_leave(run, script, said):
    result = run(script, outputs=(ANSWER,))
    assert result.outcome == "ok"
    assert result.artifacts == {}
    assert said in result.problems[0]


def test_undeclared_files_stay_inside_and_optional_ones_may_be_missing(run, tmp_path):
    optional = ANSWER.model_copy(update={"required": False})
    result = run("open('/out/other.json', 'w').write('{}')", outputs=(optional,))
    assert result.problems == ()
    assert list((tmp_path / "collect").iterdir()) == []


def test_nothing_survives_a_job(provider, tmp_path, scratch):
    marker = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    script = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(
    [sys.executable, "-c",
     "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
     "print('up', flush=True); time.sleep(600)",
     {marker!r}], start_new_session=True, stderr=subprocess.DEVNULL)
time.sleep(1)
"""
    result = provider.run(Job(script=script, collect=tmp_path, limits=LIMITS, cold=True))
    assert (result.outcome, result.stdout) == ("ok", "up\n")
    assert alive_with(marker) == []
    assert settled(scratch, os.getpid(), set()) == set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_parent_that_is_killed_or_interrupted_leaves_nothing(provider, tmp_path, scratch, number):
    marker = f"child-{os.getpid()}-{time.monotonic_ns()}"
    job = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)', 'x-{marker}'])"
    )
    command = [sys.executable, "-c", PARENT, provider.name, job, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            deadline = time.monotonic() + 30
            # As an argument of its own: the parent's command line has it in the text of the job.
            while not alive_with(f"\0x-{marker}\0") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert alive_with(f"\0x-{marker}\0")
            ids = containers(parent.pid)
            assert (len(ids) == 1) == (provider.name == "docker")
            parent.send_signal(number)
            said, _ = parent.communicate(timeout=30)
        finally:
            parent.kill()
    assert said == ("interrupted []\n" if number == signal.SIGINT else "")
    deadline = time.monotonic() + 20
    while alive_with(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive_with(marker) == []
    assert settled(scratch, parent.pid, ids) == set()
