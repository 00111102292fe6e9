"""The command `abcd`: signal, significance and limit from the counts of four regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bumpscout.statistics_options import answer, as_json_option, seed_option

__all__ = ["abcd"]

_Four = (float, float, float, float)
_Share = click.FloatRange(0, 1, max_open=True)


@click.command()
@click.argument("counts_file", metavar="[COUNTS]", required=False, type=click.Path(path_type=Path))
@click.option("--counts", type=_Four, metavar="A B C D", help="Events, instead of a file.")
@click.option(
    "--signal",
    type=_Four,
    metavar="A B C D",
    help="Signal expected in each region, in any unit.  [default: all of it in A]",
)
@click.option(
    "--closure",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Relative uncertainty of b_A = b_B b_C / b_D; 0 takes it as exact.",
)
@click.option(
    "--validation",
    type=_Four,
    metavar="A B C D",
    help="Events of a validation region without signal, cut like the four.",
)
@click.option("--luminosity-fb", type=click.FloatRange(min=0, min_open=True), help="In 1/fb.")
@click.option(
    "--efficiency",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Acceptance times efficiency of the signal in region A.",
)
@click.option("--lumi-uncertainty", type=_Share, default=0.0, help="Relative, as 0.017.")
@click.option("--efficiency-uncertainty", type=_Share, default=0.0, help="Relative.")
@click.option(
    "--level",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence level of the limit.",
)
@click.option(
    "--toys",
    type=click.IntRange(0, 1_000_000),
    default=10_000,
    show_default=True,
    help="Toys where a region holds fewer than 5 events; 0 for asymptotic formulae everywhere.",
)
@seed_option
@as_json_option
def abcd(counts_file: Path | None, as_json: bool, **options: Any) -> None:
    """Measure a signal in region A over the background b_A = b_B b_C / b_D of the others.

    COUNTS is a CSV file with the header region,observed[,signal] and a line for each of A (both
    cuts passed), B, C (one each) and D (none); VA, VB, VC, VD may follow, a validation region. All
    four regions are fitted at once, with signal in each, so that it does not pass for background.

    Example: bumpscout abcd --counts 30 100 50 500 --signal 1 0.1 0.1 0.01 --closure 0.1
    """
    if (counts_file is None) == (options["counts"] is None):
        raise click.UsageError("Give either a file COUNTS or --counts A B C D.")

    def make() -> tuple[str, str]:
        reading = None
        if counts_file is not None:
            from bumpscout.statistics_files import Reading

            reading = Reading(counts_file, "parse_regions")
        from bumpscout.abcd_report import abcd_text
        from bumpscout.abcd_run import Counting, run_abcd

        report = run_abcd(Counting.model_validate(options), reading)
        return report.model_dump_json(indent=2), abcd_text(report)

    answer(make, as_json)
