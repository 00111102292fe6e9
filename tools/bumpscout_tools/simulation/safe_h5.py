"""HDF5 files on disks that may be full: the HDF5 library itself crashes when a write fails."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

__all__ = ["HDF5Output", "new_h5"]


class HDF5Output(io.RawIOBase):
    """A file for h5py that remembers the first failure and never tells HDF5.

    HDF5 frees its structures by writing; where that fails, the process ends in a segmentation
    fault. After a failure everything else is thrown away, and ``error`` says what happened.
    """

    def __init__(self, path: Path) -> None:
        """Create the file, or empty it.

        Raises:
            OSError: it cannot be created.
        """
        super().__init__()
        self._file = path.open("w+b", buffering=0)
        self._end = 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def seekable(self) -> bool:
        """Say that it has places."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the end is where it would be had nothing failed."""
        if whence == os.SEEK_END:
            return self._file.seek(self._end + offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Read; zeros where a write has failed."""
        view = memoryview(buffer).cast("B")
        got = self._file.readinto(view) or 0
        if self.error is not None:
            view[got:] = bytes(len(view) - got)
            return len(view)
        return got

    def write(self, data: Any) -> int:
        """Write all, or remember why not."""
        view = memoryview(data).cast("B")
        start = self._file.tell()
        size = len(view)
        if self.error is None:
            try:
                while len(view):
                    view = view[self._file.write(view) or 0 :]
            except OSError as error:
                self.error = error
        self._file.seek(start + size)
        self._end = max(self._end, start + size)
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember why not."""
        wanted = self._file.tell() if size is None else size
        if self.error is None:
            try:
                self._file.truncate(wanted)
            except OSError as error:
                self.error = error
        self._end = wanted
        return wanted

    def close(self) -> None:
        """Bring everything to the disk and close; a failure here is remembered too."""
        if not self.closed:
            try:
                if self.error is None:
                    os.fsync(self._file.fileno())
            except OSError as error:
                self.error = error
            finally:
                self._file.close()
        super().close()


@contextlib.contextmanager
def new_h5(path: Path) -> Iterator[tuple[h5py.File, HDF5Output]]:
    """Write a new HDF5 file; a failed write comes out as an exception, not as a crash.

    Args:
        path: file to write; an existing one is replaced.

    Yields:
        The open file, and its output, whose ``error`` may be looked at to stop early.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    output = HDF5Output(path)
    try:
        with h5py.File(output, "w") as file:
            yield file, output
    finally:
        output.close()
    if output.error is not None:
        raise output.error
