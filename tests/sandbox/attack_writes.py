"""Attacks that write or leave something, tried inside a job; see attack_tools."""

import os
import pathlib
import struct
import subprocess
import sys

from attack_tools import attack, targets, write


@attack
def write_system():
    return write(targets["system_file"])


@attack
def write_interpreter():
    return write(sys.prefix + "/" + targets["new_name"])


@attack
def write_standard_library():
    return write(pathlib.Path(os.__file__).parent / targets["new_name"])


@attack
def write_vetted_library():
    import bumpscout_tools

    return write(pathlib.Path(bumpscout_tools.__file__).parent / targets["new_name"])


@attack
def write_root():
    return write("/" + targets["new_name"])


@attack
def write_etc():
    return write("/etc/ld.so.preload", "")


@attack
def write_input():
    return write("/in/canary.txt")


@attack
def new_file_beside_the_inputs():
    return write("/in/" + targets["new_name"])


@attack
def change_the_mode_of_an_input():
    pathlib.Path("/in/canary.txt").chmod(0o777)
    return True


@attack
def write_script():
    return write("/job/script.py")


@attack
def write_devices():
    return write("/dev/" + targets["new_name"])


@attack
def core_pattern():
    # Opened for writing, not written to: where it succeeds it is the host's.
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return True


@attack
def magic_keys():
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return True


@attack
def kernel_settings():
    os.close(os.open("/proc/sys/vm/drop_caches", os.O_WRONLY))
    return True


@attack
def control_groups():
    for path in ("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/tasks"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            return True
        except OSError:
            continue
    raise OSError("none")


@attack
def write_through_a_symlink():
    pathlib.Path("/out/link").symlink_to(targets["canary"])
    return write("/out/link")


@attack
def write_through_a_hard_link():
    pathlib.Path("/out/hard").hardlink_to("/in/canary.txt")
    return write("/out/hard")


@attack
def set_user_id():
    path = pathlib.Path("/out/id")
    path.write_bytes(pathlib.Path("/usr/bin/id").read_bytes())
    os.chown(path, 0, 0)
    path.chmod(0o6755)
    return subprocess.run([path, "-u"], capture_output=True, text=True).stdout.strip() == "0"


@attack
def file_capabilities():
    pathlib.Path("/out/capable").write_bytes(b"")
    value = struct.pack("=5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
    os.setxattr("/out/capable", "security.capability", value)
    return True


@attack
def make_device():
    os.mknod("/out/device", 0o60666, os.makedev(8, 0))
    return True


@attack
def open_made_device():
    os.mknod("/out/zero", 0o20666, os.makedev(1, 5))
    return bool(os.read(os.open("/out/zero", os.O_RDONLY), 1))


@attack
def module_beside_the_script():
    files = ("lightgbm.py", "sitecustomize.py", "usercustomize.py", "evil.pth")
    for folder in ("/out", "/tmp"):
        for name in files:
            pathlib.Path(folder, name).write_text("import os; os.environ['TURNED'] = '1'\n")
    site = pathlib.Path(
        "/tmp/.local/lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages"
    )
    site.mkdir(parents=True)
    for name in files:
        (site / name).write_text("import os; os.environ['TURNED'] = '1'\n")
    code = "import os, lightgbm; print(os.environ.get('TURNED'))"
    arguments = [sys.executable, *targets["python_options"], "-c", code]
    return subprocess.run(arguments, capture_output=True, text=True, cwd="/out").stdout == "1\n"


@attack
def left_by_an_earlier_job():
    return " ".join(
        str(p)
        for f in ("/out", "/tmp", "/dev/shm")
        for p in pathlib.Path(f).iterdir()
        if p.name == "left-behind"
    )


@attack
def poisoned_byte_code():
    import bumpscout_tools

    folder = pathlib.Path(bumpscout_tools.__file__).parent / "__pycache__"
    folder.mkdir(exist_ok=True)
    return write(folder / targets["new_name"])
