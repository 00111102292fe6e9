"""The warm server: imports are paid once, jobs share nothing, and a lost server is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bumpscout_sandbox import warm, warm_pool
from bumpscout_sandbox.provider import Job, OutputSpec
from bumpscout_sandbox.warm import WarmServer
from bumpscout_sandbox.warm_talk import ServerLost

LOADED = "import sys; print('torch' in sys.modules)"


@pytest.fixture
def quick(monkeypatch):
    """Servers that load nothing, for tests of how they end."""
    monkeypatch.setattr(warm, "PRELOAD", ("json",))


@pytest.fixture
def server(request, small):
    request.getfixturevalue("wall")
    request.getfixturevalue("quick")
    try:
        started = WarmServer(small).__enter__()
    except ServerLost as error:
        pytest.skip(f"no warm server on this machine: {error}")
    yield started
    started.__exit__()


@pytest.fixture
def run(server, small, tmp_path):
    def run(script, **limits):
        job = Job(script=script, collect=tmp_path, limits=small.model_copy(update=limits))
        return server.run(job)

    return run


def processes_below(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(path.parent.name)
            found += [child, *processes_below(child)]
    return found


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(Path("/proc", str(pid)).exists() for pid in pids):
            return True
        time.sleep(0.02)
    return False


def test_libraries_are_there_before_the_script_and_cold_starts_are_cold(wall, small, tmp_path):
    job = Job(script=LOADED, collect=tmp_path, limits=small)
    if wall.run(job).stdout == "False\n":
        pytest.skip(f"no warm server on this machine: {warm_pool.warm_row().how}")
    cold = Job(script=LOADED, collect=tmp_path, limits=small, cold=True)
    assert wall.run(cold).stdout == "False\n"


def test_nothing_passes_from_one_job_to_the_next(run):
    leave = """
import builtins, os, sys, json as numpy, signal
numpy.left = builtins.left = sys.left = 1
os.environ["LEFT"] = "1"
sys.path.insert(0, "/tmp")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for folder in ("/out", "/tmp", "/dev/shm"):
    open(folder + "/left", "w").write("x")
if os.fork() == 0:
    import time
    time.sleep(60)
"""
    look = """
import builtins, os, sys, json as numpy, signal
print([hasattr(numpy, "left"), hasattr(builtins, "left"), hasattr(sys, "left"),
       "LEFT" in os.environ, "/tmp" in sys.path, signal.getsignal(signal.SIGTERM) != signal.SIG_DFL,
       *[os.path.exists(f + "/left") for f in ("/out", "/tmp", "/dev/shm")]].count(True),
      sorted(p for p in os.listdir("/proc") if p.isdigit()), sorted(os.listdir("/proc/self/fd")))
"""
    assert run(leave).outcome == "ok"
    assert run(look).stdout == "0 ['1', '2'] ['0', '1', '2', '3']\n"


def test_scripts_run_as_a_cold_start_runs_them(run, wall, small, tmp_path):
    script = """
import sys, os, threading, atexit, concurrent.futures, __main__
print(__name__, __file__, sys.argv, sys.path, os.getcwd(), hash("a"),
      sorted((k, v) for k, v in os.environ.items() if k not in ("PWD", "OLDPWD", "SHLVL", "_")),
      __main__.x
      if "x" in dir(__main__) else None, oct(os.umask(0)))
atexit.register(print, "at exit")
threading.Thread(target=print, args=("thread",)).start()
concurrent.futures.ThreadPoolExecutor(1).submit(print, "pool").result()
def f():
    raise ValueError("x")
f()
"""
    job = Job(script=script, collect=tmp_path, limits=small, cold=True)
    results = [run(script), wall.run(job)]
    seen = [(r.outcome, r.exit_status, r.stdout, r.stderr) for r in results]
    assert seen[0] == seen[1]
    assert seen[0][1] == 1
    assert seen[0][2].endswith("at exit\n")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(7)", 7),
        ("raise SystemExit('said')", 1),
        ("import os; os._exit(9)", 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
        ("def", 1),
    ],
)
def test_exit_status_is_that_of_the_script(run, code, status):
    result = run(code)
    assert (result.outcome, result.exit_status) == ("error", status)


def test_results_cannot_be_forged(run):
    forge = """
import json, os, socket
answer = json.dumps({"nonce": "%s", "status": 0, "cpu_s": 0}).encode()
for fd in range(3, 300):
    for path in (f"/proc/1/fd/{fd}", f"/proc/self/fd/{fd}"):
        try:
            os.write(os.open(path, os.O_WRONLY), answer)
        except OSError:
            pass
    try:
        os.write(fd, answer)
    except OSError:
        pass
print(answer.decode())
raise SystemExit(3)
"""
    result = run(forge)
    assert (result.outcome, result.exit_status) == ("error", 3)
    assert run("print('next')").stdout == "next\n"


@pytest.mark.usefixtures("wall", "quick")
@pytest.mark.parametrize("knows_the_nonce", [False, True])
def test_a_forged_answer_is_noticed_even_where_a_job_holds_the_socket(
    small, tmp_path, knows_the_nonce
):
    server = WarmServer(small)
    server.program = server.program.replace("os.closerange(4, 1 << 20)", "pass")
    if knows_the_nonce:
        server.program = server.program.replace(
            "os.write(tell, ENTERED)",
            "os.environ['NONCE'] = request['nonce']; os.write(tell, ENTERED)",
        )
    forge = """
