"""Attacks on network and files of the host, tried inside a job; see attack_tools."""

import ctypes
import importlib.util
import os
import pathlib
import socket
import struct

from attack_tools import attack, names, others, read, syscall, targets


@attack
def tcp_to_the_host():
    with socket.create_connection(("127.0.0.1", targets["tcp_port"]), timeout=2) as s:
        return s.recv(100).decode()


@attack
def tcp_over_ipv6():
    with socket.create_connection(("::1", targets["tcp6_port"]), timeout=2) as s:
        return s.recv(100).decode()


@attack
def tcp_to_the_world():
    with socket.create_connection(("1.1.1.1", 53), timeout=2):
        return True


@attack
def udp_as_in_dns():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    s.sendto(b"who?", ("127.0.0.1", targets["udp_port"]))
    return s.recv(100).decode()


@attack
def vsock():
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    return True


@attack
def abstract_unix_socket():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(2)
    s.connect("\0" + targets["abstract"])
    return s.recv(100).decode()


@attack
def engine_socket():
    for path in (
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/containerd/containerd.sock",
        targets["unix_socket"],
    ):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(2)
        try:
            s.connect(path)
            return s.recv(100).decode()
        except OSError:
            continue
    raise OSError("none")


@attack
def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return True


@attack
def packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    return True


@attack
def network_devices():
    found = [name for _, name in socket.if_nameindex() if name != "lo"]
    return " ".join(found)


@attack
def secret_file():
    return read(targets["secret"])


@attack
def home_folder():
    return " ".join(names(targets["home"]))


@attack
def ssh_keys():
    return " ".join(names(targets["home"] + "/.ssh"))


@attack
def root_home():
    return " ".join(sorted(set(names("/root")) - set(targets["shown_in_root"])))


@attack
def shadow():
    return read("/etc/shadow")


@attack
def other_workspaces():
    return read(targets["workspace"])


@attack
def file_of_the_vault():
    return read(targets["vault"])


@attack
def truth_label():
    import h5py

    with h5py.File(targets["labelled"]) as file:
        return str(file["df/block0_items"][-1])


@attack
def label_in_the_view():
    import pyarrow.parquet

    names = pyarrow.parquet.read_schema("/in/view.parquet").names
    return " ".join(name for name in names if "label" in name or "truth" in name)


@attack
def own_environment():
    return " ".join(f"{k}={v}" for k, v in os.environ.items() if "KEY" in k or "TOKEN" in k)


@attack
def environment_of_others():
    found = ""
    for name in [*others(), "1"]:
        try:
            found += read(f"/proc/{name}/environ")
        except OSError:
            continue
    if targets["key"] not in found:
        raise OSError("not there")
    return found


@attack
def command_lines_of_others():
    found = ""
    for name in others():
        try:
            found += read(f"/proc/{name}/cmdline")
        except OSError:
            continue
    if targets["marker"] not in found:
        raise OSError("not there")
    return found


@attack
def root_of_the_first_process():
    return " ".join(names("/proc/1/root"))


@attack
def folder_of_the_first_process():
    return str(pathlib.Path("/proc/1/cwd").readlink())


@attack
def files_of_the_first_process():
    return " ".join(str(pathlib.Path(f"/proc/1/fd/{n}").readlink()) for n in names("/proc/1/fd"))


@attack
def memory_of_the_first_process():
    line = next(line for line in read("/proc/1/maps").splitlines() if "rw-p" in line)
    descriptor = os.open("/proc/1/mem", os.O_RDONLY)
    return repr(os.pread(descriptor, 16, int(line.partition("-")[0], 16)))


@attack
def memory_by_system_call():
    here = ctypes.create_string_buffer(16)
    one = struct.pack("QQ", ctypes.addressof(here), 16)
    return syscall(310, 270, 1, one, 1, one, 1, 0)


@attack
def kernel_memory():
    return repr(os.pread(os.open("/proc/kcore", os.O_RDONLY), 16, 0))


@attack
def physical_memory():
    return repr(os.pread(os.open("/dev/mem", os.O_RDONLY), 16, 0))


@attack
def kernel_log():
    os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    return True


@attack
def block_devices():
    return read(targets["block_device"] or "/dev/sda")


@attack
def firmware_and_kernel_settings():
    return " ".join(set(names("/sys")) - {"devices", "fs"})


@attack
def devices():
    usual = {
        "core",
        "fd",
        "full",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
        "console",
        "mqueue",
    }
    return " ".join(set(names("/dev")) - usual)


@attack
def source_of_the_application():
    return read(targets["application"])


@attack
def other_rooms_and_clients():
    found = []
    for name in targets["hidden"]:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append(name)
    return " ".join(found)


@attack
def inherited_descriptors():
    found = ""
    for name in names("/proc/self/fd"):
        try:
            found += os.pread(int(name), 100, 0).decode("latin-1")
        except OSError:
            continue
    if targets["descriptor_mark"] not in found:
        raise OSError("not there")
    return found


@attack
def file_by_handle():
    handle = struct.pack("=iiQ", 8, 1, 2) + b"\0" * 112
    return syscall(304, 265, os.open("/", os.O_RDONLY), handle, 0)
