"""The Docker provider: what it asks of the engine, and what it does with engines that will not do.

What a job can and cannot do inside is the contract's.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from types import SimpleNamespace

import pytest

from bumpscout_sandbox import docker_engine, docker_provider
from bumpscout_sandbox.choice import survey
from bumpscout_sandbox.docker_engine import (
    OWNER_LABEL,
    connect,
    endpoint,
    facts,
    host_image,
    owner,
    reap_stale,
)
from bumpscout_sandbox.docker_provider import DockerProvider
from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.folders import folder_archive
from bumpscout_sandbox.limits import Limits
from bumpscout_sandbox.provider import Job, JobResult

MIB = 1 << 20
LIMITS = Limits(
    wall_s=60, cpu_s=60, memory_bytes=256 * MIB, processes=32, workspace_bytes=8 * MIB,
    workspace_inodes=300,
)  # fmt: skip
INFO = {
    "OSType": "linux", "MemoryLimit": True, "PidsLimit": True, "CpuCfsQuota": True, "NCPU": 4,
    "ServerVersion": "29.1", "SecurityOptions": ["name=seccomp,profile=builtin"], "Runtimes": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> DockerProvider:
    (finding,) = survey("docker").providers
    if not finding.usable and "docker" in os.environ.get("BUMPSCOUT_REQUIRE_PROVIDERS", ""):
        pytest.fail(f"docker must answer here: {finding.reason}")
    if not finding.usable:
        pytest.skip(f"docker: {finding.reason}")
    return DockerProvider()


def ours(client) -> list[dict]:
    found = client.containers(all=True, filters={"label": OWNER_LABEL})
    return [c for c in found if c["Labels"][OWNER_LABEL] == owner()]


@contextlib.contextmanager
def running(engine, folder, script):
    """Run a job beside the test; yield its container and a list that receives the result."""
    results: list = []
    job = Job(script=script, collect=folder, limits=LIMITS, cancel=threading.Event())
    thread = threading.Thread(target=lambda: results.append(engine.run(job)))
    thread.start()
    try:
        with connect() as client:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                found = ours(client)
                if found and found[0]["State"] == "running":
                    break
                time.sleep(0.05)
            yield client, found[0]["Id"], results
    finally:
        job.cancel.set()
        thread.join(60)


def test_engine_is_asked_for_everything_that_keeps_a_job_in(engine, tmp_path):
    with running(engine, tmp_path, "import time; time.sleep(60)") as (client, container, _):
        state = client.inspect_container(container)
    host, config = state["HostConfig"], state["Config"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert not any("seccomp" in option for option in host["SecurityOpt"])
    assert host["IpcMode"] == "none"
    assert host["LogConfig"]["Type"] == "none"
    assert host["AutoRemove"]
    assert host["Memory"] == host["MemorySwap"] == (256 + 3 * 8 + 64) * MIB
    assert host["PidsLimit"] == 40
    assert host["NanoCpus"] == 10**9
    assert not host["Devices"]
    assert not host["DeviceRequests"]
    for place in ("/out", "/tmp", "/dev/shm"):
        assert f"size={8 * MIB},nr_inodes=300" in host["Tmpfs"][place]
    assert config["Env"] in (None, []) or all(e.startswith("PATH=") for e in config["Env"])
    assert config["User"].partition(":")[0] not in ("", "0")
    mounts = [mount for mount in state["Mounts"] if mount["Type"] == "bind"]
    assert mounts
    assert not any(mount["RW"] for mount in mounts)
    assert not any("docker.sock" in mount["Source"] for mount in mounts)


def test_container_killed_from_outside_is_told_from_a_script_that_failed(engine, tmp_path):
    script = "import time\nprint('begun', flush=True)\ntime.sleep(60)"
    with running(engine, tmp_path, script) as (client, container, results):
        time.sleep(0.5)
        client.kill(container)
        deadline = time.monotonic() + 30
        while not results and time.monotonic() < deadline:
            time.sleep(0.05)
    (result,) = results
    assert (result.outcome, result.exit_status) == ("killed", None)
    assert "killed together with its container" in result.problems[0]


@pytest.mark.usefixtures("engine")
def test_containers_of_dead_owners_are_removed_and_others_kept():
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    where = owner().rpartition("/")[0].rpartition("/")[0]
    labels = {
        "dead": f"{where}/{dead.stdout.strip()}/1",
        "reused": f"{where}/{os.getpid()}/1",
        "alive": owner(),
        "elsewhere": "another-boot/pid:[1]/1/1",
    }
    with connect() as client:
        image = host_image(client)
        made = {
            name: client.create_container(image, ["true"], labels={OWNER_LABEL: label})["Id"]
            for name, label in labels.items()
        }
        try:
            assert reap_stale(client) >= 2
            left = {c["Id"] for c in client.containers(all=True)}
            assert {name for name, i in made.items() if i in left} == {"alive", "elsewhere"}
        finally:
            for container in made.values():
                with contextlib.suppress(Exception):
                    client.remove_container(container, force=True)


@pytest.mark.usefixtures("engine")
def test_missing_image_names_the_remedy(tmp_path):
    with pytest.raises(SandboxUnavailable, match="sandbox/Dockerfile"):
        DockerProvider(image="bumpscout-no-such-image").run(Job(script="", collect=tmp_path))


def test_gpu_that_is_not_there_is_refused_and_never_left_out(engine, tmp_path):
    with connect() as client:
        if facts(client).gpus:
            pytest.skip("this engine has GPUs")
    limits = LIMITS.model_copy(update={"gpus": 1})
    with pytest.raises(SandboxUnavailable, match=r"gpu"):
        engine.run(Job(script="", collect=tmp_path, limits=limits))
    with connect() as client:
        assert ours(client) == []


def test_engines_elsewhere_are_refused(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(SandboxUnavailable, match="unix socket here"):
        endpoint()


def test_socket_without_an_engine_names_cause_and_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    (row,) = DockerProvider().check()
    assert not row.ok
    assert "No Docker engine answers" in row.remedy
    assert "systemctl start docker" in row.remedy


def test_no_socket_at_all_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker_engine, "Path", lambda *parts: tmp_path.joinpath(parts[0][1:]))
    with pytest.raises(SandboxUnavailable, match=r"apt install docker\.io"):
        endpoint()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MemoryLimit": False}, "cannot limit memory"),
        ({"PidsLimit": False, "CpuCfsQuota": False}, "cannot limit processes, processors"),
        ({"OSType": "windows"}, "not Linux"),
    ],
)
def test_engine_that_cannot_enforce_a_limit_is_refused(change, said):
    client = SimpleNamespace(info=lambda: INFO | change)
    with pytest.raises(SandboxUnavailable, match=said):
        facts(client)


def test_facts_say_what_the_engine_adds():
    plain = facts(SimpleNamespace(info=lambda: INFO))
    assert (plain.seccomp, plain.mapped, plain.gpus) == (True, False, False)
    rich = INFO | {"SecurityOptions": ["name=rootless"], "Runtimes": {"nvidia": {}}}
    other = facts(SimpleNamespace(info=lambda: rich))
    assert (other.seccomp, other.mapped, other.gpus) == (False, True, True)


def test_memory_is_named_where_the_kernel_killed_the_container(tmp_path):
    job = Job(script="", collect=tmp_path, limits=LIMITS)
    for actions, outcome in ((["start", "oom", "die"], "memory"), (["start", "die"], "killed")):
        seen = ({"Action": action} for action in actions)
        client = SimpleNamespace(events=lambda seen=seen, **_: seen)
        assert docker_provider._post_mortem(client, "id", 0, job)[0] == outcome


def test_a_script_that_the_kernel_killed_for_memory_is_no_error():
    killed = JobResult(
        outcome="error",
        exit_status=137,
        stdout="so far",
        stderr="",
        wall_s=1.0,
        cpu_s=1.0,
        max_rss_bytes=1,
        artifacts={},
        problems=(),
    )
    named = docker_provider._named(killed, ("memory", "killed by the kernel above 5 bytes"))
    assert (named.outcome, named.exit_status, named.stdout) == ("memory", None, "so far")
    assert named.problems == ("The script was killed by the kernel above 5 bytes.",)
    assert docker_provider._named(killed, ("killed", "by somebody")) == killed


def test_frames_are_taken_apart_wherever_they_are_cut():
    out, err = bytearray(), bytearray()
    frames = b""
    for kind, text in ((1, b"hello "), (2, b"warning"), (1, b""), (3, b"noise"), (1, b"world")):
        frames += bytes([kind, 0, 0, 0]) + len(text).to_bytes(4, "big") + text
    for size in (1, 3, 8, 1000):
        out.clear()
        err.clear()
        taker = docker_provider._Frames({1: out.extend, 2: err.extend})
        for start in range(0, len(frames), size):
            taker.feed(frames[start : start + size])
        assert (bytes(out), bytes(err)) == (b"hello world", b"warning")


def test_image_of_the_host_holds_nothing_but_folders():
    with tarfile.open(fileobj=io.BytesIO(folder_archive())) as archive:
        members = archive.getmembers()
    assert all(member.isdir() or member.issym() for member in members)
    assert {member.name for member in members} >= {"in", "job", "out", "opt/bumpscout", "proc"}
    assert next(m.mode for m in members if m.name == "out") == 0o1777
