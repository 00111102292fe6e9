"""Reads the small files of `fit`, `bumphunt`, `limits` and `abcd` in the confined child.

The child is started first and parses while the caller imports what it will need, so that the wall
costs next to no time.
"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bumpscout_sandbox.confined import ConfinedLimits, call_confined
from bumpscout_tools.errors import InputDataError

if TYPE_CHECKING:
    from bumpscout_tools.background.regions import Regions
    from bumpscout_tools.background.spectrum import Spectrum

__all__ = ["Reading"]

_LIMITS = ConfinedLimits(wall_s=30.0, memory_bytes=1 << 30, reply_bytes=1 << 20)


class Reading:
    """A file that is being parsed; one of `spectrum` and `regions` gives what it holds."""

    def __init__(self, path: Path, parser: str) -> None:
        """Start the parser.

        Args:
            path: the file.
            parser: ``parse_spectrum`` or ``parse_regions``.

        Raises:
            InputDataError: a path that leads to no regular file.
        """
        resolved = _regular(path)
        self.path = path
        with_one = ThreadPoolExecutor(1)
        self._reply = with_one.submit(
            call_confined,
            f"bumpscout_sandbox.parsers:{parser}",
            {"path": str(resolved), "name": str(path)},
            subject=str(path),
            readable=[resolved],
            limits=_LIMITS,
        )
        with_one.shutdown(wait=False)

    def spectrum(self) -> Spectrum:
        """Return the spectrum.

        Raises:
            InputDataError: a file that cannot be read, or a spectrum that cannot be fitted.
        """
        from bumpscout_tools.background.spectrum import Spectrum

        arrays = {name: array.astype(float) for name, array in self._reply.result().arrays.items()}
        return Spectrum(
            arrays["edges"], arrays["observed"], arrays.get("expected"), arrays.get("variances")
        )

    def regions(self) -> Regions:
        """Return the counts of ABCD regions.

        Raises:
            InputDataError: a file that cannot be read, or that holds something else.
        """
        from bumpscout_tools.background.abcd import Abcd
        from bumpscout_tools.background.regions import Regions

        rows = {
            name: Abcd(*map(float, array.astype(float)))
            for name, array in self._reply.result().arrays.items()
        }
        return Regions(rows["observed"], rows.get("signal"), rows.get("validation"))


def _regular(path: Path) -> Path:
    """Return where a path leads, which a parser may then open without waiting for anybody."""
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    except RuntimeError:
        raise InputDataError(f"Cannot read {path}: its links lead in a circle.") from None
    except OSError as error:
        raise InputDataError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise InputDataError(f"Cannot read {path!r}: {error}.") from error
    if not stat.S_ISREG(mode):
        raise InputDataError(
            f"Cannot read {path}: it is a folder, a pipe or a device. Give a file of text."
        )
    return resolved
