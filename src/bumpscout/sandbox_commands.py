"""The commands `sandbox check` and `sandbox run`: the wall alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bumpscout.console import guarded

__all__ = ["SANDBOXES", "sandbox"]

SANDBOXES = ("auto", "docker", "bubblewrap", "apptainer")
"""As `bumpscout_sandbox.choice` has them, which is too heavy to import for --help."""
_MIB = 1 << 20


@click.group()
def sandbox() -> None:
    """The wall around generated code."""


@sandbox.command("check")
@click.option(
    "--sandbox", "wanted", type=click.Choice(SANDBOXES), help="Try this one alone.  [default: all]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sandbox_check(wanted: str | None, as_json: bool) -> None:
    """Try each sandbox and say how it enforces each limit; exit code 4 where none holds."""

    def action() -> None:
        from bumpscout.sandbox_run import show_survey

        show_survey(wanted, as_json=as_json)

    sys.exit(guarded(action))


@sandbox.command("run")
@click.argument("file", metavar="FILE.py", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "inputs",
    metavar="NAME=FILE",
    multiple=True,
    help="A file that the script finds, read-only, as /in/NAME; may be given again.",
)
@click.option(
    "--output",
    "outputs",
    metavar="NAME",
    multiple=True,
    help="A .npy, .json or .png file that the script leaves in /out.  [default: those of a search: "
    "scores.npy, summary.json, figure_1.png to figure_4.png, as far as they are there]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="New folder for the outputs that passed their checks.",
)
@click.option(
    "--sandbox", "wanted", type=click.Choice(SANDBOXES), help="Which one.  [default: auto]"
)
@click.option("--wall-s", type=click.FloatRange(min=0, min_open=True), help="Seconds.")
@click.option("--cpu-s", type=click.FloatRange(min=0, min_open=True), help="Processor seconds.")
@click.option("--memory-mib", type=click.IntRange(64), help="Memory of all processes together.")
@click.option("--processes", type=click.IntRange(8), help="Processes and threads.")
@click.option("--disk-mib", type=click.IntRange(1), help="Size of /out, /tmp and /dev/shm each.")
@click.option("--files", type=click.IntRange(16), help="Files in /out, /tmp and /dev/shm each.")
@click.option("--output-kib", type=click.IntRange(1), help="Of stdout and stderr each.")
@click.option("--cpus", type=click.IntRange(1), help="Processors.")
@click.option("--gpus", type=click.IntRange(0), help="GPUs (Docker, Apptainer; untested).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sandbox_run(
    *,
    file: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    out: Path | None,
    wanted: str | None,
    wall_s: float | None,
    cpu_s: float | None,
    memory_mib: int | None,
    processes: int | None,
    disk_mib: int | None,
    files: int | None,
    output_kib: int | None,
    cpus: int | None,
    gpus: int | None,
    as_json: bool,
) -> None:
    """Run FILE.py in the sandbox and say how it ended, what it used, said and left.

    Exit code 0 whatever the script did; limits that are not given are those of this machine.
    """
    given = {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "memory_bytes": memory_mib and memory_mib * _MIB,
        "processes": processes,
        "workspace_bytes": disk_mib and disk_mib * _MIB,
        "workspace_inodes": files,
        "output_bytes": output_kib and output_kib * 1024,
        "cpus": cpus,
        "gpus": gpus,
    }

    def action() -> None:
        from bumpscout.sandbox_run import run_script

        text = run_script(
            file,
            inputs,
            outputs,
            out,
            wanted=wanted,
            limits={name: value for name, value in given.items() if value is not None},
            as_json=as_json,
        )
        click.echo(text)

    sys.exit(guarded(action, out))
