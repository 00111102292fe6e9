"""The command `calibrate`: false alarms of a plan, and what it makes of an injected signal."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from bumpscout.console import guarded
from bumpscout.event_file import event_file

__all__ = ["calibrate"]

_File = click.Path(path_type=Path)


@click.command()
@click.argument("config", metavar="CONFIG.yaml", type=_File)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder; one that holds the same calibration goes on.",
)
@click.option("--data", type=event_file, help="File of events, instead of the one in CONFIG.")
@click.option("--signal", type=event_file, help="Events of a signal alone, to be injected.")
@click.option(
    "--mass",
    "mass_gev",
    type=click.FloatRange(min=1, max=1e6),
    help="Mass of the signal in GeV.  [default: the median of its events]",
)
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    type=click.FloatRange(min=0, max=100),
    default=(1.0, 2.0, 3.0),
    show_default=True,
    help="S/sqrt(B) within 5% of the mass, before any cut; give it once for each.",
)
@click.option(
    "--n-null",
    type=click.IntRange(2, 100_000),
    default=100,
    show_default=True,
    help="Background-only data sets.",
)
@click.option(
    "--n-signal",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Pseudo-experiments at each strength.",
)
@click.option(
    "--n-contaminated",
    type=click.IntRange(0, 100_000),
    default=10,
    show_default=True,
    help="Of these, how many get a null generator fitted to them, signal and all.",
)
@click.option(
    "--n-replays",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Replays from the null generator fitted to each background-only data set.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Instead of the one in CONFIG.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes.  [default: one a processor]"
)
@click.option("--json", "as_json", is_flag=True, help="Print calibration.json.")
def calibrate(
    *,
    config: Path,
    out: Path,
    data: Path | None,
    signal: Path | None,
    mass_gev: float | None,
    strengths: tuple[float, ...],
    seed: int | None,
    as_json: bool,
    **options: object,
) -> None:
    """Measure how often the plan in CONFIG.yaml fires on background alone, and on a signal.

    Background-only data sets are drawn from a density fitted to the data. Each is scanned, gets a
    null generator and replays of its own, and is ranked among the replays of the others. With
    --signal, events are injected at each strength and the detectors retrained: how often it is
    found, at what mass, with what yield, what strength 3 and 5 sigma need with and without the
    anomaly cut, and what it costs that a search fits its null to data with the signal in them. For
    both it says what verdicts searches would give. Example:

        bumpscout calibrate scan.yaml --signal zprime.h5 --strength 1 --out cal
    """
    for name, value in (("--mass", mass_gev), *(("--strength", x) for x in strengths)):
        if value is not None and not math.isfinite(value):
            raise click.UsageError(f"{name} must be a finite number, not {value}.")

    def action() -> None:
        from bumpscout.calibrate_run import Calibrating, run_calibration
        from bumpscout.console import Progress

        progress = Progress()
        try:
            text = run_calibration(
                config,
                out,
                Calibrating.model_validate(
                    {"mass_gev": mass_gev, "strengths": strengths, **options}
                ),
                data=data,
                signal=signal,
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
