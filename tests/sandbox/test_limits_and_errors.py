"""Settings, error tree and system call filter of the sandbox room."""

from __future__ import annotations

import struct

import pytest
from pydantic import ValidationError

from bumpscout_sandbox.errors import (
    LedgerBroken,
    SandboxError,
    SandboxFailure,
    SandboxUnavailable,
)
from bumpscout_sandbox.limits import Limits, machine_memory_bytes
from bumpscout_sandbox.provider import OutputSpec
from bumpscout_sandbox.seccomp import filter_program
from bumpscout_tools.errors import BumpscoutError


def test_errors_carry_the_exit_codes_of_the_command_line():
    assert issubclass(SandboxError, BumpscoutError)
    codes = {e: e.exit_code for e in (SandboxUnavailable, SandboxFailure, LedgerBroken)}
    assert codes == {SandboxUnavailable: 4, SandboxFailure: 4, LedgerBroken: 3}
    assert all(issubclass(error, SandboxError) for error in codes)


def test_machine_limits_leave_room_for_the_machine():
    limits = Limits.for_machine(cpus=3)
    assert limits.cpus == 3
    assert limits.memory_bytes <= machine_memory_bytes() // 2
    assert limits.workspace_bytes <= limits.memory_bytes


def test_limits_are_fixed_and_strict():
    with pytest.raises(ValidationError):
        Limits(wall_seconds=3)
    with pytest.raises(ValidationError):
        Limits(memory_bytes=0)
    with pytest.raises(ValidationError):
        Limits().wall_s = 3


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x\n", "a b", "x" * 101])
def test_output_names_are_plain(name):
    with pytest.raises(ValidationError):
        OutputSpec(name=name, kind="json", max_bytes=1)


def run_filter(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Interpret a classic BPF program as the kernel does (linux/filter.h)."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    code = list(struct.iter_unpack("=HBBI", program))
    position, accumulator = 0, 0
    while True:
        op, if_true, if_false, value = code[position]
        position += 1
        if op == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif op == 0x54:
            accumulator &= value
        elif op == 0x06:
            return value
        else:
            test = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[op]
            position += if_true if test else if_false


ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


@pytest.mark.parametrize(
    ("machine", "arch", "read", "clone", "mount", "socket", "option", "mmap"),
    [
        ("x86_64", 0xC000003E, 0, 56, 165, 41, 54, 9),
        ("aarch64", 0xC00000B7, 63, 220, 40, 198, 208, 222),
    ],
)
def test_filter_refuses_what_no_analysis_needs(
    machine, arch, read, clone, mount, socket, option, mmap
):
    program = filter_program(machine)
    assert run_filter(program, arch, read) == ALLOW
    assert run_filter(program, arch, mount) == EPERM
    assert run_filter(program, arch, 425) == EPERM
    assert run_filter(program, arch, 435) == ENOSYS
    assert run_filter(program, arch, clone, 0x003D0F00) == ALLOW
    assert run_filter(program, arch, clone, 0x10000000) == EPERM
    assert run_filter(program, arch, socket, 1) == ALLOW
    assert run_filter(program, arch, socket, 2) == EPERM
    assert run_filter(program, arch, option, 3, 1, 7) == EPERM
    assert run_filter(program, arch, option, 3, 1, 8) == ALLOW
    assert run_filter(program, arch, option, 3, 6, 7) == ALLOW
    # Private, or of a file: allowed. Shared and of nothing, either spelling: not.
    for flags, answer in ((0x22, ALLOW), (0x1, ALLOW), (0x21, EPERM), (0x4023, EPERM)):
        assert run_filter(program, arch, mmap, 0, 4096, 3, flags) == answer
    shared = filter_program(machine, shared_memory=True)
    assert run_filter(shared, arch, mmap, 0, 4096, 3, 0x21) == ALLOW
    assert run_filter(shared, arch, socket, 2) == EPERM
    alone = filter_program(machine, alone=True)
    assert run_filter(alone, arch, read) == ALLOW
    assert run_filter(alone, arch, clone, 0x003D0F00) == ALLOW
    assert run_filter(alone, arch, clone, 0x11) == EPERM
    assert run_filter(alone, arch, socket, 1) == EPERM
    assert run_filter(program, 0x40000003, read) == KILL


def test_x32_calls_cannot_pass_under_other_numbers():
    assert run_filter(filter_program("x86_64"), 0xC000003E, 0x40000000 | 165) == KILL


def test_unknown_architecture_has_no_filter():
    assert filter_program("riscv64") is None