import json, os, time
time.sleep(0.3)
answer = {"nonce": os.environ.get("NONCE", "0" * 32), "status": 0, "cpu_s": 0}
for fd in range(3, 100):
    try:
        os.write(fd, json.dumps(answer).encode())
    except OSError:
        pass
raise SystemExit(3)
"""
    with server, pytest.raises(ServerLost, match="answers wrongly"):
        server.run(Job(script=forge, collect=tmp_path, limits=small))


@pytest.mark.usefixtures("wall", "quick")
@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ('"status": os.waitstatus_to_exitcode(code)', '"nonce": "0", "status": 0'),
        ('"status": os.waitstatus_to_exitcode(code)', '"other": 0'),
        ("_send(zygote, ended)", "os._exit(0)"),
        ("_send(zygote, ended)", "zygote.send(b'no json')"),
        ("_send(zygote, ended)", "_send(zygote, ended); os.fork() or signal.pause()"),
        ('"ready": True}, given)', '"ready": True}, given[1:])'),
        ('{"nonce": request["nonce"], "ready": True}', '{"nonce": "0", "ready": True}'),
        ("_give_up_rights(config)", "_demand(-1, 'refused')"),
    ],
)
def test_a_poisoned_server_is_noticed(small, tmp_path, there, instead):
    server = WarmServer(small)
    assert there in server.program
    server.program = server.program.replace(there, instead)
    job = Job(script="pass", collect=tmp_path, limits=small)

    def run_two():
        server.run(job)
        server.run(job)

    with server, pytest.raises(ServerLost):
        run_two()


def test_a_server_that_hangs_is_noticed(server, run, monkeypatch):
    monkeypatch.setattr(warm, "ANSWER_S", 0.5)
    os.kill(server._pid, signal.SIGSTOP)
    with pytest.raises(ServerLost, match="does not answer within"):
        run("pass")


def test_a_lost_server_is_replaced_and_its_job_runs_again(wall, small, tmp_path):
    limits = small.model_copy(update={"cpus": 2})
    spec = OutputSpec(name="answer.json", kind="json", max_bytes=10)
    wall.run(Job(script="pass", collect=tmp_path, limits=limits))
    idle = warm_pool._POOLS[-1].idle.get(2)
    if not idle:
        pytest.skip("no warm server on this machine")
    (first,) = idle
    threading.Timer(0.5, os.kill, (first._pid, signal.SIGKILL)).start()
    script = "import time; time.sleep(1); print('done'); open('/out/answer.json', 'w').write('1')"
    result = wall.run(Job(script=script, collect=tmp_path, limits=limits, outputs=(spec,)))
    assert (result.outcome, result.stdout, list(result.artifacts)) == ("ok", "done\n", [spec.name])
    (second,) = warm_pool._POOLS[-1].idle[2]
    assert second is not first
    os.kill(second._pid, signal.SIGKILL)
    assert wall.run(Job(script=LOADED, collect=tmp_path, limits=limits)).stdout == "True\n"


def test_jobs_start_cold_where_no_server_can_be_had(wall, small, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_pool, "_POOLS", [warm_pool._Pool()])
    monkeypatch.setattr(warm, "namespaces", lambda **_: ["--no-such-option"])
    result = wall.run(Job(script=LOADED, collect=tmp_path, limits=small))
    assert (result.outcome, result.stdout) == ("ok", "False\n")
    row = warm_pool.warm_row()
    assert row.ok
    assert "each job starts a fresh interpreter" in row.how


def test_closing_ends_the_servers_and_a_later_job_starts_another(wall, small, tmp_path):
    job = Job(script="pass", collect=tmp_path, limits=small)
    wall.run(job)
    servers = warm_pool._POOLS[-1].idle.get(1, [])
    inside = [pid for server in servers for pid in (server._pid, server._owner._popen.pid)]
    wall.close()
    wall.close()
    assert gone(inside)
    assert wall.run(job).outcome == "ok"


@pytest.mark.usefixtures("wall")
def test_nothing_outlives_a_killed_parent(tmp_path):
    code = """
import pathlib, sys
from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_sandbox.provider import Job
wall = BubblewrapProvider()
folder = pathlib.Path(sys.argv[1])
wall.run(Job(script="pass", collect=folder))
print("up", flush=True)
wall.run(Job(script="import time; time.sleep(60)", collect=folder))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout.readline() == "up\n"
        time.sleep(0.3)
        below = processes_below(parent.pid)
        assert len(below) >= 3
    finally:
        parent.kill()
        parent.communicate()
    assert gone(below)


def test_jobs_side_by_side_do_not_mix(wall, small, tmp_path):
    def job(number: int) -> str:
        folder = tmp_path / str(number)
        folder.mkdir()
        script = (
            "import os, time\n"
            f"open('/tmp/{number}', 'w').close()\ntime.sleep(0.05)\n"
            f"print({number}, [name for name in os.listdir('/tmp') if name.isdigit()])"
        )
        return wall.run(Job(script=script, collect=folder, limits=small)).stdout

    with ThreadPoolExecutor(3) as executor:
        said = list(executor.map(job, range(12)))
    assert said == [f"{n} ['{n}']\n" for n in range(12)]


def test_many_jobs_leave_nothing_behind(run):
    run("pass")
    mounts = len(Path("/proc/self/mounts").read_text().splitlines())
    files = len(list(Path("/proc/self/fd").iterdir()))
    inside = len(processes_below(os.getpid()))
    for number in range(60):
        assert run(f"print({number})").stdout == f"{number}\n"
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert len(Path("/proc/self/mounts").read_text().splitlines()) == mounts
    assert len(processes_below(os.getpid())) == inside
