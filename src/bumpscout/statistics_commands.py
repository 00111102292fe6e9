"""The commands `fit` and `bumphunt`: the statistics alone, on a spectrum in a text file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bumpscout.statistics_options import MODELS, PLOT, answer, spectrum_options

__all__ = ["bumphunt", "fit"]

_order_test = click.option(
    "--order-test",
    type=click.Choice(["lr", "f"]),
    default="lr",
    show_default=True,
    help="How auto chooses: likelihood ratio or F-test, at 0.05.",
)
_plot = click.option("--plot", type=PLOT, help="Draw the spectrum: FILE.png, .svg or .pdf.")


@click.command()
@spectrum_options
@click.option("--model", default="auto", show_default=True, help=f"One of {MODELS}.")
@_order_test
@_plot
def fit(spectrum: Path, as_json: bool, plot: Path | None, **options: object) -> None:
    """Fit the background of SPECTRUM and say whether the fit may be believed.

    SPECTRUM is a CSV file with the columns low_GeV,high_GeV,observed[,expected][,error]. The exit
    code is 0 also where no model is believable; reasons are given.

    Example: bumpscout fit dijet.csv --model auto --exclude 2800 3200 --plot fit.pdf
    """

    def make() -> tuple[str, str]:
        from bumpscout.statistics_files import Reading

        reading = Reading(spectrum, "parse_spectrum")
        from bumpscout.statistics_run import Fitting, run_fit
        from bumpscout.statistics_text import fit_text

        report = run_fit(reading, Fitting.model_validate(options), plot)
        return report.model_dump_json(indent=2), fit_text(report)

    answer(make, as_json)


@click.command()
@spectrum_options
@click.option(
    "--background",
    type=click.Choice(["expected"]),
    help="Take the column `expected` as it is instead of fitting.",
)
@click.option("--model", help=f"Background to fit: one of {MODELS}.  [default: auto]")
@_order_test
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
@_plot
@click.option("--tomography", type=PLOT, help="Draw all windows: FILE.png, .svg or .pdf.")
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

    Example: bumpscout bumphunt dijet.csv --model p4 --toys 10000 --plot hunt.pdf
    """
    if background is not None and model is not None:
        raise click.UsageError("Give either --background expected or --model, not both.")

    def make() -> tuple[str, str]:
        from bumpscout.statistics_files import Reading

        reading = Reading(spectrum, "parse_spectrum")
        from bumpscout.console import Progress
        from bumpscout.statistics_run import Fitting, Hunting, run_hunt
        from bumpscout.statistics_text import hunt_text

        hunting = {key: options.pop(key) for key in tuple(options) if key in Hunting.model_fields}
        progress = Progress()
        try:
            report = run_hunt(
                reading,
                Fitting.model_validate({**options, "model": background or model or "auto"}),
                Hunting.model_validate(hunting),
                plot=plot,
                tomography=tomography,
                progress=progress,
            )
        finally:
            progress.close()
        return report.model_dump_json(indent=2), hunt_text(report)

    answer(make, as_json)
