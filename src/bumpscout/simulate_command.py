"""The command `simulate`: boxes of simulated events, their truth kept apart."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click

from bumpscout.console import guarded

__all__ = ["simulate"]

_Folder = click.Path(file_okay=False, path_type=Path)
_Positive = click.FloatRange(min=0, min_open=True)
_OF_THE_CARD = {
    "n_background": "--events",
    "signals": "--signal",
    "seed": "--seed",
    "sqrt_s_gev": "--sqrt-s",
    "leading_pt_gev": "--leading-pt",
    "pt_hat_min_gev": "--pt-hat-min",
    "mantissa_bits": "--mantissa-bits",
    "hidden": "--hidden",
    "underlying_event": "--underlying-event",
}
_LAYOUTS = {"features": ("features",), "raw": ("raw",), "both": ("features", "raw")}


@click.command()
@click.option("--out", required=True, type=_Folder, help="Folder; one with the same box goes on.")
@click.option(
    "--events",
    "n_background",
    type=click.IntRange(0, 100_000_000),
    help="QCD dijet events.  [default: 100000]",
)
@click.option(
    "--signal",
    "signals",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="A resonance decaying to X and Y: mass, x, y [GeV], n (events) or strength (S/sqrt(B) "
    "within 5% of the mass), width, daughter-width [GeV], prongs (2, 3 or 2+3); repeatable.",
)
@click.option(
    "--hidden",
    is_flag=True,
    help="Draw from the seed what the signals leave open; only the truth file tells it.",
)
@click.option(
    "--layout",
    type=click.Choice(sorted(_LAYOUTS)),
    default="features",
    show_default=True,
    help="Features of two jets, or up to 700 particles an event.",
)
@click.option("--truth", type=_Folder, help="Folder of the truth.  [default: OUT/truth]")
@click.option(
    "--labelled", is_flag=True, help="Write the truth label into the box too, as the R&D files do."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    help="Same seed, same files.  [default: 1; a new one with --hidden]",
)
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes.  [default: one a processor]"
)
@click.option("--sqrt-s", "sqrt_s_gev", type=_Positive, help="Energy in GeV.  [default: 13000]")
@click.option(
    "--leading-pt",
    "leading_pt_gev",
    type=_Positive,
    help="Least pT of the leading jet in GeV.  [default: 1200]",
)
@click.option(
    "--pt-hat-min",
    "pt_hat_min_gev",
    type=_Positive,
    help="Least pT of the QCD scattering in GeV.  [default: 5/6 of --leading-pt]",
)
@click.option("--underlying-event", is_flag=True, help="Multiparton interactions (slower).")
@click.option(
    "--mantissa-bits",
    type=click.IntRange(8, 24),
    help="Round the features to so many significant bits; smaller files.",
)
@click.option(
    "--card",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML or JSON card of a box, or the truth file of one, instead of the options above.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate(*, out: Path, truth: Path | None, layout: str, as_json: bool, **options: Any) -> None:
    """Simulate a box of events like those of the LHC Olympics, its truth in a folder apart.

    QCD dijets and resonances from Pythia 8, a stand-in detector, anti-kt jets. The box tells
    nothing of the signal; truth/truth.json and truth/box.masterkey do. Needs the extra `sim`.

    For example:

    bumpscout simulate --out box --signal mass=3500,x=500,y=100,n=300

    bumpscout simulate --out box --layout both --signal mass=4200,x=350,y=150,strength=2.5,prongs=3

    bumpscout simulate --out challenge --hidden --truth elsewhere

    bumpscout simulate --out background --events 1000000
    """
    given = [name for key, name in _OF_THE_CARD.items() if options[key] not in (None, (), False)]
    if options["card"] is not None and given:
        raise click.UsageError(f"--card decides what is simulated; leave out {', '.join(given)}.")
    for key in ("sqrt_s_gev", "leading_pt_gev", "pt_hat_min_gev"):
        if options[key] is not None and not math.isfinite(options[key]):
            raise click.UsageError(f"{_OF_THE_CARD[key]} must be a finite number.")

    def action() -> None:
        from bumpscout.console import Progress
        from bumpscout.simulate_options import Simulating
        from bumpscout.simulate_run import run_simulation
        from bumpscout.words import printable

        wanted = Simulating.model_validate({**options, "layouts": _LAYOUTS[layout]})
        progress = Progress()
        try:
            report = run_simulation(wanted, out, truth, progress)
        finally:
            progress.close()
        words = "\n".join(printable(line, 600) for line in report.text().splitlines())
        click.echo(report.model_dump_json(indent=2) if as_json else words)

    sys.exit(guarded(action))
