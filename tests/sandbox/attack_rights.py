"""Attacks on privileges and processes, tried inside a job; see attack_tools."""

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import time

from attack_tools import X86, attack, demand, libc, others, syscall, targets


@attack
def become_root():
    demand(libc.setuid(0))
    return os.getuid() == 0


@attack
def setuid_programs():
    for name in ("su", "sudo", "pkexec"):
        try:
            answer = subprocess.run(
                [name, "-c", "id -u"],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=3,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if answer.stdout.strip() == "0":
            return True
    return False


@attack
def mount_something():
    return demand(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))


@attack
def remount_writable():
    return demand(libc.mount(None, b"/usr", None, 32 | 4096, None))


@attack
def unmount():
    return demand(libc.umount2(b"/proc", 2))


@attack
def new_mount_interface():
    return syscall(430, 430, b"tmpfs", 0)


@attack
def user_namespace_by_unshare():
    return demand(libc.unshare(0x10000000))


@attack
def user_namespace_by_clone():
    pid = libc.syscall(56 if X86 else 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return demand(pid)


@attack
def user_namespace_by_clone3():
    arguments = struct.pack("=11Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    pid = libc.syscall(435, arguments, len(arguments))
    if pid == 0:
        os._exit(0)
    return demand(pid)


@attack
def enter_a_namespace():
    return demand(libc.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))


@attack
def trace_the_parent():
    return demand(libc.ptrace(0x4206, os.getppid(), None, None))


@attack
def trace_the_first_process():
    return demand(libc.ptrace(0x4206, 1, None, None))


@attack
def be_traced():
    return demand(libc.ptrace(0, 0, None, None))


@attack
def io_uring():
    return syscall(425, 425, 1, ctypes.create_string_buffer(120))


@attack
def sockets_into_the_kernel():
    made = []
    for family in set(range(46)) - {socket.AF_UNIX}:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            with contextlib.suppress(OSError):
                socket.socket(family, kind).close()
                made.append(family)
    return made


@attack
def kernel_keys():
    return syscall(250, 219, 0, -3, 1)


@attack
def change_root():
    os.chroot("/out")
    return True


@attack
def pivot_root():
    return syscall(155, 41, b"/out", b"/out")


@attack
def real_time_scheduling():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return True


@attack
def better_priority():
    os.setpriority(os.PRIO_PROCESS, 0, -5)
    return True


@attack
def push_characters_into_the_terminal():
    fcntl.ioctl(0, 0x5412, b"x")
    return True


@attack
def raise_limits():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    return True


@attack
def load_a_module():
    return syscall(313, 273, 0, b"", 0)


@attack
def bpf():
    return syscall(321, 280, 0, struct.pack("=IIII", 1, 4, 4, 1) + b"\0" * 104, 120)


@attack
def performance_counters():
    return syscall(298, 241, struct.pack("=IIQ", 1, 120, 0) + b"\0" * 104, 0, -1, -1, 0)


@attack
def user_page_faults():
    return syscall(323, 282, 1)


@attack
def anonymous_memory_file():
    return syscall(319, 279, b"x", 0)


@attack
def system_v_memory():
    return demand(libc.shmget(0, 4096, 0o1600))


@attack
def message_queue():
    return syscall(240, 180, b"x", os.O_CREAT | os.O_RDWR, 0o600, None)


@attack
def another_personality():
    return demand(libc.personality(0x0040000))


@attack
def host_name():
    socket.sethostname("owned")
    return True


@attack
def clock():
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return True


@attack
def lock_memory():
    area = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return demand(
        libc.mlock(
            ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area))),
            ctypes.c_size_t(1 << 20),
        )
    )


@attack
def reboot():
    return syscall(169, 142, 0xFEE1DEAD, 672274793, 0, None)


@attack
def kill_the_first_process():
    os.kill(1, signal.SIGKILL)
    os.kill(1, signal.SIGINT)
    time.sleep(0.2)
    return False


@attack
def kill_a_process_of_the_host():
    os.kill(targets["victim"], signal.SIGKILL)
    return True


@attack
def see_other_processes():
    return " ".join(name for name in others() if name == str(targets["victim"]))
