"""Carries out `bumpscout simulate`: chunks on all processors, mixed into a box, its truth apart.

Chunks are kept in the folder as they finish, so the same command goes on after an interruption.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, as_completed
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bumpscout.cluster import local_executor, usable_cpus
from bumpscout.files import read_bytes
from bumpscout.simulate_options import Simulating, box_card
from bumpscout.simulate_report import BoxFile, BoxReport
from bumpscout_tools.errors import ConfigurationError
from bumpscout_tools.files import write_atomic
from bumpscout_tools.simulation import (
    Chunk,
    Mixture,
    fixed_chunks,
    make_chunk,
    missing_chunk,
    mix,
    open_chunk,
    raw_blocks,
    window,
    write_features_h5,
    write_raw_h5,
    write_unlabelled_h5,
)
from bumpscout_tools.simulation.box_card import BoxCard
from bumpscout_tools.simulation.extra import require
from bumpscout_tools.simulation.store import StoredChunk

__all__ = ["run_simulation"]

Progress = Callable[[str, str, int | None, int | None], None]
CARD, TRUTH, KEY, CHUNKS = "card.json", "truth.json", "box.masterkey", "chunks"
NAMES = {"features": "box.h5", "raw": "box.raw.h5"}
PACKAGES = ("bumpscout", "pythia8mc", "fastjet", "numpy", "h5py")
BYTES_PER_EVENT = {"features": 160, "raw": 8_000}
"""Room for chunks and files together; measured on background, and a little more."""


def run_simulation(
    options: Simulating, out: Path, truth: Path | None, progress: Progress
) -> BoxReport:
    """Simulate a box into a folder, or go on with it.

    Args:
        options: what to simulate.
        out: gets ``box.h5`` and/or ``box.raw.h5`` and ``card.json``.
        truth: gets ``truth.json`` and ``box.masterkey``; ``out/truth`` by default.
        progress: told stage, message, events done and wanted.

    Raises:
        ConfigurationError: options, folder or disk cannot be used.
        SimulationError: Pythia or FastJet is missing, or the card cannot be simulated.
    """
    for module in ("pythia8mc", "fastjet", "awkward"):
        require(module)
    truth = out / "truth" if truth is None else truth
    earlier = _read_truth(truth / TRUTH)
    if earlier and options.seed is None and options.card is None:
        options = options.model_copy(update={"seed": earlier["card"].get("seed")})
    card = box_card(options)
    state = {
        "schema": "bumpscout.box-truth/1",
        "card": card.model_dump(mode="json"),
        "hidden": options.hidden,
        "layouts": list(options.layouts),
        "labelled": options.labelled,
    }
    state = json.loads(json.dumps(state))
    if earlier and any(earlier.get(key) != value for key, value in state.items()):
        raise ConfigurationError(
            f"{truth / TRUTH} belongs to a box with other settings. Give another --out, or the "
            "options of that box to go on with it."
        )
    if earlier and earlier.get("signals") is not None and (out / CARD).is_file():
        return _finished(out, truth)
    if not earlier and (out / CARD).exists():
        raise ConfigurationError(
            f"{out} holds a box whose truth is not in {truth}. Give another --out, or its --truth."
        )
    _check_room(out, card, options)
    chunk_folder = out / CHUNKS
    write_atomic(truth / TRUTH, json.dumps(state, indent=2) + "\n")
    try:
        chunk_folder.mkdir(parents=True, exist_ok=True)
        with _executor(options.workers or usable_cpus()) as executor:
            chunks = _simulate(card, chunk_folder, "raw" in options.layouts, executor, progress)
    except OSError as error:
        raise ConfigurationError(_cannot_write(chunk_folder, error)) from error
    report = _write(card, options, chunks, out, truth, state, progress)
    shutil.rmtree(chunk_folder, ignore_errors=True)
    return report


def _simulate(
    card: BoxCard,
    folder: Path,
    particles: bool,
    executor: Executor | None,
    progress: Progress,
) -> list[Chunk]:
    chunks = fixed_chunks(card)
    done, total = 0, sum(chunk.n_events for chunk in chunks)

    def carry_out(wanted: list[Chunk]) -> None:
        nonlocal done
        if executor is None:
            for chunk in wanted:
                done += make_chunk(card, chunk, folder, particles=particles)
                progress("simulate", "events", done, total)
            return
        pending = [
            executor.submit(make_chunk, card, chunk, folder, particles=particles)
            for chunk in wanted
        ]
        for future in as_completed(pending):
            done += future.result()
            progress("simulate", "events", done, total)

    progress("simulate", "events", 0, total)
    carry_out(chunks)
    tables = [open_chunk(folder, chunk, particles=False).table for chunk in chunks]
    for index in range(len(card.signals)):
        while (more := missing_chunk(card, index, chunks, tables)) is not None:
            total += more.n_events
            carry_out([more])
            chunks.append(more)
            tables.append(open_chunk(folder, more, particles=False).table)
    return chunks


def _write(
    card: BoxCard,
    options: Simulating,
    chunks: list[Chunk],
    out: Path,
    truth: Path,
    state: dict[str, Any],
    progress: Progress,
) -> BoxReport:
    progress("write", "mix the box", None, None)
    folder = out / CHUNKS
    tables = [open_chunk(folder, chunk, particles=False).table for chunk in chunks]
    mixture = mix(card, chunks, tables)
    n_events = len(mixture.table)
    files = []
    n_cut = 0
    if "features" in options.layouts:
        path = out / NAMES["features"]
        with _whole(path) as part:
            if options.labelled:
                write_features_h5(part, mixture.table)
            else:
                write_unlabelled_h5(part, mixture.table)
        files.append(_describe(path, "features", n_events))
    if "raw" in options.layouts:
        path = out / NAMES["raw"]

        @cache
        def opened(number: int) -> StoredChunk:
            return open_chunk(folder, chunks[number], particles=True)

        def told() -> Iterator[Any]:
            written = 0
            for block in raw_blocks(mixture, opened):
                yield block
                written += len(block)
                progress("write", "raw events", written, n_events)

        labels = mixture.process if options.labelled else None
        with _whole(path) as part:
            write_raw_h5(part, n_events, told(), labels)
        files.append(_describe(path, "raw", n_events))
        n_cut = sum(opened(number).n_cut for number in range(len(chunks)))
    _write_truth(truth, state, card, mixture)
    public = card.model_dump(mode="json", exclude={"n_background", "signals", "seed", "chunk_size"})
    described = {
        "schema": "bumpscout.box/1",
        "about": "simulated proton-proton collisions, not collision data",
        "n_events": n_events,
        "settings": public,
        "particles_beyond_700": n_cut,
        "labelled": options.labelled,
        "files": [file.model_dump() for file in files],
        "software": _software(),
    }
    write_atomic(out / CARD, json.dumps(described, indent=2) + "\n")
    return BoxReport(
        out=str(out), truth=str(truth), n_events=n_events, files=tuple(files), went_on=False
    )


def _write_truth(truth: Path, state: dict[str, Any], card: BoxCard, mixture: Mixture) -> None:
    signals = [
        {
            "label": index + 1,
            "resonance_mass_gev": signal.resonance_mass_gev,
            "daughter_masses_gev": list(signal.daughter_masses_gev),
            "prongs": list(signal.prongs),
            "n_events": came.n_events,
            "window_gev": [round(edge, 3) for edge in window(signal)],
            "n_signal_in_window": came.n_in_window,
            "n_background_in_window": came.n_background_in_window,
            "signal_over_root_background": (
                round(came.n_in_window / came.n_background_in_window**0.5, 3)
                if came.n_background_in_window
                else None
            ),
        }
        for index, (signal, came) in enumerate(zip(card.signals, mixture.signals, strict=True))
    ]
    write_atomic(truth / KEY, "".join(f"{label}\n" for label in mixture.process.tolist()))
    whole = {**state, "n_background": int((mixture.process == 0).sum()), "signals": signals}
    write_atomic(truth / TRUTH, json.dumps(whole, indent=2) + "\n")


def _finished(out: Path, truth: Path) -> BoxReport:
    try:
        card = json.loads(read_bytes(out / CARD))
        files = tuple(BoxFile.model_validate(entry) for entry in card["files"])
        n_events = int(card["n_events"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{out / CARD} is damaged; give another --out.") from error
    for file in files:
        path = out / NAMES[file.layout]
        if not path.is_file() or _sha256(path) != file.sha256:
            raise ConfigurationError(
                f"{path} is missing or not the file that was simulated. Delete {out / CARD} and "
                f"{truth / TRUTH} and run the same command to make the box again."
            )
    return BoxReport(out=str(out), truth=str(truth), n_events=n_events, files=files, went_on=True)


def _read_truth(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        read = json.loads(read_bytes(path))
    except ValueError:
        read = None
    if not isinstance(read, dict) or not isinstance(read.get("card"), dict):
        raise ConfigurationError(
            f"{path} is no truth file of a box; give another --truth or --out."
        )
    return read


def _check_room(out: Path, card: BoxCard, options: Simulating) -> None:
    there = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise ConfigurationError(f"{out} is no folder; give another --out.")
    events = card.n_background + sum(signal.n_events for signal in card.signals)
    needed = events * sum(BYTES_PER_EVENT[layout] for layout in options.layouts)
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ConfigurationError(
            f"The box needs about {needed / 1e6:.0f} MB in {out} and {free / 1e6:.0f} MB are free. "
            "Give another --out, fewer --events or --layout features."
        )


@contextlib.contextmanager
def _executor(workers: int) -> Iterator[Executor | None]:
    if workers == 1:
        yield None
        return
    with local_executor(workers) as executor:
        yield executor


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a path beside the wanted one, that takes its place when the block ends well.

    Raises:
        ConfigurationError: the file could not be written.
    """
    part = path.with_suffix(".part")
    try:
        yield part
        part.replace(path)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(_cannot_write(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _cannot_write(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"Cannot write {path}: {reason}. Make room or give another --out; simulated events are "
        "kept, and the same command goes on."
    )


def _describe(path: Path, layout: str, n_events: int) -> BoxFile:
    return BoxFile(
        path=str(path),
        layout=layout,
        n_events=n_events,
        bytes=path.stat().st_size,
        sha256=_sha256(path),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _software() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
