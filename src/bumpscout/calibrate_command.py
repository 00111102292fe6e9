"""The command `calibrate`: false alarms of a plan, and what it makes of an injected signal."""

from __future__ import annotations

from pathlib import Path

import click

from bumpscout.event_file import event_file
from bumpscout.trial_command import check_finite, run_trials, trial_options

__all__ = ["calibrate"]


@click.command()
@click.argument("config", metavar="CONFIG.yaml", type=click.Path(path_type=Path))
@click.option("--data", type=event_file, help="File of events, instead of the one in CONFIG.")
@click.option("--signal", type=event_file, help="Events of a signal alone, to be injected.")
@click.option(
    "--mass",
    "mass_gev",
    type=click.FloatRange(min=1, max=1e6),
    help="Mass of the signal in GeV.  [default: the median of its events]",
)
@click.option(
    "--n-contaminated",
    type=click.IntRange(0, 100_000),
    default=10,
    show_default=True,
    help="Pseudo-experiments at each strength with a null generator fitted to them, signal and "
    "all.",
)
@click.option(
    "--n-replays",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Replays from the null generator fitted to each background-only data set.",
)
@trial_options(
    "calibration",
    of="CONFIG",
    strengths=(1.0, 2.0, 3.0),
    zero=True,
    n_null=(2, 100),
    null="Background-only data sets.",
)
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
    check_finite([("--mass", mass_gev), *(("--strength", x) for x in strengths)])
    from bumpscout.calibrate_run import Calibrating, run_calibration

    chosen = {"mass_gev": mass_gev, "strengths": strengths, **options}
    run_trials(
        lambda progress: run_calibration(
            config,
            out,
            Calibrating.model_validate(chosen),
            data=data,
            signal=signal,
            seed=seed,
            progress=progress,
            as_json=as_json,
        ),
        out,
    )
