"""Options and output that the commands `fit`, `bumphunt`, `limits` and `abcd` share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from bumpscout.console import guarded
from bumpscout.words import printable

__all__ = ["MODELS", "PLOT", "answer", "as_json_option", "seed_option", "spectrum_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

PLOT = click.Path(path_type=Path, dir_okay=False)
MODELS = (
    "p2..p6, auto (order chosen among them), ua2, diphoton, exponential, sliding, expected, "
    "template, template-tilted"
)

seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def spectrum_options(command: Command) -> Command:
    """Add the argument SPECTRUM and the options that say which part of it is looked at, and how."""
    options = (
        click.argument("spectrum", type=click.Path(path_type=Path)),
        click.option(
            "--sqrt-s",
            "sqrt_s_gev",
            type=click.FloatRange(min=0, min_open=True),
            default=13000.0,
            show_default=True,
            help="Collision energy in GeV.",
        ),
        click.option("--min-gev", type=float, help="Leave out bins that start below.  [GeV]"),
        click.option("--max-gev", type=float, help="Leave out bins that end above.  [GeV]"),
        click.option(
            "--exclude",
            type=(float, float),
            multiple=True,
            metavar="LOW HIGH",
            help="Leave out bins that reach into this range, in fits, toys and hunts (a blinded "
            "region, a veto); repeatable.  [GeV]",
        ),
        click.option("--window-bins", type=click.IntRange(min=3), help="Bins of a sliding window."),
        seed_option,
        as_json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def answer(make: Callable[[], tuple[str, str]], as_json: bool) -> NoReturn:
    """Carry out a command, print its answer and exit.

    Args:
        make: does the work and returns the answer as JSON and in words.
        as_json: which of the two is printed.
    """

    def action() -> None:
        encoded, words = make()
        safe = "\n".join(printable(line, 600) for line in words.splitlines())
        click.echo(encoded if as_json else safe)

    sys.exit(guarded(action))
