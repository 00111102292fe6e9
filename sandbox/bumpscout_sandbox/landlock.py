"""Landlock: takes away a process's own access to files, for good (Linux 5.13 and later)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

__all__ = ["restrict_files"]

# Numbers are common to all architectures; include/uapi/linux/landlock.h.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PR_SET_NO_NEW_PRIVS = 38
QUERY_VERSION = 1
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE
RIGHTS_BY_VERSION = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
TCP_RIGHTS = 0b11


def restrict_files(readable: Iterable[str]) -> int:
    """Leave this process, and all it may start, nothing but reading below the given paths.

    From Linux 6.7 on TCP is refused as well.

    Args:
        readable: files and folders; those that do not exist are passed over.

    Returns:
        The Landlock version in force; 0 where the kernel has none, then nothing was changed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, 0, QUERY_VERSION)
    if version < 1:
        return 0
    handled = sum(rights for since, rights in RIGHTS_BY_VERSION if version >= since)
    attributes = (
        struct.pack("=QQ", handled, TCP_RIGHTS) if version >= 4 else struct.pack("=Q", handled)
    )
    ruleset = libc.syscall(CREATE_RULESET, attributes, len(attributes), 0)
    _demand(ruleset, "landlock_create_ruleset")
    for path in readable:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rights = READ_FILE | READ_DIR if folder else READ_FILE
        rule = struct.pack("=Qi", rights, descriptor)
        _demand(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0), "landlock_add_rule")
        os.close(descriptor)
    _demand(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _demand(libc.syscall(RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)
    return int(version)


def _demand(status: int, what: str) -> None:
    if status < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
