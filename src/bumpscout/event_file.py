"""The type of options that name a file of events: a path, or an address that is fetched once."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["event_file"]


class _NotConfigured(click.ClickException):
    exit_code = 2


class _NotThere(click.ClickException):
    exit_code = 3


def event_file(file: str | Path) -> Path:
    """Return the path of a file; one at an address is fetched once and kept in the cache.

    Raises:
        click.ClickException: if an address cannot be fetched; with the exit code of the reason.
    """
    if isinstance(file, Path) or "://" not in file:
        return Path(file)
    from bumpscout_tools.errors import ConfigurationError, InputDataError
    from bumpscout_tools.events.download import cache_folder
    from bumpscout_tools.events.remote import is_remote, kept_copy

    if not is_remote(file):
        return Path(file)
    try:
        return kept_copy(file, cache_folder() / "addresses")
    except ConfigurationError as error:
        raise _NotConfigured(str(error)) from error
    except InputDataError as error:
        raise _NotThere(str(error)) from error
