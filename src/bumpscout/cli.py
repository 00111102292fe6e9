"""The command line; what is heavy is imported inside the commands, so that help comes at once."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from bumpscout import __version__
from bumpscout.abcd_command import abcd
from bumpscout.calibrate_command import calibrate
from bumpscout.console import guarded, say_error
from bumpscout.data_commands import data
from bumpscout.event_file import event_file
from bumpscout.limits_command import limits
from bumpscout.recast_command import recast
from bumpscout.sandbox_commands import SANDBOXES, sandbox
from bumpscout.scan_command import scan
from bumpscout.simulate_command import simulate
from bumpscout.statistics_commands import bumphunt, fit
from bumpscout.words import printable

__all__ = ["app", "main"]

_Folder = click.Path(file_okay=False, path_type=Path)
_USAGE = 2
_STATE_MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        code = app.main(prog_name="bumpscout", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = _USAGE
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" See `{context.command_path} --help`." if context else ""
        say_error(f"{error.format_message()}{hint}")
        code = error.exit_code
    except click.Abort:
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bumpscout")
def app() -> None:
    """From a sentence to a defensible anomaly search.

    Exit codes: 0 done, whatever was found; 2 usage, configuration or unwritable output; 3 input
    data; 4 no sandbox; 5 no task succeeded; 7 waiting for approval; 130 interrupted.
    """


def _blinding_of(data: Path) -> str:
    """Return the default for a file; what cannot be read is refused later, in its run folder."""
    from bumpscout_sandbox.vault import default_blinding
    from bumpscout_tools.errors import InputDataError

    try:
        return default_blinding(data)
    except InputDataError:
        return "staged"


@app.command()
@click.argument("request")
@click.option("--data", required=True, type=event_file, help="File of events, or its address.")
@click.option("--out", type=_Folder, help="New folder for the run; needed unless --dry-run.")
@click.option("--model", default="offline", show_default=True, help="Who plans, codes and reviews.")
@click.option(
    "--blinding",
    type=click.Choice(["open", "staged"]),
    help="What code may see: all events, or a fraction until the frozen plan is approved.  "
    "[default: open for the LHC Olympics layouts and LHE, else staged]",
)
@click.option(
    "--approve",
    type=click.Choice(["ask", "auto"]),
    help="Who approves the frozen plan before the final scan.  [default: ask under staged "
    "blinding, else auto]",
)
@click.option("--luminosity-fb", type=click.FloatRange(min=0, min_open=True), help="In 1/fb.")
@click.option(
    "--sqrt-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Collision energy in GeV.  [default: 13000]",
)
@click.option(
    "--replays",
    type=click.IntRange(0, 100_000),
    help="Null replays of the whole procedure.  [default: 200]",
)
@click.option(
    "--toys", type=click.IntRange(100, 10_000_000), help="Toys of scan p.  [default: 10000]"
)
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Start no further replay after this time.  [default: no limit]",
)
@click.option("--dry-run", is_flag=True, help="Show what was understood and the plan, then stop.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes.  [default: one a processor]"
)
@click.option(
    "--sandbox",
    "wanted_sandbox",
    type=click.Choice(SANDBOXES),
    help="Where scripts run.  [default: BUMPSCOUT_SANDBOX, or the first that holds]",
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the summary.")
def search(
    *,
    request: str,
    data: Path,
    out: Path | None,
    model: str,
    blinding: str | None,
    approve: str | None,
    luminosity_fb: float | None,
    sqrt_s: float | None,
    replays: int | None,
    toys: int | None,
    max_minutes: float | None,
    dry_run: bool,
    seed: int,
    workers: int | None,
    wanted_sandbox: str | None,
    as_json: bool,
) -> None:
    """Carry out one search: REQUEST says in English what to look for."""
    if model != "offline":
        raise click.UsageError(
            f"There is no model {printable(model, 80)!r}: only `offline` is available in this "
            "version."
        )
    for name, value in (
        ("--luminosity-fb", luminosity_fb),
        ("--sqrt-s", sqrt_s),
        ("--max-minutes", max_minutes),
    ):
        if value is not None and not math.isfinite(value):
            raise click.UsageError(f"{name} must be a finite number, not {value}.")
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out': the folder that the run is written to.")

    def action() -> None:
        from bumpscout.folder import Options
        from bumpscout.search import dry_run as show_plan
        from bumpscout.search import run_search

        seen = blinding or _blinding_of(data)
        options = Options.model_validate(
            {
                "model": model,
                "blinding": seen,
                "approve": approve or ("ask" if seen == "staged" else "auto"),
                "luminosity_fb": luminosity_fb,
                "sqrt_s_gev": sqrt_s,
                "replays": replays,
                "toys": toys,
                "max_minutes": max_minutes,
                "seed": seed,
                "workers": workers,
                "sandbox": wanted_sandbox,
            }
        )
        if dry_run or out is None:
            text = show_plan(request, data, options, as_json=as_json)
        else:
            text = run_search(request, data, out, options, as_json=as_json)
        click.echo(text)

    _exit(action, out)


@app.command()
@click.argument("folder", metavar="DIR", type=_Folder)
@click.option("--data", type=click.Path(path_type=Path), help="The same file, where it has moved.")
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Processes; the results do not depend on it.  [default: as many as it began with]",
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the summary.")
def resume(folder: Path, data: Path | None, workers: int | None, as_json: bool) -> None:
    """Go on with the interrupted or approved search in DIR; nothing finished is repeated."""

    def action() -> None:
        from bumpscout.search import resume_search

        click.echo(resume_search(folder, data, workers=workers, as_json=as_json))

    _exit(action, folder)


@app.command()
@click.argument("folder", metavar="DIR", type=_Folder)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def approve(folder: Path, as_json: bool) -> None:
    """Approve the frozen plan of the search in DIR, which `resume` then carries out."""

    def action() -> None:
        from bumpscout.folder import RunFolder
        from bumpscout_agents.approval import write_approval

        opened = RunFolder.reopen(folder)
        approval = write_approval(opened.path, "person")
        said = f"Approved plan {approval.plan_sha256}; go on with: bumpscout resume {folder}"
        click.echo(approval.model_dump_json(indent=2) if as_json else said)

    _exit(action, folder)


@app.command()
@click.argument("folder", metavar="DIR", type=_Folder)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(folder: Path, as_json: bool) -> None:
    """Draw the figures and reports of the run in DIR again, from its files."""

    def action() -> None:
        from bumpscout.report import render_report

        html, markdown = render_report(folder)
        paths = {"html": str(html), "markdown": str(markdown)}
        click.echo(json.dumps(paths, indent=2) if as_json else f"{html}\n{markdown}")

    _exit(action, folder)


@app.command()
@click.option("--root", type=_Folder, default=".", show_default=True, help="Where to look.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def runs(root: Path, as_json: bool) -> None:
    """List the runs in a folder and below it."""

    def action() -> None:
        from bumpscout.runs import find_runs

        lines = find_runs(root)
        if as_json:
            click.echo(json.dumps([line.model_dump(mode="json") for line in lines], indent=2))
            return
        if not lines:
            click.echo(f"No run in {root} or two folders below it.")
        for line in lines:
            state = line.verdict or line.status
            click.echo(printable(f"{line.started:25} {state:11} {line.folder}", 500))
            click.echo(printable(f"    {' '.join(line.headline.split())}", 300))

    _exit(action)


@app.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what this machine offers; exit code 4 where no search can run."""

    def action() -> None:
        from bumpscout.doctor import diagnose

        _show_rows(diagnose().rows, as_json)

    _exit(action)


