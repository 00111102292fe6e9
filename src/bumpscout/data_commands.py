"""The group `data`: public data sets, and what is in a file."""

from __future__ import annotations

import sys

import click

from bumpscout.catalogue_commands import fetch, list_data
from bumpscout.console import guarded

__all__ = ["data"]


@click.group()
def data() -> None:
    """Public data sets and what is in a file."""


data.add_command(list_data)
data.add_command(fetch)


@data.command("inspect")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: str, as_json: bool) -> None:
    r"""Say what is in FILE: format, events, columns, particles, triggers, weights.

    FILE is a path or an address (root://, https://, s3://). The content decides about the format,
    not the name; truth labels are not read.

    \b
    Examples:
      bumpscout data inspect events.root
      bumpscout data inspect --json events.h5
    """

    def action() -> None:
        from bumpscout.data_inspect import show_inspection

        show_inspection(file, as_json=as_json)

    sys.exit(guarded(action))
