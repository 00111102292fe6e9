"""The contract of the wall: what a job can do, cannot see, and cannot outlive."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bumpscout_sandbox.provider import Job, OutputSpec
from bumpscout_tools.errors import ConfigurationError

MIB = 1 << 20
SCORES = OutputSpec(name="scores.npy", kind="npy", max_bytes=MIB)
ANSWER = OutputSpec(name="answer.json", kind="json", max_bytes=1000)


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


def test_check_says_who_enforces_each_limit(wall):
    rows = {row.what: row for row in wall.check()}
    assert all(row.ok for row in rows.values())
    assert {"network", "memory", "processes", "disk", "number of files", "output"} <= set(rows)
    assert "RLIMIT_NPROC" in rows["processes"].how
    assert "tmpfs" in rows["disk"].how


def test_script_uses_the_vetted_library_and_leaves_an_array(run_job, tmp_path):
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
    result = run_job(script, inputs={"numbers.npy": data}, outputs=(SCORES,))
    assert (result.outcome, result.exit_status, result.stdout) == ("ok", 0, "done 3\n")
    assert result.problems == ()
    assert np.load(result.artifacts["scores.npy"]).tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_private_inputs_can_be_read_inside(run_job, tmp_path):
    private = tmp_path / "task.json"
    private.write_text("{}")
    private.chmod(0o600)
    result = run_job("print(open('/in/task.json').read())", inputs={"task.json": private})
    assert result.stdout == "{}\n"


def test_failing_script_is_an_error_with_its_traceback(run_job):
    result = run_job("raise ValueError('no such feature')")
    assert (result.outcome, result.exit_status) == ("error", 1)
    assert "/job/script.py" in result.stderr
    assert "ValueError: no such feature" in result.stderr


def test_equal_scripts_give_equal_output(run_job):
    script = "print(list({'a', 'b', 'c', 'd', 'e'}))"
    assert run_job(script).stdout == run_job(script).stdout


def test_network_is_refused(run_job):
    server = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0bumpscout-test-{os.getpid()}")
    abstract.listen()
    script = f"""
import socket
def tried(family, address, kind=socket.SOCK_STREAM):
    try:
        s = socket.socket(family, kind)
        s.settimeout(2)
        s.connect(address)
        s.send(b"x")
        return "open"
    except OSError:
        return "refused"
