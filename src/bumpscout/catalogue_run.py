"""Carries out `data list` and `data fetch`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from bumpscout.words import printable
from bumpscout_tools.events.catalogue import DataFile, DataSet, catalogue, data_set
from bumpscout_tools.events.download import cache_folder, cached, fetch_file

__all__ = ["FetchReport", "ListedSet", "fetch_data", "fetch_text", "listing", "listing_text"]

Progress = Callable[[str, str, int | None, int | None], None]


class ListedFile(DataFile):
    """A file of the catalogue, and where it is in the cache.

    Attributes:
        path: None where it is not downloaded.
    """

    path: str | None


class ListedSet(BaseModel, frozen=True, extra="forbid"):
    """A data set as `data list` shows it."""

    name: str
    title: str
    format: str
    record: str
    doi: str
    licence: str | None
    citation: str
    files: tuple[ListedFile, ...]


class FetchedFile(BaseModel, frozen=True, extra="forbid"):
    """A file that `data fetch` put into the cache, or found there.

    Attributes:
        name: of the file.
        path: where it is.
        bytes: its size.
        checksum: what it was checked against.
        was_cached: nothing was downloaded.
        pinned_now: the catalogue knows no checksum; this one was kept at this first download.
    """

    name: str
    path: str
    bytes: int
    checksum: str
    was_cached: bool
    pinned_now: bool


class FetchReport(BaseModel, frozen=True, extra="forbid"):
    """Answer of `data fetch`."""

    name: str
    title: str
    licence: str | None
    citation: str
    doi: str
    record: str
    files: tuple[FetchedFile, ...]


def listing(name: str | None) -> list[ListedSet]:
    """List the catalogue, or one data set of it.

    Raises:
        ConfigurationError: there is no data set of this name.
    """
    entries = catalogue() if name is None else (data_set(name),)
    return [_listed(entry) for entry in entries]


def listing_text(listed: list[ListedSet], *, whole: bool) -> str:
    """Write the catalogue in words.

    Args:
        listed: data sets.
        whole: with every file, its checksum and how to cite.
    """
    lines = []
    for entry in listed:
        chosen = [file for file in entry.files if file.default]
        size = " + ".join(file.size_text() for file in chosen[:2])
        have = sum(file.path is not None for file in entry.files)
        state = f", {have} of {len(entry.files)} here" if have else ""
        lines.append(f"{entry.name:22} {entry.title}")
        lines.append(f"{'':22} {size}{state}; {_licence(entry)}; {entry.format}")
        if whole:
            for file in entry.files:
                mark = "*" if file.default else " "
                where = f"  {file.path}" if file.path else ""
                told = file.checksum or "checksum unknown"
                lines.append(f"  {mark} {file.name}  {file.size_text()}, {told}{where}")
                lines.append(f"      {file.about}")
            lines += [f"  cite    {entry.citation}", f"  record  {entry.record}"]
    if whole:
        lines.append("  * fetched when no file is named")
    else:
        lines.append("bumpscout data list NAME shows its files; bumpscout data fetch NAME gets it.")
    return "\n".join(printable(line, 600) for line in lines)


def fetch_data(
    name: str,
    files: tuple[str, ...],
    everything: bool,
    cache: Path | None,
    progress: Progress,
) -> FetchReport:
    """Fetch files of a data set into the cache.

    Raises:
        ConfigurationError: there is no such data set or file, or the cache cannot be written.
        InputDataError: a file cannot be downloaded, or is not what it should be.
    """
    entry = data_set(name)
    folder = cache_folder() if cache is None else cache
    found = []
    for file in entry.chosen(files, everything=everything):

        def told(done: int, total: int | None, file: DataFile = file) -> None:
            whole = total or file.bytes
            count = done // 1_000_000, None if whole is None else -(-whole // 1_000_000)
            progress("fetch", f"{file.name} MB", *count)

        progress("fetch", f"{file.name}, {file.size_text()}", None, None)
        got = fetch_file(folder, entry.name, file, told)
        found.append(
            FetchedFile(
                name=file.name,
                path=str(got.path),
                bytes=got.path.stat().st_size,
                checksum=got.checksum,
                was_cached=got.was_cached,
                pinned_now=got.pinned_now,
            )
        )
    return FetchReport(
        name=entry.name,
        title=entry.title,
        licence=entry.licence,
        citation=entry.citation,
        doi=entry.doi,
        record=entry.record,
        files=tuple(found),
    )


def fetch_text(report: FetchReport) -> str:
    """Say where the files are, under what licence, and what to cite."""
    lines = [report.title]
    for file in report.files:
        how = "was here" if file.was_cached else "downloaded"
        kept = (
            "; the catalogue knows no checksum, this one is kept for later"
            if file.pinned_now
            else ""
        )
        lines.append(f"  {how:10} {file.path}  ({file.bytes / 1e6:.1f} MB, {file.checksum}{kept})")
    licence = report.licence or f"not verified here; read it at {report.record}"
    lines += [f"  licence    {licence}", f"  cite       {report.citation}; doi:{report.doi}"]
    return "\n".join(printable(line, 900) for line in lines)


def _listed(entry: DataSet) -> ListedSet:
    folder = cache_folder()
    files = []
    for file in entry.files:
        path = cached(folder, entry.name, file)
        files.append(ListedFile(**file.model_dump(), path=None if path is None else str(path)))
    return ListedSet(**entry.model_dump(exclude={"files"}), files=tuple(files))


def _licence(entry: ListedSet) -> str:
    return entry.licence or "licence: see the record"
