"""Temporary folders that are gone afterwards, also when their owner is killed outright."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["scratch_folder"]

JANITOR = 'read -r line; exec rm -rf -- "$1"'


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can enter.

    A small process of its own session waits for the end of a pipe that this process holds, and
    then removes the folder; so it is also gone after a SIGKILL.
    """
    folder = Path(tempfile.mkdtemp(prefix="bumpscout-"))
    with subprocess.Popen(
        ["/bin/sh", "-c", JANITOR, "sh", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        start_new_session=True,
    ):
        # Leaving the block closes the pipe and waits.
        yield folder
