"""What `calibrate` and `recast` share: options of trials, and going on where they were."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bumpscout.console import guarded

if TYPE_CHECKING:
    from bumpscout.console import Progress

__all__ = ["check_finite", "run_trials", "trial_options"]

F = TypeVar("F", bound=Callable[..., Any])


def trial_options(
    command: str,
    *,
    of: str,
    strengths: tuple[float, ...],
    zero: bool,
    n_null: tuple[int, int],
    null: str,
) -> Callable[[F], F]:
    """Return a decorator that adds the options of trials, in the order of the help text.

    Args:
        command: its name; the file of its record is called after it.
        of: what seed is otherwise taken from.
        strengths: default strengths of the signal.
        zero: whether a strength may be 0.
        n_null: least and default number of trials without a signal.
        null: what these are.
    """
    options = (
        click.option(
            "--out",
            required=True,
            type=click.Path(file_okay=False, path_type=Path),
            help=f"Folder; one that holds the same {command} goes on.",
        ),
        click.option(
            "--strength",
            "strengths",
            multiple=True,
            type=click.FloatRange(min=0, max=100, min_open=not zero),
            default=strengths,
            show_default=True,
            help="S/sqrt(B) within 5% of the mass, before any cut; give it once for each.",
        ),
        click.option(
            "--n-null",
            type=click.IntRange(n_null[0], 100_000),
            default=n_null[1],
            show_default=True,
            help=null,
        ),
        click.option(
            "--n-signal",
            type=click.IntRange(1, 100_000),
            default=20,
            show_default=True,
            help="Pseudo-experiments at each strength.",
        ),
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), help=f"Instead of that of {of}."),
        click.option(
            "--workers", type=click.IntRange(1, 1024), help="Processes.  [default: one a processor]"
        ),
        click.option("--json", "as_json", is_flag=True, help=f"Print {command}.json."),
    )

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def check_finite(values: Iterable[tuple[str, float | None]]) -> None:
    """Refuse options that are infinite or no number.

    Raises:
        UsageError: if one is.
    """
    for name, value in values:
        if value is not None and not math.isfinite(value):
            raise click.UsageError(f"{name} must be a finite number, not {value}.")


def run_trials(run: Callable[[Progress], str], out: Path) -> None:
    """Run a command that keeps finished trials in a folder, print what it returns, and exit."""

    def action() -> None:
        from bumpscout.console import Progress

        progress = Progress()
        try:
            text = run(progress)
        except KeyboardInterrupt:
            progress.close()
            click.echo(f"Finished trials are kept in {out}; the same command goes on.", err=True)
            raise
        finally:
            progress.close()
        click.echo(text)

    sys.exit(guarded(action, out))
