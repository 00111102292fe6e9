"""Figures of a task in the run folder, written where no link leads elsewhere."""

from __future__ import annotations

from pathlib import Path

from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic

__all__ = ["keep_figures"]


def keep_figures(run_dir: Path, task_id: str, figures: dict[str, bytes]) -> tuple[str, ...]:
    """Write the figures of a task below ``tasks/<task_id>`` and return their paths in the run.

    Args:
        run_dir: folder of the run.
        task_id: names the folder of the task.
        figures: PNG by file name, re-encoded.

    Raises:
        ConfigurationError: if the folder is a link.
    """
    kept: list[str] = []
    for name, png in figures.items():
        path = Path("tasks") / task_id / name
        folder = run_dir / path.parent
        if folder.is_symlink() or folder.parent.is_symlink():
            raise ConfigurationError(f"{folder} is a link; a run keeps its figures itself.")
        # A link in the place of the figure is replaced, not followed.
        write_atomic(run_dir / path, png)
        kept.append(str(path))
    return tuple(kept)