app.add_command(scan)
app.add_command(calibrate)
app.add_command(recast)
app.add_command(fit)
app.add_command(bumphunt)
app.add_command(limits)
app.add_command(abcd)
app.add_command(simulate)
app.add_command(data)
app.add_command(sandbox)


@app.group()
def ledger() -> None:
    """The list of every test that a search made."""


@ledger.command("verify")
@click.argument("folder", metavar="DIR", type=_Folder)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ledger_verify(folder: Path, as_json: bool) -> None:
    """Check the ledger in DIR, alone and against the result; exit code 3 if it is broken."""

    def action() -> None:
        from bumpscout.verify import verify_ledger

        checked = verify_ledger(folder)
        click.echo(checked.model_dump_json(indent=2) if as_json else checked.sentence())

    _exit(action)


def _show_rows(rows: tuple[object, ...], as_json: bool) -> None:
    from bumpscout.doctor import Diagnosis, Row
    from bumpscout_sandbox.errors import SandboxUnavailable

    typed = tuple(row for row in rows if isinstance(row, Row))
    bad = [row for row in typed if row.state == "bad"]
    if as_json:
        click.echo(Diagnosis(ready=not bad, rows=typed).model_dump_json(indent=2))
    else:
        for row in typed:
            remedy = f" ({row.remedy})" if row.remedy and row.state != "ok" else ""
            text = f"{_STATE_MARKS[row.state]} {row.area:8} {row.what:34} {row.detail}{remedy}"
            click.echo(printable(text, 600))
    if bad:
        raise SandboxUnavailable(
            f"This machine cannot run a search: {bad[0].what}: {bad[0].detail}. {bad[0].remedy}"
        )


def _exit(action: Callable[[], None], folder: Path | None = None) -> NoReturn:
    sys.exit(guarded(action, folder))
