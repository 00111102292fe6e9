"""The command `scan`: the plan of a configuration file, with vetted detectors alone."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from bumpscout.console import guarded
from bumpscout.event_file import event_file

__all__ = ["scan"]


_EXAMPLE = """\b
A configuration is YAML; whatever it leaves out has the default of `search`:
  data: events.h5
  seed: 1
  plan:
    luminosity_fb: 139
    working_points: {cross_sections_pb: [10, 1, 0.1, 0.01]}
    replays: {n: 200}
\b
A grid of many spectra at many cuts (docs/scan.md), with a score of the file:
  plan:
    detectors: [{name: column, features: [score]}]
    spectra: [{masses: [m_jj, m_jb], categories: [all, lepton]}]
    working_points: {efficiencies: {from: 1, to: 0.001, n: 50}}
"""


@click.command(epilog=_EXAMPLE)
@click.argument("config", metavar="CONFIG.yaml", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="New folder."
)
@click.option(
    "--data", type=event_file, help="File of events, or its address, instead of that in CONFIG."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Instead of the one in CONFIG.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes.  [default: one a processor]"
)
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True, max=1e9),
    help="Start no further replay after this time.  [default: no limit]",
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the summary.")
def scan(
    *,
    config: Path,
    out: Path,
    data: Path | None,
    seed: int | None,
    workers: int | None,
    max_minutes: float | None,
    as_json: bool,
) -> None:
    """Carry out the plan in CONFIG.yaml: no language model, no sandbox, vetted detectors only.

    The plan is frozen before it is carried out. The claim is exploratory unless CONFIG declares
    with `preregistered: HASH` that the plan was written down before anyone saw the events; the hash
    is in the report of every scan of the plan.
    """
    if max_minutes is not None and not math.isfinite(max_minutes):
        raise click.UsageError(f"--max-minutes must be a finite number, not {max_minutes}.")

    def action() -> None:
        from bumpscout.scan_run import run_scan

        click.echo(
            run_scan(
                config,
                out,
                data=data,
                seed=seed,
                workers=workers,
                max_minutes=max_minutes,
                as_json=as_json,
            )
        )

    sys.exit(guarded(action, out))