print(tried(socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
      tried(socket.AF_INET, ("1.1.1.1", 53), socket.SOCK_DGRAM),
      tried(socket.AF_UNIX, "\\0bumpscout-test-{os.getpid()}"),
      tried(socket.AF_VSOCK, (2, 1024)))
"""
    with server, abstract:
        assert run_job(script).stdout.split() == ["refused"] * 4


def test_secrets_of_the_host_are_out_of_sight(run_job, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    secret = tmp_path / "secret.txt"
    secret.write_text("sk-very-secret")
    secret.chmod(0o644)
    (tmp_path / "visible.txt").write_text("x")
    script = f"""
import os, pathlib
def seen(path):
    try:
        return b"sk-very-secret" in open(path, "rb").read()
    except OSError:
        return False
paths = [{str(secret)!r}, "/etc/shadow", "/proc/self/environ"]
paths += [f"/proc/{{p}}/{{f}}" for p in os.listdir("/proc") if p.isdigit()
          for f in ("environ", "cmdline", "root" + {str(secret)!r}, "cwd/../.." + {str(secret)!r})]
print([p for p in paths if seen(p)], "OPENAI_API_KEY" in os.environ,
      os.path.exists("/etc/shadow"), os.listdir("/in"), os.path.exists("/proc/1/root/out"))
"""
    result = run_job(script, inputs={"visible.txt": tmp_path / "visible.txt"})
    assert result.stdout.startswith("[] False False ['visible.txt']")


def test_descriptors_of_the_parent_do_not_leak(run_job, tmp_path):
    secret = tmp_path / "open.txt"
    secret.write_text("x")
    with secret.open() as file:
        os.set_inheritable(file.fileno(), True)
        result = run_job("import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))")
    assert result.stdout in ("[0, 1, 2, 3]\n", "[0, 1, 2]\n")


def test_only_the_workspaces_can_be_written(run_job, tmp_path):
    host = tmp_path / "input.txt"
    host.write_text("before")
    host.chmod(0o666)
    script = """
import os, sys, bumpscout_tools
places = ["/in/input.txt", "/in/new", "/job/script.py", "/x", "/etc/x", "/usr/x", "/dev/x",
          os.path.dirname(bumpscout_tools.__file__) + "/x.py", sys.prefix + "/x",
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
    result = run_job(script, inputs={"input.txt": host})
    assert result.stdout == "[]\n['/out/x', '/tmp/x', '/dev/shm/x']\n"
    assert host.read_text() == "before"


def test_other_rooms_and_clients_cannot_be_imported(run_job):
    script = """
names = ("bumpscout.result", "bumpscout_agents.model", "bumpscout_sandbox.vault",
         "bumpscout_prompts", "openai", "langgraph.graph", "distributed")
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
    assert run_job(script).stdout == "[] /opt/bumpscout/bumpscout_tools/__init__.py\n"


def test_job_has_no_privileges_and_gets_none(run_job):
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
status = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)
print(os.getuid() == 0, int(status["CapEff"], 16), int(status["CapBnd"], 16),
      status["NoNewPrivs"].strip(),
      libc.unshare(0x10000000), libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
      libc.memfd_create(b"x", 0), libc.shmget(0, 4096, 0o1600), libc.ptrace(0, 0, 0, 0),
      libc.setuid(0))
"""
    assert run_job(script).stdout == "False 0 0 1 -1 -1 -1 -1 -1 -1\n"


def test_never_ending_script_is_ended(run_job):
    start = time.monotonic()
    result = run_job("import time\nprint('begun', flush=True)\ntime.sleep(600)", wall_s=1)
    assert (result.outcome, result.exit_status, result.stdout) == ("timeout", None, "begun\n")
    assert time.monotonic() - start < 5
    assert "1 s of wall time" in result.problems[0]


def test_silent_script_is_watched_too(run_job):
    script = "import os, time\nos.close(1); os.close(2)\ntime.sleep(600)"
    result = run_job(script, wall_s=1)
    assert result.outcome == "timeout"
    assert result.wall_s > 0.9


def test_processor_time_is_summed_over_processes(run_job):
    script = "import os\nos.fork(); os.fork()\nwhile True: pass"
    result = run_job(script, cpu_s=1, wall_s=30)
    assert result.outcome == "timeout"
    assert result.wall_s < 10


def test_memory_of_one_process_is_bounded(run_job):
    script = "import numpy\nx = numpy.ones(10**9)"
    result = run_job(script, memory_bytes=256 * MIB)
    assert result.outcome == "memory"
    assert result.max_rss_bytes < 512 * MIB


def test_memory_of_many_processes_is_summed(run_job):
    script = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        break
x = bytearray(os.urandom(1 << 20)) * 100
time.sleep(30)
"""
    result = run_job(script, memory_bytes=256 * MIB, wall_s=20)
    assert result.outcome == "memory"


def test_shared_memory_is_bounded_like_a_workspace(run_job):
    script = "open('/dev/shm/x', 'wb').write(b'x' * (64 << 20))"
    result = run_job(script)
    assert result.outcome == "disk"
    assert "/dev/shm" in result.problems[0]


def test_fork_bomb_is_bounded(run_job):
    script = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    result = run_job(script, processes=24, wall_s=20)
    assert result.outcome == "processes"


def test_kernel_refuses_processes_above_the_limit(run_job):
    script = """
import os, time
n = 0
try:
    while n < 200:
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        n += 1
except BlockingIOError:
    pass
print(n, flush=True)
"""
    result = run_job(script, processes=24)
    assert 15 <= int(result.stdout) <= 24


def test_one_large_file_fills_its_own_workspace_only(run_job):
    script = """
with open('/out/big', 'wb') as f:
    for _ in range(100):
        f.write(b'x' * (1 << 20))
"""
    result = run_job(script)
    assert result.outcome in ("disk", "error")
    assert result.exit_status == 1
    assert "No space left" in result.stderr or "File too large" in result.stderr


def test_many_small_files_fill_their_own_workspace_only(run_job):
    script = """
for i in range(100):
    open(f'/out/{i}', 'wb').write(b'x' * (1 << 20))
"""
    result = run_job(script)
    assert result.outcome == "disk"
    assert "out of disk space in /out" in result.problems[0]


def test_many_empty_files_are_stopped(run_job):
    script = """
import itertools
for i in itertools.count():
    open(f'/tmp/{i}', 'w').close()
"""
    result = run_job(script, wall_s=30)
    assert result.outcome == "disk"
    assert "500 files in /tmp" in result.problems[0]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_huge_output_is_cut_and_the_script_ended(run_job, stream):
    script = f"import sys\nwhile True: sys.{stream}.write('x' * 100000)"
    result = run_job(script)
    assert result.outcome == "output_truncated"
    assert len(getattr(result, stream)) == 64 << 10


def test_bytes_that_are_no_text_come_out_as_text(run_job):
    result = run_job("import sys; sys.stdout.buffer.write(b'\\xff\\xfe ok')")
    assert result.stdout.endswith("ok")


def test_reading_stdin_does_not_hang(run_job):
    assert run_job("import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


def test_caller_can_cancel(run_job):
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    result = run_job("import time; time.sleep(600)", cancel=cancel)
    assert result.outcome == "killed"
    assert result.wall_s < 5


def test_nothing_survives_a_job(run_job):
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
    result = run_job(script)
    assert (result.outcome, result.stdout) == ("ok", "up\n")
    assert alive_with(marker) == []


@pytest.mark.usefixtures("wall")
def test_job_dies_with_its_parent(tmp_path):
    marker = f"child-{os.getpid()}-{time.monotonic_ns()}"
    job = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)', {marker!r}])"
    )
    code = (
        "import pathlib, sys\n"
        "from bumpscout_sandbox.bwrap import BubblewrapProvider\n"
        "from bumpscout_sandbox.provider import Job\n"
        "BubblewrapProvider().run(Job(script=sys.argv[1], collect=pathlib.Path(sys.argv[2])))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, job, str(tmp_path)])
    try:
        deadline = time.monotonic() + 20
        while len(alive_with(marker)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        inside = [p for p in alive_with(marker) if p != str(parent.pid)]
        assert inside
        parent.send_signal(signal.SIGKILL)
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while alive_with(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive_with(marker) == []


@pytest.mark.usefixtures("wall")
def test_interrupt_ends_the_job(tmp_path):
    marker = f"interrupt-{os.getpid()}-{time.monotonic_ns()}"
    job = f"import time; x = {marker!r}; time.sleep(60)"
    code = (
        "import pathlib, signal, sys\n"
        "from bumpscout_sandbox.bwrap import BubblewrapProvider\n"
        "from bumpscout_sandbox.provider import Job\n"
        "# A shell that runs the tests in the background has the interrupt ignored.\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    BubblewrapProvider().run(Job(script=sys.argv[1], collect=pathlib.Path(sys.argv[2])))\n"
        "except KeyboardInterrupt:\n"
        "    children = open('/proc/thread-self/children').read()\n"
        "    print('interrupted', children.split())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, job, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 20
    while not children.read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    parent.send_signal(signal.SIGINT)
    out, _ = parent.communicate(timeout=20)
    assert out == "interrupted []\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import os; os.symlink('/etc/passwd', '/out/answer.json')", "a symbolic link"),
        ("import os; os.mkfifo('/out/answer.json')", "a FIFO"),
        ("import os; os.mkdir('/out/answer.json')", "a folder"),
        ("import socket; socket.socket(socket.AF_UNIX).bind('/out/answer.json')", "a socket"),
        ("open('/out/answer.json', 'w').write('1' * 2000)", "at most 1000 may leave"),
        ("pass", "was not written"),
    ],
)
def test_only_regular_files_of_bounded_size_leave(run_job, script, said):
    result = run_job(script, outputs=(ANSWER,))
    assert result.artifacts == {}
    assert said in result.problems[0]


def test_undeclared_files_stay_inside(run_job, tmp_path):
    run_job("open('/out/other.json', 'w').write('{}')", outputs=())
    assert list((tmp_path / "collect").iterdir()) == []


def test_optional_outputs_may_be_missing(run_job):
    optional = ANSWER.model_copy(update={"required": False})
    assert run_job("pass", outputs=(optional,)).problems == ()


def test_unusable_jobs_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="not plain"):
        Job(script="", collect=tmp_path, inputs={"../x": tmp_path / "x"})
    with pytest.raises(ConfigurationError, match="no file"):
        Job(script="", collect=tmp_path, inputs={"x": tmp_path / "x"})
    with pytest.raises(ConfigurationError, match="does not exist"):
        Job(script="", collect=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="twice"):
        Job(script="", collect=tmp_path, outputs=(ANSWER, ANSWER))
