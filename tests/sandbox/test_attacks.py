"""Every attack that leaves a job standing, on every wall that answers, and on walls with one hole.

An attack is worth its place only if it succeeds where its defence is missing: `LET_THROUGH` names a
defence, or two that stand behind each other, and the attacks that succeed when they are taken out
(as root, on bubblewrap). `NOT_SHOWN` says for each of the others who stops it: the kernel itself,
or a defence that cannot be taken out without harm to the host.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bumpscout_sandbox import mounts
from bumpscout_sandbox.bwrap import BubblewrapProvider
from bumpscout_sandbox.choice import PROVIDERS

WALLS = ("bubblewrap warm", "bubblewrap cold", "docker", "apptainer")


def load(name: str) -> ModuleType:
    """Return a file beside this one as a module."""
    spec = importlib.util.spec_from_file_location(
        f"bumpscout_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"bumpscout_{name}"] = module
    spec.loader.exec_module(module)
    return module


side = load("attack_host")

# What each hole lets through; found by trying, and each is tried again below.
LET_THROUGH = {
    "network namespace": ("abstract_unix_socket",),
    "network namespace and filter": (
        "tcp_to_the_host", "tcp_over_ipv6", "udp_as_in_dns", "network_devices",
    ),
    "mount namespace": (
        "engine_socket", "secret_file", "home_folder", "ssh_keys", "other_workspaces",
        "file_of_the_vault", "truth_label", "source_of_the_application", "block_devices",
    ),
    "mount namespace and user": ("root_home", "shadow", "firmware_and_kernel_settings"),
    "system call filter": (
        "vsock", "user_namespace_by_unshare", "user_namespace_by_clone",
        "user_namespace_by_clone3", "trace_the_parent", "be_traced", "kernel_keys",
        "sockets_into_the_kernel",
        "user_page_faults", "anonymous_memory_file", "system_v_memory", "another_personality",
    ),
    "filter and capabilities": (
        "mount_something", "unmount", "remount_writable", "new_mount_interface", "change_root",
        "pivot_root", "host_name", "raw_socket", "packet_socket", "real_time_scheduling",
        "better_priority", "bpf", "performance_counters", "io_uring", "trace_the_first_process",
    ),
    "read-only mounts": ("write_input",),
    "read-only mounts and user": (
        "write_system", "write_interpreter", "write_standard_library", "write_vetted_library",
        "poisoned_byte_code", "write_root", "write_etc", "new_file_beside_the_inputs",
        "change_the_mode_of_an_input", "write_devices",
    ),
    "PID namespace": ("see_other_processes", "command_lines_of_others"),
    "PID namespace and user": ("environment_of_others", "kill_a_process_of_the_host"),
    "user": (
        "become_root", "root_of_the_first_process", "folder_of_the_first_process",
        "files_of_the_first_process", "memory_of_the_first_process", "set_user_id",
        "core_pattern", "kernel_settings",
    ),
    "kernel limits": ("raise_limits", "lock_memory"),
    "empty environment": ("own_environment",),
    "closed descriptors": ("inherited_descriptors",),
    "hidden packages": ("other_rooms_and_clients",),
    "python -P": ("module_beside_the_script",),
    "fresh workspaces": ("left_by_an_earlier_job",),
    "read-only host folder": ("write_through_a_symlink",),
}  # fmt: skip

NOT_SHOWN = {
    "tcp_to_the_world": "as tcp_to_the_host; a hole would need a network to show it",
    "label_in_the_view": "the vault hands out no label (test_vault.py); there is nothing to open",
    "kernel_memory": "/proc/kcore asks for CAP_SYS_RAWIO; opening it up would show the host's",
    "physical_memory": "no /dev/mem inside; the kernel asks for CAP_SYS_RAWIO",
    "kernel_log": "no /dev/kmsg inside; the kernel asks for CAP_SYSLOG",
    "devices": "a /dev of its own; a device of the host's would be in it otherwise",
    "magic_keys": "root of the host only, and covered; opening it up would endanger the host",
    "control_groups": "no /sys/fs inside; root of the host only",
    "write_script": "a read-only copy; its folder is in new_file_beside_the_inputs",
    "write_through_a_hard_link": "the kernel: no link across mounts",
    "file_capabilities": "the kernel: CAP_SETFCAP; tmpfs has no such attribute for others",
    "make_device": "the kernel: CAP_MKNOD, and nodev on every workspace",
    "open_made_device": "the kernel: CAP_MKNOD, and nodev on every workspace",
    "setuid_programs": "the kernel: no_new_privs; they would ask for a password besides",
    "enter_a_namespace": "the kernel: the first process's are the job's own, and CAP_SYS_ADMIN",
    "memory_by_system_call": "the kernel: as trace_the_first_process, and the filter",
    "push_characters_into_the_terminal": "a session without terminal; off in new kernels",
    "load_a_module": "the kernel: CAP_SYS_MODULE, and the filter; a hole would endanger the host",
    "file_by_handle": "the kernel: CAP_DAC_READ_SEARCH, and the filter",
    "message_queue": "the filter, and RLIMIT_MSGQUEUE; no queue file system is mounted",
    "clock": "the kernel: CAP_SYS_TIME; a hole would set the host's clock",
    "reboot": "the kernel: CAP_SYS_BOOT, and the filter; a hole would end the host",
    "kill_the_first_process": "the kernel: no signal reaches the first process from inside",
}
"""Attacks that no hole is opened for, and who stops them."""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("host")
    folder.chmod(0o755)
    with side.Host(folder) as host:
        yield host


@pytest.fixture(scope="module", params=WALLS)
def wall(request):
    name, _, start = request.param.partition(" ")
    provider = PROVIDERS[name]()
    reason = side.refusal(provider)
    if reason:
        pytest.skip(f"{name} does not answer here: {reason}")
    yield provider, start == "cold"
    provider.close()


def test_every_attack_has_its_place():
    named = [name for names in LET_THROUGH.values() for name in names] + list(NOT_SHOWN)
    assert sorted(named) == sorted(side.NAMES)


def test_no_attack_succeeds(wall, host):
    provider, cold = wall
    supervised = 1 if provider.name in ("docker", "apptainer") else 0
    targets = {"cold": cold, "root_pid": supervised}
    first = host.attack(provider, leave=True, **targets)
    assert set(first) == set(side.NAMES)
    assert {name: got for name, got in first.items() if got} == {}
    later = host.attack(provider, attacks=["left_by_an_earlier_job", "see_other_processes"],
                        **targets)  # fmt: skip
    assert {name: got for name, got in later.items() if got} == {}
    assert host.changes() == []


def hole(name: str, host) -> object:
    targets = host.targets
    shown = [str(host.folder)]
    shown += [str(Path(targets[n]).parent) for n in ("workspace", "unix_socket", "application")]
    without, Hole = side.without, side.Hole
    return {
        "network namespace": lambda: Hole(without("--unshare-net")),
        "network namespace and filter": lambda: Hole(
            lambda arguments: without("--unshare-net")(without("--seccomp", values=1)(arguments))
        ),
        "mount namespace": lambda: Hole(side.showing(*shown)),
        "mount namespace and user": lambda: Hole(
            side.showing("/root", "/etc/shadow", "/sys"), side.as_root
        ),
        "system call filter": lambda: Hole(without("--seccomp", values=1)),
        "filter and capabilities": lambda: Hole(side.all_rights, side.as_root),
        "read-only mounts": lambda: Hole(side.writable_mounts),
        "read-only mounts and user": lambda: Hole(side.writable_mounts, side.as_root),
        "PID namespace": lambda: Hole(without("--unshare-pid"), watched=False),
        "PID namespace and user": lambda: Hole(
            without("--unshare-pid"), side.as_root, watched=False
        ),
        "user": lambda: Hole(inside=side.as_root),
        "kernel limits": lambda: Hole(inside=side.without_limits),
        "empty environment": lambda: Hole(environment={"OPENAI_API_KEY": targets["key"]}),
        "closed descriptors": lambda: Hole(descriptors=(host.descriptor(),)),
        "hidden packages": lambda: Hole(),
        "python -P": lambda: Hole(targets={"python_options": []}),
        "read-only host folder": lambda: Hole(side.showing(str(host.folder), writable=True)),
        "fresh workspaces": lambda: Hole(side.showing(*host.stale(), writable=True), watched=False),
    }[name]()


@pytest.mark.skipif(os.geteuid() != 0, reason="holes are opened as root")
@pytest.mark.parametrize("name", LET_THROUGH)
def test_attacks_succeed_where_their_defence_is_missing(name, host, monkeypatch):
    if side.refusal(BubblewrapProvider()):
        pytest.skip("bubblewrap does not answer here")
    if name == "hidden packages":
        monkeypatch.setattr(mounts, "HIDDEN", ())
    opened = hole(name, host)
    try:
        with side.hole_in_the_wall(opened):
            got = host.attack(
                BubblewrapProvider(), cold=True, attacks=LET_THROUGH[name], **opened.targets
            )
        assert [name for name, what in got.items() if not what] == []
    finally:
        side.clean_up(host)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests already run as a plain user")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_no_attack_succeeds_when_a_plain_user_starts_the_wall():
    availability = load("test_wall_availability")
    command = availability.as_plain_user(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header",
         "-k", "bubblewrap", f"{__file__}::test_no_attack_succeeds"]
    )  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "LANG": "C.UTF-8"}
    answer = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-2000:]
    assert "2 passed" in answer.stdout
