"""The command `limits`: upper limits and local significances of Gaussian signals on a spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bumpscout.statistics_options import MODELS, PLOT, answer, spectrum_options

__all__ = ["limits"]

_Share = click.FloatRange(0, 1, max_open=True)


class _ListOptions(click.Command):
    """A command whose option --widths takes as many numbers as follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the numbers behind --widths before click sees them."""
        joined: list[str] = []
        left = list(args)
        while left:
            joined.append(left.pop(0))
            if joined[-1] == "--widths":
                values: list[str] = []
                while left and _is_list(left[0]):
                    values.append(left.pop(0))
                joined.append(",".join(values))
        return super().parse_args(ctx, joined)


def _is_list(word: str) -> bool:
    return bool(word) and all(_number(part) is not None for part in word.split(","))


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _widths(_context: click.Context, _option: click.Parameter, value: str) -> tuple[float, ...]:
    numbers = [_number(part) for part in value.split(",")]
    widths = tuple(number for number in numbers if number is not None)
    if len(widths) != len(numbers) or not all(0 <= width < 100 for width in widths):
        raise click.BadParameter("give widths in percent of the mass, as in `--widths 0 5 10 15`.")
    return widths


@click.command(cls=_ListOptions)
@spectrum_options
@click.option(
    "--model", default="auto", show_default=True, help=f"Background under the peaks: {MODELS}."
)
@click.option(
    "--background-uncertainty",
    type=_Share,
    default=0.0,
    help="Relative, of the normalisation of the background `expected`.",
)
@click.option(
    "--widths",
    default="0,5,10,15",
    show_default=True,
    callback=_widths,
    metavar="W...",
    help="Widths of the signals in percent of the mass; 0 is as wide as the resolution.",
)
@click.option(
    "--masses",
    type=(float, float, float),
    metavar="LO HI STEP",
    help="Masses in GeV.  [default: one resolution apart]",
)
@click.option(
    "--resolution",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.03,
    show_default=True,
    help="Relative mass resolution.",
)
@click.option("--luminosity-fb", type=click.FloatRange(min=0, min_open=True), help="In 1/fb.")
@click.option(
    "--efficiency",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Acceptance times efficiency of the signal.",
)
@click.option("--lumi-uncertainty", type=_Share, default=0.0, help="Relative, as 0.017.")
@click.option("--efficiency-uncertainty", type=_Share, default=0.0, help="Relative.")
@click.option("--mass-scale-uncertainty", type=_Share, default=0.0, help="Relative.")
@click.option("--resolution-uncertainty", type=_Share, default=0.0, help="Relative.")
@click.option(
    "--spurious",
    default="auto",
    show_default=True,
    help="Spurious signal: a number of events, or auto (fit to the next order of the background).",
)
@click.option(
    "--level",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence level.",
)
@click.option(
    "--toys",
    type=click.IntRange(0, 1_000_000),
    default=1000,
    show_default=True,
    help="Toys where fewer than 5 events are expected; 0 for asymptotic limits everywhere.",
)
@click.option("--plot", type=PLOT, help="Draw the limits: FILE.png, .svg or .pdf.")
@click.option("--plot-p", type=PLOT, help="Draw local p against mass: FILE.png, .svg or .pdf.")
def limits(
    spectrum: Path, as_json: bool, plot: Path | None, plot_p: Path | None, **options: Any
) -> None:
    """Set CLs upper limits on Gaussian signals in SPECTRUM, by mass and width.

    SPECTRUM is a CSV file with the columns low_GeV,high_GeV,observed[,expected]. Limits, and the
    signals that an expected 3 and 5 sigma need, are in events of the whole peak, and in pb where a
    luminosity is given. With the model `sliding` each signal is fitted in the window around it;
    with `expected` the background is that of the file.

    Example: bumpscout limits dijet.csv --widths 0 5 --luminosity-fb 139 --plot limits.pdf
    """

    def make() -> tuple[str, str]:
        from bumpscout.statistics_files import Reading

        reading = Reading(spectrum, "parse_spectrum")
        from bumpscout.console import Progress
        from bumpscout.limits_report import Limiting, limits_text
        from bumpscout.limits_run import run_limits

        progress = Progress()
        try:
            report = run_limits(
                reading, Limiting.model_validate(options), plot, plot_p, progress=progress
            )
        finally:
            progress.close()
        return report.model_dump_json(indent=2), limits_text(report)

    answer(make, as_json)
