"""The commands `data list` and `data fetch`: public data sets, their licences, and the cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from bumpscout.console import guarded

__all__ = ["fetch", "list_data"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("list")
@click.argument("name", required=False)
@_as_json
def list_data(name: str | None, as_json: bool) -> None:
    r"""List public data sets, or the files of the one called NAME.

    \b
    Examples:
      bumpscout data list
      bumpscout data list aspen-open-jets
    """

    def action() -> None:
        from bumpscout.catalogue_run import listing, listing_text

        listed = listing(name)
        if as_json:
            click.echo(json.dumps([entry.model_dump(mode="json") for entry in listed], indent=2))
        else:
            click.echo(listing_text(listed, whole=name is not None))

    sys.exit(guarded(action))


@click.command("fetch")
@click.argument("name")
@click.argument("files", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All files of the data set.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of downloads.  [default: BUMPSCOUT_CACHE, or the cache of this user]",
)
@_as_json
def fetch(
    name: str, files: tuple[str, ...], everything: bool, cache: Path | None, as_json: bool
) -> None:
    r"""Download the data set NAME, or some of its FILES, and say where they are.

    A broken download goes on where it broke off. What is in the cache is checked and needs no
    network. Exit code 3 without a network, or where what came is not the file.

    \b
    Examples:
      bumpscout data fetch lhco-rd
      bumpscout data fetch aspen-open-jets RunG_batch0.h5 RunG_batch1.h5
    """
    if everything and files:
        raise click.UsageError("Give FILES or --all, not both.")

    def action() -> None:
        from bumpscout.catalogue_run import fetch_data, fetch_text
        from bumpscout.console import Progress

        progress = Progress()
        try:
            report = fetch_data(name, files, everything, cache, progress)
        finally:
            progress.close()
        click.echo(report.model_dump_json(indent=2) if as_json else fetch_text(report))

    sys.exit(guarded(action))
