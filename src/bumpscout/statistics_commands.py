"""The commands `fit` and `bumphunt`: the statistics alone, on a spectrum in a text file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bumpscout.console import guarded
from bumpscout.words import printable

__all__ = ["bumphunt", "fit"]

Command = TypeVar("Command", bound=Callable[..., Any])

_File = click.Path(path_type=Path, dir_okay=False)
_MODELS = (
    "p2..p6, auto (order chosen among them), ua2, diphoton, exponential, sliding, expected, "
    "template, template-tilted"
)


def _shared(command: Command) -> Command:
    """Add the options that both commands have."""
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
            "--order-test",
            type=click.Choice(["lr", "f"]),
            default="lr",
            show_default=True,
            help="How auto chooses: likelihood ratio or F-test, at 0.05.",
        ),
        click.option("--window-bins", type=click.IntRange(min=3), help="Bins of a sliding window."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--plot", type=_File, help="Draw the spectrum: FILE.png, .svg or .pdf."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_shared
@click.option("--model", default="auto", show_default=True, help=f"One of {_MODELS}.")
def fit(spectrum: Path, as_json: bool, plot: Path | None, **options: object) -> None:
    """Fit the background of SPECTRUM and say whether the fit may be believed.

    SPECTRUM is a CSV file with the columns low_GeV,high_GeV,observed[,expected][,error]. The exit
    code is 0 also where no model is believable; reasons are given.
    """

    def action() -> None:
        from bumpscout.statistics_run import Fitting, run_fit
        from bumpscout.statistics_text import fit_text

        report = run_fit(spectrum, Fitting.model_validate(options), plot)
        click.echo(report.model_dump_json(indent=2) if as_json else _shown(fit_text(report)))

    sys.exit(guarded(action))


@click.command()
@_shared
@click.option(
    "--background",
    type=click.Choice(["expected"]),
    help="Take the column `expected` as it is instead of fitting.",
)
@click.option("--model", help=f"Background to fit: one of {_MODELS}.  [default: auto]")
@click.option("--toys", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True)
@click.option(
    "--refit/--no-refit", default=True, show_default=True, help="Fit each toy as the data were."
)
@click.option(
    "--widths",
    type=(click.IntRange(min=1), click.IntRange(min=1)),
    metavar="MIN MAX",
    help="Widths of windows in bins, or with --resolution in multiples of it.  [default: 2 to half "
    "the bins, or 1 to 4]",
)
@click.option(
    "--resolution",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Relative mass resolution: windows are multiples of it instead of bins.",
)
@click.option("--deficits", is_flag=True, help="Look for too few events.")
@click.option(
    "--sidebands", "side_bands", is_flag=True, help="Skip windows beside which the fit is off."
)
@click.option("--tomography", type=_File, help="Draw all windows: FILE.png, .svg or .pdf.")
def bumphunt(
    spectrum: Path,
    as_json: bool,
    plot: Path | None,
    tomography: Path | None,
    background: str | None,
    model: str | None,
    **options: Any,
) -> None:
    """Find the most significant bump of SPECTRUM and how often background alone has one like it.

    SPECTRUM is a CSV file with the columns low_GeV,high_GeV,observed[,expected].
    """
    if background is not None and model is not None:
        raise click.UsageError("Give either --background expected or --model, not both.")

    def action() -> None:
        from bumpscout.console import Progress
        from bumpscout.statistics_run import Fitting, Hunting, run_hunt
        from bumpscout.statistics_text import hunt_text

        hunting = {key: options.pop(key) for key in tuple(options) if key in Hunting.model_fields}
        progress = Progress()
        try:
            report = run_hunt(
                spectrum,
                Fitting.model_validate({**options, "model": background or model or "auto"}),
                Hunting.model_validate(hunting),
                plot=plot,
                tomography=tomography,
                progress=progress,
            )
        finally:
            progress.close()
        click.echo(report.model_dump_json(indent=2) if as_json else _shown(hunt_text(report)))

    sys.exit(guarded(action))


def _shown(text: str) -> str:
    return "\n".join(printable(line, 600) for line in text.splitlines())
