"""Figures that a command writes where its user says: checked before the work, written after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bumpscout_tools.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PlotKind", "check_plots", "write_plot"]

PlotKind = Literal["png", "svg", "pdf"]
_KINDS: tuple[PlotKind, ...] = ("png", "svg", "pdf")


def check_plots(*paths: Path | None) -> None:
    """Refuse figures that could not be written, before anybody waits for them.

    Raises:
        ConfigurationError: an ending that is not known, or a folder that does not exist.
    """
    for path in paths:
        if path is None:
            continue
        _kind(path)
        if not path.parent.is_dir():
            raise ConfigurationError(
                f"Cannot write {path}: there is no folder {path.parent}. Make it, or choose "
                "another."
            )


def write_plot(path: Path, figure: Figure) -> None:
    """Write a figure in the format that its name ends in.

    Raises:
        ConfigurationError: an ending that is not known, or a file that cannot be written.
    """
    from bumpscout_tools.files import write_atomic
    from bumpscout_tools.plots import figure_bytes

    write_atomic(path, figure_bytes(figure, _kind(path)))


def _kind(path: Path) -> PlotKind:
    ending = path.suffix.lower().lstrip(".")
    for kind in _KINDS:
        if ending == kind:
            return kind
    raise ConfigurationError(
        f"A plot is written as .png, .svg or .pdf, and {path} ends in none of them."
    )
