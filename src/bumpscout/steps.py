"""Steps that searches and scans share: open the data, carry out in a run folder, end in order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bumpscout.cluster import uninterrupted
from bumpscout.console import Progress
from bumpscout.folder import Options, RunFolder
from bumpscout.session import Session
from bumpscout.words import format_p, mass_tev, printable, reached, z_value
from bumpscout_tools.errors import BumpscoutError, InputDataError

if TYPE_CHECKING:
    from bumpscout.result import Result
    from bumpscout_sandbox.vault import Vault

__all__ = [
    "carried_out",
    "check_same_data",
    "check_there",
    "deadline",
    "find_examples",
    "open_vault",
    "summary",
]

CarryOut = Callable[[Session, Progress], "Result"]


def carried_out(folder: RunFolder, carry_out: CarryOut, *, as_json: bool) -> str:
    """Carry out a run in its folder and return what is printed at its end.

    However it ends, `result.json` says how far it came.

    Args:
        folder: of the run.
        carry_out: does the work; takes the session and the progress display.
        as_json: return the content of ``result.json`` instead of the summary.
    """
    session = Session(folder)
    progress = Progress()
    try:
        result = carry_out(session, progress)
    except BaseException as error:
        progress.close()
        with uninterrupted():
            _write_end(session, error)
        raise
    progress.close()
    return result.model_dump_json(indent=2) if as_json else summary(result, session.folder.path)


def check_there(data: Path, option: str = "--data") -> None:
    """Refuse a file of events that does not exist.

    Args:
        data: the file.
        option: what gave it, for the message.

    Raises:
        InputDataError: if it does not.
    """
    try:
        there = data.exists()
    except OSError as error:
        raise InputDataError(
            f"Cannot read {printable(str(data), 300)}: {error.strerror}."
        ) from error
    if not there:
        raise InputDataError(
            f"There is no file {printable(str(data), 300)}; check the path given to {option}."
        )


def open_vault(data: Path, options: Options, features: Iterable[str] = ()) -> Vault:
    """Open the file of events in the vault.

    Args:
        data: file of events.
        options: seed and blinding.
        features: those that a plan asks for, where there is one; they decide whether the view has
            features of two jets or the rapidity-mass matrix.

    Raises:
        InputDataError: if it cannot be searched; the message names the file.
    """
    from bumpscout_sandbox.vault import Vault
    from bumpscout_tools.features.catalogue import inputs_of_features

    try:
        inputs = inputs_of_features(features)
        return Vault.open(data, seed=options.seed, blinding=options.blinding, inputs=inputs)
    except InputDataError as error:
        if data.name in str(error):
            raise
        raise InputDataError(f"{printable(data.name, 100)}: {error}") from error


def check_same_data(session: Session) -> None:
    """Refuse to go on with another file than the one that the run began with.

    Raises:
        InputDataError: if it is another one.
    """
    from bumpscout.files import read_model
    from bumpscout_sandbox.card import DatasetCard

    path = session.folder.path / "card.json"
    if session.vault is None or not path.exists():
        return
    known, found = read_model(path, DatasetCard), session.vault.card()
    if known.sha256 != found.sha256:
        raise InputDataError(
            f"{found.name} is not the file that this run began with (SHA-256 {known.sha256}); "
            "give the original with --data."
        )


def find_examples(session: Session) -> None:
    """Let the session know events of the best bump, from the scores that were kept."""
    from bumpscout import examples

    record = session.record
    if record is None or record.final is None or record.frozen is None or session.vault is None:
        return
    if record.frozen.plan.spectra:
        return  # a grid knows its own
    session.examples = examples.find_examples(
        record.frozen.plan,
        record.final.outcome,
        session.vault,
        session.folder.record.options.seed,
        session.folder.path / "cache",
    )


def deadline(options: Options) -> Callable[[], bool]:
    """Return what says whether the time of a run is over."""
    if options.max_minutes is None:
        return lambda: False
    end = time.monotonic() + 60 * options.max_minutes
    return lambda: time.monotonic() >= end


def summary(result: Result, folder: Path) -> str:
    """Return the end of a search for a terminal: verdict, bump, significances, report."""
    lines = [printable(result.headline), ""]
    if result.bumps:
        bump = result.bumps[0]
        low, high = bump.interval_gev
        grid = bump.spectrum != "m_jj" or (result.plan and len(result.plan.spectra) > 1)
        lines += [
            f"  bump         {mass_tev(bump.mass_gev)} ({low:.0f} to {high:.0f} GeV), "
            f"{100 * bump.working_point.efficiency:.3g}% most anomalous events",
            f"  events       {bump.n_observed} where {bump.n_expected:.1f} are expected",
            f"  local z      {bump.local_z:.1f} (p = {format_p(bump.local_p)}), this place alone",
        ]
        if bump.scan_p is not None:
            lines.append(
                f"  scan p       {format_p(bump.scan_p.value)} ({z_value(bump.scan_p.value):.1f} "
                f"sigma), over all {'spectra, ' if grid else ''}masses and cuts"
            )
        if bump.procedure_p is not None:
            lines.append(f"  procedure p  {format_p(bump.procedure_p.value)}; {reached(bump)}")
    if result.plan is not None and len(result.plan.spectra) > 1 and result.dataset is not None:
        lines.append(
            f"  searched     {len(result.plan.spectra)} spectra at "
            f"{len(result.plan.working_points)} cuts, {result.dataset.n_searched} of "
            f"{result.dataset.n_events} events"
        )
    elif result.dataset is not None and result.dataset.searched_gev is not None:
        low, high = result.dataset.searched_gev
        lines.append(
            f"  searched     {low:.0f} to {high:.0f} GeV, {result.dataset.n_searched} of "
            f"{result.dataset.n_events} events; the background fit starts there"
        )
    lines += [printable(f"  not as asked: {line}") for line in result.not_understood]
    report, here = folder / "report.html", Path.cwd()
    shown = report.relative_to(here) if report.is_relative_to(here) else report
    lines.append(f"  report       {shown}")
    return "\n".join(lines)


def _write_end(session: Session, error: BaseException) -> None:
    from bumpscout_agents.errors import WaitingForApproval
    from bumpscout_agents.graph import read_search

    with contextlib.suppress(BumpscoutError):
        session.record = read_search(session.folder.path)
    interrupted = isinstance(error, KeyboardInterrupt)
    reason = "Interrupted." if interrupted else str(error) or type(error).__name__
    stopped = interrupted or isinstance(error, WaitingForApproval)
    # Whatever ended the search is what the user must hear of, not a second error from here.
    with contextlib.suppress(Exception):
        session.finish("stopped" if stopped else "failed", reason)
