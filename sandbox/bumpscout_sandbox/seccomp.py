"""A filter of system calls for jobs, as a classic BPF program (``bwrap --seccomp``).

It is a second wall: it closes what namespaces and rlimits leave open. Memory that belongs to no
process (``memfd_create``, System V segments, anonymous mappings that are shared) would escape the
watchdog; so would send buffers that grow. The rest is kernel surface that no analysis needs: of all
sockets only local ones are left. Refused calls fail with EPERM, ``clone3`` with ENOSYS so that libc
falls back to ``clone``, whose flags can be seen.
"""

from __future__ import annotations

import errno
import platform
import struct

__all__ = ["filter_program"]

# Linux: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "shmget": 29,
        "semget": 64,
        "msgget": 68,
        "ptrace": 101,
        "personality": 135,
        "pivot_root": 155,
        "chroot": 161,
        "acct": 163,
        "mount": 165,
        "umount2": 166,
        "swapon": 167,
        "reboot": 169,
        "init_module": 175,
        "delete_module": 176,
        "quotactl": 179,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "unshare": 272,
        "move_pages": 279,
        "vmsplice": 278,
        "perf_event_open": 298,
        "fanotify_init": 300,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "setns": 308,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "finit_module": 313,
        "memfd_create": 319,
        "kexec_file_load": 320,
        "bpf": 321,
        "userfaultfd": 323,
        "kexec_load": 246,
        "mq_open": 240,
    },
    "aarch64": {
        "shmget": 194,
        "semget": 190,
        "msgget": 186,
        "ptrace": 117,
        "personality": 92,
        "pivot_root": 41,
        "chroot": 51,
        "acct": 89,
        "mount": 40,
        "umount2": 39,
        "swapon": 224,
        "reboot": 142,
        "init_module": 105,
        "delete_module": 106,
        "quotactl": 60,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "unshare": 97,
        "move_pages": 239,
        "vmsplice": 75,
        "perf_event_open": 241,
        "fanotify_init": 262,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "setns": 268,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "finit_module": 273,
        "memfd_create": 279,
        "kexec_file_load": 294,
        "bpf": 280,
        "userfaultfd": 282,
        "kexec_load": 104,
        "mq_open": 180,
    },
}
# Numbers from 424 on are common to all architectures.
COMMON = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "memfd_secret": 447,
}
ALONE: dict[str, dict[str, int]] = {
    "x86_64": {
        "fork": 57,
        "vfork": 58,
        "execve": 59,
        "kill": 62,
        "rt_sigqueueinfo": 129,
        "tkill": 200,
        "tgkill": 234,
        "rt_tgsigqueueinfo": 297,
        "execveat": 322,
        "socket": 41,
        "socketpair": 53,
    },
    "aarch64": {
        "execve": 221,
        "kill": 129,
        "rt_sigqueueinfo": 138,
        "tkill": 130,
        "tgkill": 131,
        "rt_tgsigqueueinfo": 240,
        "execveat": 281,
        "socket": 198,
        "socketpair": 199,
    },
}
ALONE_COMMON = {"pidfd_send_signal": 424, "pidfd_open": 434}
CLONE3 = 435
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKETS = {"x86_64": (41, 53), "aarch64": (198, 199)}
"""``socket`` and ``socketpair``."""
AF_UNIX = 1
SET_OPTION = {"x86_64": 54, "aarch64": 208}
SOL_SOCKET, SO_SNDBUF = 1, 7
MAP = {"x86_64": 9, "aarch64": 222}
SHARED_AND_ANONYMOUS = 0x21
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET together."""
NEW_THREAD = 0x00010000
X32_BIT = 0x40000000

LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x00050000
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16


def filter_program(
    machine: str | None = None, *, shared_memory: bool = False, alone: bool = False
) -> bytes | None:
    """Return the program, or None on an architecture without a table.

    Args:
        machine: as `platform.machine` says it; this machine's by default.
        shared_memory: leave anonymous shared mappings, which the drivers of graphics processors
            need; a control group has to bound them then.
        alone: also refuse other processes, signals and sockets altogether, which a job may have.
    """
    machine = machine or platform.machine()
    if machine not in NUMBERS:
        return None
    also = {**ALONE[machine], **ALONE_COMMON} if alone else {}
    code = [
        _op(LOAD, ARCH_AT),
        _op(EQUAL, AUDIT_ARCH[machine], 1, 0),
        _op(RETURN, KILL),
        _op(LOAD, NUMBER_AT),
    ]
    if machine == "x86_64":
        code += [_op(AT_LEAST, X32_BIT, 0, 1), _op(RETURN, KILL)]
    code += [_op(EQUAL, CLONE3, 0, 1), _op(RETURN, REFUSE | errno.ENOSYS)]
    for number in sorted({**NUMBERS[machine], **COMMON, **also}.values()):
        code += [_op(EQUAL, number, 0, 1), _op(RETURN, REFUSE | errno.EPERM)]
    refuse, allow = _op(RETURN, REFUSE | errno.EPERM), _op(RETURN, ALLOW)
    threads = [_op(ANY_BIT, NEW_THREAD, 1, 0), refuse] if alone else []
    code += _only(
        CLONE[machine],
        _argument(0), _op(ANY_BIT, NEW_NAMESPACES, 0, 1), refuse, *threads, allow,
    )  # fmt: skip
    for number in SOCKETS[machine]:
        code += _only(number, _argument(0), _op(EQUAL, AF_UNIX, 1, 0), refuse, allow)
    code += _only(
        SET_OPTION[machine],
        _argument(1), _op(EQUAL, SOL_SOCKET, 0, 3),
        _argument(2), _op(EQUAL, SO_SNDBUF, 0, 1), refuse, allow,
    )  # fmt: skip
    if not shared_memory:
        code += _only(
            MAP[machine],
            _argument(3), _op(AND, SHARED_AND_ANONYMOUS),
            _op(EQUAL, SHARED_AND_ANONYMOUS, 0, 1), refuse, allow,
        )  # fmt: skip
    return b"".join([*code, allow])


def _only(number: int, *rest: bytes) -> list[bytes]:
    """Return operations for one call; they have to end with a RETURN."""
    return [_op(EQUAL, number, 0, len(rest)), *rest]


def _argument(index: int) -> bytes:
    """Load the lower half of an argument."""
    return _op(LOAD, ARGUMENTS_AT + 8 * index)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
