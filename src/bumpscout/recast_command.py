"""The command `recast`: what a plan would see of a user's signal events."""

from __future__ import annotations

from pathlib import Path

import click

from bumpscout.event_file import event_file
from bumpscout.trial_command import check_finite, run_trials, trial_options

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
@trial_options(
    "recast",
    of="PLAN_OR_RUN",
    strengths=(1.0, 2.0, 4.0),
    zero=False,
    n_null=(5, 30),
    null="Repetitions without the signal, for each signal.",
)
def recast(
    *,
    plan: Path,
    signals: tuple[Path, ...],
    masses: tuple[float, ...],
    data: Path | None,
    out: Path,
    luminosity_fb: float | None,
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
    check_finite(
        [
            *(("--signal-mass", x) for x in masses),
            *(("--strength", x) for x in strengths),
            ("--luminosity-fb", luminosity_fb),
        ]
    )
    from bumpscout.recast_run import Recasting, run_recast

    chosen = {"strengths": strengths, "luminosity_fb": luminosity_fb, **options}
    run_trials(
        lambda progress: run_recast(
            plan,
            signals,
            masses,
            out,
            Recasting.model_validate(chosen),
            data=data,
            seed=seed,
            progress=progress,
            as_json=as_json,
        ),
        out,
    )
