"""The command `recast`: what a plan would see of a user's signal events."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from bumpscout.console import guarded
from bumpscout.event_file import event_file

__all__ = ["recast"]

_File = click.Path(path_type=Path)


@click.command()
@click.argument("plan", metavar="PLAN_OR_RUN", type=_File)
@click.option(
    "--signal",
    "signals",
    multiple=True,
    required=True,
    type=_File,
    help="Events of a signal alone, with the features of the data; once for each mass.",
)
@click.option(
    "--signal-mass",
    "masses",
    multiple=True,
    type=click.FloatRange(min=1, max=1e6),
    help="Mass in GeV, once for each --signal.  [default: the median of its events]",
)
@click.option("--data", type=event_file, help="File of events, instead of that of PLAN_OR_RUN.")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder; one that holds the same recast goes on.",
)
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    type=click.FloatRange(min=0, max=100, min_open=True),
    default=(1.0, 2.0, 4.0),
    show_default=True,
    help="S/sqrt(B) within 5% of the mass, before any cut; give it once for each.",
)
@click.option(
    "--into",
    type=click.Choice(["null", "data"]),
    default="null",
    show_default=True,
    help="Inject into background-only pseudo-experiments, or into the data with what they hold.",
)
@click.option(
    "--luminosity-fb",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    help="For cross sections, instead of that of the plan.",
)
@click.option(
    "--n-signal",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Repetitions at each strength.",
)
@click.option(
    "--n-null",
    type=click.IntRange(5, 100_000),
    default=30,
    show_default=True,
    help="Repetitions without the signal, for each signal.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Instead of that of PLAN_OR_RUN.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes.  [default: one a processor]"
)
@click.option("--json", "as_json", is_flag=True, help="Print recast.json.")
def recast(
    *,
    plan: Path,
    signals: tuple[Path, ...],
    masses: tuple[float, ...],
    data: Path | None,
    out: Path,
    strengths: tuple[float, ...],
    seed: int | None,
    as_json: bool,
    **options: object,
) -> None:
    """Measure what the plan of PLAN_OR_RUN would see of your signal: efficiencies, reach, limits.

    PLAN_OR_RUN is a configuration as `scan` reads it, or the folder of a search or scan. The signal
    is injected at each strength, the detectors are trained anew, and the whole plan is carried out:
    how much of the signal each cut keeps, how often it is found, what strength 3 and 5 sigma need,
    and what cross section would be excluded. Signal events need the features of the data: partons
    of an LHE file must be showered and reconstructed first. Example:

        bumpscout recast scan.yaml --signal zprime.h5 --signal-mass 3500 --out recast
    """
    for name, value in (
        *(("--signal-mass", x) for x in masses),
        *(("--strength", x) for x in strengths),
        ("--luminosity-fb", options["luminosity_fb"]),
    ):
        if isinstance(value, float) and not math.isfinite(value):
            raise click.UsageError(f"{name} must be a finite number, not {value}.")

    def action() -> None:
        from bumpscout.console import Progress
        from bumpscout.recast_run import Recasting, run_recast

        progress = Progress()
        try:
            text = run_recast(
                plan,
                signals,
                masses,
                out,
                Recasting.model_validate({"strengths": strengths, **options}),
                data=data,
                seed=seed,
                progress=progress,
                as_json=as_json,
            )
        except KeyboardInterrupt:
            progress.close()
            click.echo(f"Finished trials are kept in {out}; the same command goes on.", err=True)
            raise
        finally:
            progress.close()
        click.echo(text)

    sys.exit(guarded(action, out))
